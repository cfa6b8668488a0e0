-- No organization sees another's rows, even if a rule forgets to ask: row-level security on every table that
-- carries an organization.

CREATE FUNCTION enable_tenant_isolation(target regclass, shared_rows boolean) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    -- nullif: after a first transaction the setting is '' rather than null; both mean that no row is visible.
    current_org text := $sql$nullif(current_setting('clm.org_id', true), '')::uuid$sql$;
    own text := format('organization_id = %s', current_org);
    visible text := own;
BEGIN
    IF shared_rows THEN
        visible := format('(%s OR (organization_id IS NULL AND %s IS NOT NULL))', own, current_org);
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY tenant ON %s TO clm_core_app USING (%s) WITH CHECK (%s)', target, visible, own);
    EXECUTE format('CREATE POLICY every_tenant ON %s TO clm_core_system USING (true) WITH CHECK (true)', target);
    EXECUTE format('CREATE POLICY reports ON %s FOR SELECT TO clm_core_ro USING (true)', target);
END
$$;
COMMENT ON FUNCTION enable_tenant_isolation(regclass, boolean) IS
    'Lets the app role see only rows of the organization in clm.org_id; shared rows (no organization) too, if so asked.';
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
