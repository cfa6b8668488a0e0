-- How actors prove who they are: sessions, API keys, and the one-time token of the first administrator. Only
-- hashes are kept.

CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    key_prefix text NOT NULL UNIQUE,
    key_hash bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    name text NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid REFERENCES organizations (id),
    scopes jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(scopes) = 'array'),
    allowed_addresses inet[] NOT NULL DEFAULT '{}',
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id)
);
CREATE INDEX api_keys_user_id_id_idx ON api_keys (user_id, id);
CREATE INDEX api_keys_revoked_by_idx ON api_keys (revoked_by);
CREATE INDEX api_keys_expires_at_idx ON api_keys (expires_at DESC) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_last_used_at_idx ON api_keys (last_used_at DESC);
CREATE INDEX api_keys_scopes_idx ON api_keys USING gin (scopes jsonb_path_ops);
CREATE INDEX api_keys_created_at_idx ON api_keys (created_at DESC);
CREATE INDEX api_keys_updated_at_idx ON api_keys (updated_at DESC);
COMMENT ON TABLE api_keys IS 'Keys for programs: shown once, kept as a hash.';
COMMENT ON COLUMN api_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN api_keys.key_prefix IS 'First characters of the key, by which it is found and named.';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the key.';
COMMENT ON COLUMN api_keys.name IS 'What it is for.';
COMMENT ON COLUMN api_keys.user_id IS 'On whose behalf it acts.';
COMMENT ON COLUMN api_keys.organization_id IS 'Where it acts; null: wherever its user may.';
COMMENT ON COLUMN api_keys.scopes IS 'Permissions it is limited to; * is all its user has.';
COMMENT ON COLUMN api_keys.allowed_addresses IS 'Networks it may be used from; empty: any.';
COMMENT ON COLUMN api_keys.expires_at IS 'It ends at this time; null: never.';
COMMENT ON COLUMN api_keys.last_used_at IS 'When it was last used, to the minute.';
COMMENT ON COLUMN api_keys.revoked_at IS 'When it was revoked.';
COMMENT ON COLUMN api_keys.revoked_by IS 'Who revoked it.';
COMMENT ON COLUMN api_keys.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN api_keys.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN api_keys.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN api_keys.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid REFERENCES organizations (id),
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    ip_address inet,
    user_agent text,
    mfa_at timestamptz,
    last_seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revocation_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id)
);
CREATE INDEX sessions_user_id_expires_at_idx ON sessions (user_id, expires_at DESC) WHERE revoked_at IS NULL;
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at DESC);
CREATE INDEX sessions_created_at_idx ON sessions (created_at DESC);
CREATE INDEX sessions_updated_at_idx ON sessions (updated_at DESC);
COMMENT ON TABLE sessions IS 'Sign-ins of people: an opaque token, kept as a hash.';
COMMENT ON COLUMN sessions.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN sessions.user_id IS 'Whose.';
COMMENT ON COLUMN sessions.organization_id IS 'The organization chosen in it.';
COMMENT ON COLUMN sessions.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN sessions.ip_address IS 'From where it was opened.';
COMMENT ON COLUMN sessions.user_agent IS 'The browser that opened it.';
COMMENT ON COLUMN sessions.mfa_at IS 'When the second factor was given.';
COMMENT ON COLUMN sessions.last_seen_at IS 'When it was last used, to the minute.';
COMMENT ON COLUMN sessions.expires_at IS 'It ends at this time.';
COMMENT ON COLUMN sessions.revoked_at IS 'When it was ended.';
COMMENT ON COLUMN sessions.revocation_reason IS 'Why it was ended before its time: signed_out, password_changed, administrator, …';
COMMENT ON COLUMN sessions.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN sessions.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN sessions.version IS 'Counts the row''s changes; the ETag.';

CREATE TABLE bootstrap_tokens (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    used_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX bootstrap_tokens_used_by_idx ON bootstrap_tokens (used_by);
CREATE INDEX bootstrap_tokens_expires_at_idx ON bootstrap_tokens (expires_at DESC);
CREATE INDEX bootstrap_tokens_created_at_idx ON bootstrap_tokens (created_at DESC);
CREATE INDEX bootstrap_tokens_updated_at_idx ON bootstrap_tokens (updated_at DESC);
COMMENT ON TABLE bootstrap_tokens IS 'One-time tokens that make the first administrator.';
COMMENT ON COLUMN bootstrap_tokens.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN bootstrap_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN bootstrap_tokens.expires_at IS 'It ends at this time.';
COMMENT ON COLUMN bootstrap_tokens.used_at IS 'When it was used.';
COMMENT ON COLUMN bootstrap_tokens.used_by IS 'The administrator it made.';
COMMENT ON COLUMN bootstrap_tokens.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN bootstrap_tokens.updated_at IS 'When the row last changed, UTC.';
