-- Users belong to no organization, but who they are is for the organizations that they are or were in: another tenant's role
-- sees nobody else.

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
-- Both subqueries see what the role itself sees: memberships of its organization, and roles that are held everywhere now. Who was
-- only invited, or turned that down, is not for the organization to know.
CREATE POLICY tenant ON users FOR SELECT TO clm_core_app USING (
    nullif(current_setting('clm.org_id', true), '') IS NOT NULL
    AND (EXISTS (SELECT FROM user_organizations m
                 WHERE m.user_id = users.id AND (m.joined_at IS NOT NULL OR m.status IN ('active', 'suspended')))
         OR EXISTS (SELECT FROM user_roles a WHERE a.user_id = users.id AND a.organization_id IS NULL AND a.revoked_at IS NULL
                      AND a.valid_from <= now() AND (a.valid_until IS NULL OR now() < a.valid_until))));
CREATE POLICY every_tenant ON users TO clm_core_system USING (true) WITH CHECK (true);
CREATE POLICY reports ON users FOR SELECT TO clm_core_ro USING (true);

-- Authorities are counted before one more is made: few rows among many certificates.
CREATE INDEX certificate_metadata_authorities_idx ON certificate_metadata (organization_id)
    WHERE profile = 'intermediate-ca' AND status IN ('active', 'on_hold') AND deleted_at IS NULL;
