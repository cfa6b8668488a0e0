-- No organization sees another's rows, even if a rule forgets to ask: row-level security on every table that
-- carries an organization.

CREATE FUNCTION enable_tenant_isolation(target regclass, shared_rows boolean) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    -- nullif: after a first transaction the setting is '' rather than null; both mean that no row is visible.
    current_org text := $sql$nullif(current_setting('clm.org_id', true), '')::uuid$sql$;
    own text := format('organization_id = %s', current_org);
    visible text := format('(%s OR (organization_id IS NULL AND %s IS NOT NULL))', own, current_org);
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    IF shared_rows THEN
        -- What everybody sees nobody may change: one policy for all would let a tenant make a shared row its own.
        EXECUTE format('CREATE POLICY tenant_reads ON %s FOR SELECT TO clm_core_app USING (%s)', target, visible);
        EXECUTE format('CREATE POLICY tenant_adds ON %s FOR INSERT TO clm_core_app WITH CHECK (%s)', target, own);
        EXECUTE format('CREATE POLICY tenant_changes ON %s FOR UPDATE TO clm_core_app USING (%s) WITH CHECK (%s)', target, own, own);
        EXECUTE format('CREATE POLICY tenant_deletes ON %s FOR DELETE TO clm_core_app USING (%s)', target, own);
    ELSE
        EXECUTE format('CREATE POLICY tenant ON %s TO clm_core_app USING (%s) WITH CHECK (%s)', target, own, own);
    END IF;
    EXECUTE format('CREATE POLICY every_tenant ON %s TO clm_core_system USING (true) WITH CHECK (true)', target);
    EXECUTE format('CREATE POLICY reports ON %s FOR SELECT TO clm_core_ro USING (true)', target);
END
$$;
COMMENT ON FUNCTION enable_tenant_isolation(regclass, boolean) IS
    'Lets the app role see and change only rows of the organization in clm.org_id; see shared rows (no organization) too, if so asked.';
REVOKE ALL ON FUNCTION enable_tenant_isolation(regclass, boolean) FROM PUBLIC;

SELECT enable_tenant_isolation(name::regclass, false)
FROM unnest(ARRAY[
    'user_organizations', 'api_keys', 'sessions', 'policies', 'workflows', 'workflow_instances', 'workflow_steps',
    'workflow_decisions', 'certificate_metadata', 'audit_log', 'notifications', 'jobs', 'idempotency_keys',
    'integrity_findings'
]) AS name;

-- Built-in roles and assignments that hold everywhere are seen by every organization.
SELECT enable_tenant_isolation(name::regclass, true) FROM unnest(ARRAY['roles', 'user_roles']) AS name;

-- An organization is a tenant itself.
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organizations TO clm_core_app
    USING (id = nullif(current_setting('clm.org_id', true), '')::uuid)
    WITH CHECK (id = nullif(current_setting('clm.org_id', true), '')::uuid);
CREATE POLICY every_tenant ON organizations TO clm_core_system USING (true) WITH CHECK (true);
CREATE POLICY reports ON organizations FOR SELECT TO clm_core_ro USING (true);
