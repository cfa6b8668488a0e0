-- Who there is: organizations (the tenants), people, and which people belong where.

CREATE TABLE organizations (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    org_code text NOT NULL UNIQUE,
    org_name text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'closed')),
    subscription_plan text NOT NULL DEFAULT 'standard',
    subscription_status text NOT NULL DEFAULT 'active' CHECK (subscription_status IN ('trial', 'active', 'past_due', 'cancelled', 'expired')),
    subscription_expires_at timestamptz,
    license_max_certificates integer CHECK (license_max_certificates >= 0),
    license_max_users integer CHECK (license_max_users >= 0),
    license_max_authorities integer CHECK (license_max_authorities >= 0),
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz
);
CREATE INDEX organizations_org_name_idx ON organizations (org_name) WHERE deleted_at IS NULL;
CREATE INDEX organizations_status_idx ON organizations (status) WHERE deleted_at IS NULL;
CREATE INDEX organizations_subscription_expires_at_idx ON organizations (subscription_expires_at DESC);
CREATE INDEX organizations_settings_idx ON organizations USING gin (settings jsonb_path_ops);
CREATE INDEX organizations_created_at_idx ON organizations (created_at DESC);
CREATE INDEX organizations_updated_at_idx ON organizations (updated_at DESC);
COMMENT ON TABLE organizations IS 'Organizations: the tenants, with their subscription, licence and settings.';
COMMENT ON COLUMN organizations.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN organizations.org_code IS 'Short name for people, URLs and configuration.';
COMMENT ON COLUMN organizations.org_name IS 'Full name.';
COMMENT ON COLUMN organizations.status IS 'Only an active organization may ask for anything.';
COMMENT ON COLUMN organizations.subscription_plan IS 'What was bought.';
COMMENT ON COLUMN organizations.subscription_status IS 'Whether it is paid for.';
COMMENT ON COLUMN organizations.subscription_expires_at IS 'When it ends; null: never.';
COMMENT ON COLUMN organizations.license_max_certificates IS 'Most active certificates at a time; null: no limit.';
COMMENT ON COLUMN organizations.license_max_users IS 'Most members; null: no limit.';
COMMENT ON COLUMN organizations.license_max_authorities IS 'Most certificate authorities; null: no limit.';
COMMENT ON COLUMN organizations.settings IS 'Settings of the organization.';
COMMENT ON COLUMN organizations.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN organizations.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN organizations.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN organizations.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    username text NOT NULL UNIQUE,
    email text NOT NULL,
    display_name text NOT NULL,
    password_hash text,
    password_salt text,
    password_changed_at timestamptz,
    status text NOT NULL CHECK (status IN ('invited', 'active', 'locked', 'disabled')),
    mfa_enabled boolean NOT NULL DEFAULT false,
    mfa_secret_encrypted bytea,
    mfa_configuration jsonb NOT NULL DEFAULT '{}',
    failed_login_attempts integer NOT NULL DEFAULT 0 CHECK (failed_login_attempts >= 0),
    last_failed_login_at timestamptz,
    locked_until timestamptz,
    last_login_at timestamptz,
    last_login_address inet,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz
);
CREATE UNIQUE INDEX users_username_lower_idx ON users (lower(username));
CREATE UNIQUE INDEX users_email_lower_idx ON users (lower(email)) WHERE deleted_at IS NULL;
CREATE INDEX users_status_idx ON users (status) WHERE deleted_at IS NULL;
CREATE INDEX users_locked_until_idx ON users (locked_until DESC) WHERE locked_until IS NOT NULL;
CREATE INDEX users_search_idx ON users USING gin (username gin_trgm_ops, email gin_trgm_ops, display_name gin_trgm_ops);
CREATE INDEX users_mfa_configuration_idx ON users USING gin (mfa_configuration jsonb_path_ops);
CREATE INDEX users_created_at_idx ON users (created_at DESC);
CREATE INDEX users_updated_at_idx ON users (updated_at DESC);
COMMENT ON TABLE users IS 'People and service accounts. Global: membership says in which organizations they act.';
COMMENT ON COLUMN users.id IS 'The user''s identity, in both databases.';
COMMENT ON COLUMN users.username IS 'Name to sign in with; never given to another user again.';
COMMENT ON COLUMN users.email IS 'Address for messages; unique among users that are not deleted, whatever the case.';
COMMENT ON COLUMN users.display_name IS 'Name to show.';
COMMENT ON COLUMN users.password_hash IS 'argon2id of the password, encoded; null: no sign-in by password.';
COMMENT ON COLUMN users.password_salt IS 'Salt of that hash, base64.';
COMMENT ON COLUMN users.password_changed_at IS 'When the password was set.';
COMMENT ON COLUMN users.status IS 'Only an active user may sign in.';
COMMENT ON COLUMN users.mfa_enabled IS 'Whether a second factor is required.';
COMMENT ON COLUMN users.mfa_secret_encrypted IS 'Secret of the one-time codes, encrypted.';
COMMENT ON COLUMN users.mfa_configuration IS 'Second factors and their settings; no secret.';
COMMENT ON COLUMN users.failed_login_attempts IS 'Failed sign-ins since the last good one.';
COMMENT ON COLUMN users.last_failed_login_at IS 'When the last one failed.';
COMMENT ON COLUMN users.locked_until IS 'No sign-in before this time.';
COMMENT ON COLUMN users.last_login_at IS 'When the user last signed in.';
COMMENT ON COLUMN users.last_login_address IS 'From where.';
COMMENT ON COLUMN users.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN users.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN users.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN users.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE user_organizations (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    is_primary boolean NOT NULL DEFAULT false,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('invited', 'active', 'suspended', 'left')),
    joined_at timestamptz,
    invited_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    UNIQUE (user_id, organization_id)
);
CREATE UNIQUE INDEX user_organizations_primary_idx ON user_organizations (user_id) WHERE is_primary;
CREATE INDEX user_organizations_organization_id_user_id_idx ON user_organizations (organization_id, user_id);
CREATE INDEX user_organizations_organization_id_status_idx ON user_organizations (organization_id, status);
CREATE INDEX user_organizations_invited_by_idx ON user_organizations (invited_by);
CREATE INDEX user_organizations_created_at_idx ON user_organizations (created_at DESC);
CREATE INDEX user_organizations_updated_at_idx ON user_organizations (updated_at DESC);
COMMENT ON TABLE user_organizations IS 'Which users belong to which organization.';
COMMENT ON COLUMN user_organizations.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN user_organizations.user_id IS 'The member.';
COMMENT ON COLUMN user_organizations.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN user_organizations.is_primary IS 'Whether it is the user''s first choice; one per user.';
COMMENT ON COLUMN user_organizations.status IS 'Only an active member may act for it.';
COMMENT ON COLUMN user_organizations.joined_at IS 'When the membership became active.';
COMMENT ON COLUMN user_organizations.invited_by IS 'Who invited.';
COMMENT ON COLUMN user_organizations.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN user_organizations.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN user_organizations.version IS 'Counts the row''s changes; the ETag.';
