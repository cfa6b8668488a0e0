-- Users belong to no organization, but who they are is for the organizations that they are or were in: another tenant's role
-- sees nobody else.

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
-- Both subqueries see what the role itself sees: memberships of its organization, and roles held everywhere. Who was only
-- invited, or turned that down, is not for the organization to know.
CREATE POLICY tenant ON users FOR SELECT TO clm_core_app USING (
    nullif(current_setting('clm.org_id', true), '') IS NOT NULL
    AND (EXISTS (SELECT FROM user_organizations m
                 WHERE m.user_id = users.id AND (m.joined_at IS NOT NULL OR m.status IN ('active', 'suspended')))
         OR EXISTS (SELECT FROM user_roles a WHERE a.user_id = users.id AND a.organization_id IS NULL)));
CREATE POLICY every_tenant ON users TO clm_core_system USING (true) WITH CHECK (true);
CREATE POLICY reports ON users FOR SELECT TO clm_core_ro USING (true);
