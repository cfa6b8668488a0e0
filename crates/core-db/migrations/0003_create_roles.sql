-- Who may what: roles with permissions, and who has them when and where.

CREATE TABLE roles (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    role_code text NOT NULL,
    role_name text NOT NULL,
    description text NOT NULL DEFAULT '',
    parent_role_id uuid REFERENCES roles (id),
    permissions jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(permissions) = 'array'),
    is_system boolean NOT NULL DEFAULT false,
    organization_id uuid REFERENCES organizations (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id),
    UNIQUE NULLS NOT DISTINCT (organization_id, role_code),
    CHECK (parent_role_id <> id)
);
CREATE INDEX roles_parent_role_id_idx ON roles (parent_role_id);
CREATE INDEX roles_role_code_idx ON roles (role_code) WHERE deleted_at IS NULL;
CREATE INDEX roles_permissions_idx ON roles USING gin (permissions jsonb_path_ops);
CREATE INDEX roles_created_at_idx ON roles (created_at DESC);
CREATE INDEX roles_updated_at_idx ON roles (updated_at DESC);
COMMENT ON TABLE roles IS 'Roles. A role has its own permissions and those of its parent.';
COMMENT ON COLUMN roles.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN roles.role_code IS 'Short name; unique within its organization and among the built-in ones.';
COMMENT ON COLUMN roles.role_name IS 'Name to show.';
COMMENT ON COLUMN roles.description IS 'What it is for.';
COMMENT ON COLUMN roles.parent_role_id IS 'The role whose permissions it has too.';
COMMENT ON COLUMN roles.permissions IS 'Permissions, texts of the form noun:verb; * is all of them.';
COMMENT ON COLUMN roles.is_system IS 'Built in: cannot be changed.';
COMMENT ON COLUMN roles.organization_id IS 'The organization that made it; null: built in, for all.';
COMMENT ON COLUMN roles.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN roles.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN roles.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN roles.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE user_roles (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    role_id uuid NOT NULL REFERENCES roles (id),
    organization_id uuid REFERENCES organizations (id),
    valid_from timestamptz NOT NULL,
    valid_until timestamptz,
    assigned_by uuid REFERENCES users (id),
    assignment_reason text,
    revoked_at timestamptz,
    revoked_by uuid REFERENCES users (id),
    revocation_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    CHECK (valid_until IS NULL OR valid_from < valid_until)
);
CREATE UNIQUE INDEX user_roles_current_idx ON user_roles (user_id, role_id, organization_id) NULLS NOT DISTINCT WHERE revoked_at IS NULL;
CREATE INDEX user_roles_user_id_idx ON user_roles (user_id);
CREATE INDEX user_roles_role_id_user_id_idx ON user_roles (role_id, user_id) WHERE revoked_at IS NULL;
CREATE INDEX user_roles_role_id_idx ON user_roles (role_id);
CREATE INDEX user_roles_assigned_by_idx ON user_roles (assigned_by);
CREATE INDEX user_roles_revoked_by_idx ON user_roles (revoked_by);
CREATE INDEX user_roles_valid_until_idx ON user_roles (valid_until DESC) WHERE revoked_at IS NULL;
CREATE INDEX user_roles_created_at_idx ON user_roles (created_at DESC);
CREATE INDEX user_roles_updated_at_idx ON user_roles (updated_at DESC);
COMMENT ON TABLE user_roles IS 'Which user has which role, from when to when, given by whom.';
COMMENT ON COLUMN user_roles.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN user_roles.user_id IS 'Who has it.';
COMMENT ON COLUMN user_roles.role_id IS 'The role.';
COMMENT ON COLUMN user_roles.organization_id IS 'Where it holds; null: in every organization.';
COMMENT ON COLUMN user_roles.valid_from IS 'It holds from this time.';
COMMENT ON COLUMN user_roles.valid_until IS 'It holds until before this time; null: until revoked.';
COMMENT ON COLUMN user_roles.assigned_by IS 'Who gave it; null: the installation itself.';
COMMENT ON COLUMN user_roles.assignment_reason IS 'Why.';
COMMENT ON COLUMN user_roles.revoked_at IS 'When it was taken away.';
COMMENT ON COLUMN user_roles.revoked_by IS 'Who took it away.';
COMMENT ON COLUMN user_roles.revocation_reason IS 'Why it was taken away.';
COMMENT ON COLUMN user_roles.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN user_roles.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN user_roles.version IS 'Counts the row''s changes; the ETag.';

CREATE FUNCTION refuse_foreign_role() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    -- The column that names the role is the trigger's argument.
    named uuid := (to_jsonb(NEW) ->> TG_ARGV[0])::uuid;
BEGIN
    IF named IS NOT NULL AND NOT EXISTS (
        SELECT FROM roles
        WHERE id = named AND (organization_id IS NULL OR organization_id = NEW.organization_id)
    ) THEN
        RAISE EXCEPTION 'role % is not one of this organization', named
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = format('%s_%s_same_organization', TG_TABLE_NAME, TG_ARGV[0]);
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION refuse_foreign_role() IS
    'A role is built in or of the same organization: what a composite foreign key cannot say, since built-in roles have none.';
CREATE TRIGGER refuse_foreign_role BEFORE INSERT OR UPDATE OF parent_role_id, organization_id ON roles
    FOR EACH ROW EXECUTE FUNCTION refuse_foreign_role('parent_role_id');
CREATE TRIGGER refuse_foreign_role BEFORE INSERT OR UPDATE OF role_id, organization_id ON user_roles
    FOR EACH ROW EXECUTE FUNCTION refuse_foreign_role('role_id');
