-- Groups: who belongs together in an organization, and which roles they hold for it; and what provisioning clients (SCIM)
-- say about the members of an organization.

CREATE TABLE groups (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    display_name text NOT NULL,
    external_id text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id)
);
CREATE UNIQUE INDEX groups_display_name_lower_idx ON groups (organization_id, lower(display_name)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX groups_external_id_idx ON groups (organization_id, external_id) WHERE deleted_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX groups_created_at_idx ON groups (created_at DESC);
CREATE INDEX groups_updated_at_idx ON groups (updated_at DESC);
COMMENT ON TABLE groups IS 'Groups of users of an organization. Their members hold the roles of the group by ordinary assignments.';
COMMENT ON COLUMN groups.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN groups.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN groups.display_name IS 'Name to show; unique in the organization among groups that are not deleted, whatever the case.';
COMMENT ON COLUMN groups.external_id IS 'What the provisioning client calls it; unique in the organization.';
COMMENT ON COLUMN groups.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN groups.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN groups.version IS 'Counts the changes of the row and of who belongs to it; the ETag.';
COMMENT ON COLUMN groups.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE group_members (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    group_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id),
    added_by uuid REFERENCES users (id),
    left_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, group_id) REFERENCES groups (organization_id, id)
);
CREATE UNIQUE INDEX group_members_current_idx ON group_members (group_id, user_id) WHERE left_at IS NULL;
CREATE INDEX group_members_organization_id_group_id_idx ON group_members (organization_id, group_id, id);
CREATE INDEX group_members_user_id_idx ON group_members (user_id);
CREATE INDEX group_members_added_by_idx ON group_members (added_by);
CREATE INDEX group_members_created_at_idx ON group_members (created_at DESC);
CREATE INDEX group_members_updated_at_idx ON group_members (updated_at DESC);
COMMENT ON TABLE group_members IS 'Which users belong to which group, and belonged to it.';
COMMENT ON COLUMN group_members.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN group_members.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN group_members.group_id IS 'The group.';
COMMENT ON COLUMN group_members.user_id IS 'The member.';
COMMENT ON COLUMN group_members.added_by IS 'Who added it; null: the installation itself.';
COMMENT ON COLUMN group_members.left_at IS 'When it ended; null: it holds.';
COMMENT ON COLUMN group_members.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN group_members.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE group_roles (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    group_id uuid NOT NULL,
    role_id uuid NOT NULL REFERENCES roles (id),
    given_by uuid REFERENCES users (id),
    taken_at timestamptz,
    taken_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, group_id) REFERENCES groups (organization_id, id)
);
CREATE UNIQUE INDEX group_roles_current_idx ON group_roles (group_id, role_id) WHERE taken_at IS NULL;
CREATE INDEX group_roles_organization_id_group_id_idx ON group_roles (organization_id, group_id, id);
CREATE INDEX group_roles_role_id_idx ON group_roles (role_id);
CREATE INDEX group_roles_given_by_idx ON group_roles (given_by);
CREATE INDEX group_roles_taken_by_idx ON group_roles (taken_by);
CREATE INDEX group_roles_created_at_idx ON group_roles (created_at DESC);
CREATE INDEX group_roles_updated_at_idx ON group_roles (updated_at DESC);
CREATE TRIGGER refuse_foreign_role BEFORE INSERT OR UPDATE OF role_id, organization_id ON group_roles
    FOR EACH ROW EXECUTE FUNCTION refuse_foreign_role('role_id');
COMMENT ON TABLE group_roles IS 'Which roles the members of a group hold, and held.';
COMMENT ON COLUMN group_roles.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN group_roles.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN group_roles.group_id IS 'The group.';
COMMENT ON COLUMN group_roles.role_id IS 'The role.';
COMMENT ON COLUMN group_roles.given_by IS 'Who gave it; null: the installation itself.';
COMMENT ON COLUMN group_roles.taken_at IS 'When it was taken away; null: it holds.';
COMMENT ON COLUMN group_roles.taken_by IS 'Who took it away.';
COMMENT ON COLUMN group_roles.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN group_roles.updated_at IS 'When the row last changed, UTC.';

-- What members of groups hold are ordinary assignments that name the group; the same role may be given by hand beside it.
ALTER TABLE user_roles
    ADD COLUMN group_id uuid,
    ADD CONSTRAINT user_roles_group_id_fkey FOREIGN KEY (group_id, organization_id) REFERENCES groups (id, organization_id),
    ADD CONSTRAINT user_roles_group_id_check CHECK (group_id IS NULL OR organization_id IS NOT NULL);
CREATE INDEX user_roles_group_id_idx ON user_roles (group_id, organization_id) WHERE group_id IS NOT NULL;
CREATE UNIQUE INDEX user_roles_current_by_group_idx ON user_roles (user_id, role_id, organization_id, group_id)
    NULLS NOT DISTINCT WHERE revoked_at IS NULL;
DROP INDEX user_roles_current_idx;
COMMENT ON COLUMN user_roles.group_id IS 'The group whose members hold it; null: given to the user alone.';

CREATE TABLE provisioned_users (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    user_id uuid NOT NULL REFERENCES users (id),
    external_id text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    UNIQUE (organization_id, user_id)
);
CREATE UNIQUE INDEX provisioned_users_external_id_idx ON provisioned_users (organization_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX provisioned_users_user_id_idx ON provisioned_users (user_id);
CREATE INDEX provisioned_users_created_at_idx ON provisioned_users (created_at DESC);
CREATE INDEX provisioned_users_updated_at_idx ON provisioned_users (updated_at DESC);
COMMENT ON TABLE provisioned_users IS 'What the provisioning client of an organization says about its members.';
COMMENT ON COLUMN provisioned_users.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN provisioned_users.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN provisioned_users.user_id IS 'The member.';
COMMENT ON COLUMN provisioned_users.external_id IS 'What the provisioning client calls it; unique in the organization.';
COMMENT ON COLUMN provisioned_users.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN provisioned_users.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN provisioned_users.version IS 'Counts the row''s changes.';

SELECT enable_tenant_isolation(name::regclass, false)
FROM unnest(ARRAY['groups', 'group_members', 'group_roles', 'provisioned_users']) AS name;

GRANT SELECT ON groups, group_members, group_roles, provisioned_users TO clm_core_app, clm_core_ro;
GRANT SELECT, INSERT ON groups, group_members, group_roles, provisioned_users TO clm_core_system;
GRANT UPDATE (display_name, external_id, updated_at, version, deleted_at) ON groups TO clm_core_system;
GRANT UPDATE (left_at, updated_at) ON group_members TO clm_core_system;
GRANT UPDATE (taken_at, taken_by, updated_at) ON group_roles TO clm_core_system;
GRANT UPDATE (external_id, updated_at, version) ON provisioned_users TO clm_core_system;
