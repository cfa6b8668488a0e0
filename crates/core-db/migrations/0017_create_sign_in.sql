-- How people sign in: failures in a sliding window, the step of the last one-time code, former passwords, one-time links
-- and recovery codes. Only hashes are kept.

ALTER TABLE users
    ADD COLUMN recent_failed_logins timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN totp_last_step bigint;
COMMENT ON COLUMN users.recent_failed_logins IS 'When the last few sign-ins failed, newest first; a good one empties it.';
COMMENT ON COLUMN users.totp_last_step IS 'Time step of the last one-time code that was taken: none is taken twice (RFC 6238 section 5.2).';

ALTER TABLE sessions
    ADD COLUMN sign_in_method text NOT NULL DEFAULT 'password' CHECK (sign_in_method IN ('password', 'passkey', 'oidc')),
    ADD COLUMN revoked_by uuid REFERENCES users (id),
    ADD COLUMN wrong_codes integer NOT NULL DEFAULT 0 CHECK (wrong_codes >= 0);
CREATE INDEX sessions_revoked_by_idx ON sessions (revoked_by);
COMMENT ON COLUMN sessions.sign_in_method IS 'What was shown first to open it.';
COMMENT ON COLUMN sessions.wrong_codes IS 'Wrong second factors shown in it since a right one.';
COMMENT ON COLUMN sessions.revoked_by IS 'Who ended it, if somebody did.';

ALTER TABLE api_keys ADD COLUMN replaced_at timestamptz;
COMMENT ON COLUMN api_keys.replaced_at IS 'It ends at this time, if before expires_at, because another key has taken its place.';

CREATE TABLE former_passwords (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX former_passwords_user_id_id_idx ON former_passwords (user_id, id DESC);
CREATE INDEX former_passwords_created_at_idx ON former_passwords USING brin (created_at);
COMMENT ON TABLE former_passwords IS 'Passwords that users had before, which they may not take again soon.';
COMMENT ON COLUMN former_passwords.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN former_passwords.user_id IS 'Whose.';
COMMENT ON COLUMN former_passwords.password_hash IS 'argon2id of the password, encoded.';
COMMENT ON COLUMN former_passwords.created_at IS 'When another one took its place, UTC.';

CREATE TABLE one_time_links (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    purpose text NOT NULL CHECK (purpose IN ('invitation', 'password_reset')),
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    made_by uuid REFERENCES users (id),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX one_time_links_user_id_idx ON one_time_links (user_id) WHERE used_at IS NULL AND revoked_at IS NULL;
CREATE INDEX one_time_links_user_id_id_idx ON one_time_links (user_id, id DESC);
CREATE INDEX one_time_links_made_by_idx ON one_time_links (made_by);
CREATE INDEX one_time_links_expires_at_idx ON one_time_links (expires_at DESC);
CREATE INDEX one_time_links_created_at_idx ON one_time_links (created_at DESC);
CREATE INDEX one_time_links_updated_at_idx ON one_time_links (updated_at DESC);
COMMENT ON TABLE one_time_links IS 'Links by which a user sets a password without knowing one: invitations and resets.';
COMMENT ON COLUMN one_time_links.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN one_time_links.user_id IS 'For whom.';
COMMENT ON COLUMN one_time_links.purpose IS 'What it is for.';
COMMENT ON COLUMN one_time_links.token_hash IS 'SHA-256 of the token in the link.';
COMMENT ON COLUMN one_time_links.made_by IS 'Who made it.';
COMMENT ON COLUMN one_time_links.expires_at IS 'It ends at this time.';
COMMENT ON COLUMN one_time_links.used_at IS 'When it was used.';
COMMENT ON COLUMN one_time_links.revoked_at IS 'When a newer link or a new password took its place.';
COMMENT ON COLUMN one_time_links.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN one_time_links.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE recovery_codes (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (user_id, code_hash)
);
CREATE INDEX recovery_codes_created_at_idx ON recovery_codes (created_at DESC);
CREATE INDEX recovery_codes_updated_at_idx ON recovery_codes (updated_at DESC);
COMMENT ON TABLE recovery_codes IS 'Codes that stand in for a lost second factor, each once.';
COMMENT ON COLUMN recovery_codes.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN recovery_codes.user_id IS 'Whose.';
COMMENT ON COLUMN recovery_codes.code_hash IS 'SHA-256 of user and code; 80 random bits need no slow hash.';
COMMENT ON COLUMN recovery_codes.used_at IS 'When it was used.';
COMMENT ON COLUMN recovery_codes.revoked_at IS 'When new codes took its place.';
COMMENT ON COLUMN recovery_codes.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN recovery_codes.updated_at IS 'When the row last changed, UTC.';

GRANT SELECT, INSERT ON former_passwords, one_time_links, recovery_codes TO clm_core_system;
GRANT UPDATE (used_at, revoked_at, updated_at) ON one_time_links, recovery_codes TO clm_core_system;
GRANT UPDATE (replaced_at) ON api_keys TO clm_core_system;
GRANT SELECT (replaced_at) ON api_keys TO clm_core_app, clm_core_ro;
GRANT UPDATE (recent_failed_logins, totp_last_step) ON users TO clm_core_system;
-- A sign-in that shows a factor gets a new token.
GRANT UPDATE (token_hash, revoked_by, wrong_codes) ON sessions TO clm_core_system;
GRANT SELECT (sign_in_method, revoked_by, wrong_codes) ON sessions TO clm_core_app, clm_core_ro;
