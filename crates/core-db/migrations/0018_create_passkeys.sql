-- Passkeys (Web Authentication Level 3): what a user's authenticator has proved to hold, and each use of it.

CREATE TABLE passkeys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    credential_id bytea NOT NULL UNIQUE CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    public_key bytea NOT NULL CHECK (octet_length(public_key) BETWEEN 1 AND 2048),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    transports text[] NOT NULL DEFAULT '{}',
    authenticator_model uuid NOT NULL,
    sign_count bigint NOT NULL CHECK (sign_count BETWEEN 0 AND 4294967295),
    backup_eligible boolean NOT NULL,
    backed_up boolean NOT NULL CHECK (backup_eligible OR NOT backed_up),
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX passkeys_user_id_id_idx ON passkeys (user_id, id DESC);
CREATE INDEX passkeys_created_at_idx ON passkeys (created_at DESC);
CREATE INDEX passkeys_updated_at_idx ON passkeys (updated_at DESC);
COMMENT ON TABLE passkeys IS 'Public keys of authenticators by which users sign in; the private keys never leave them.';
COMMENT ON COLUMN passkeys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN passkeys.user_id IS 'Whose.';
COMMENT ON COLUMN passkeys.credential_id IS 'The authenticator''s name for it; never given twice.';
COMMENT ON COLUMN passkeys.public_key IS 'COSE_Key (RFC 9052 section 7), as the authenticator encoded it.';
COMMENT ON COLUMN passkeys.name IS 'What its owner calls it.';
COMMENT ON COLUMN passkeys.transports IS 'How a browser reaches the authenticator, as the browser said.';
COMMENT ON COLUMN passkeys.authenticator_model IS 'AAGUID; zeros where the authenticator does not say.';
COMMENT ON COLUMN passkeys.sign_count IS 'The authenticator''s counter at the last use; zero where it does not count.';
COMMENT ON COLUMN passkeys.backup_eligible IS 'Whether it may be copied to other devices of its owner.';
COMMENT ON COLUMN passkeys.backed_up IS 'Whether it was when last used.';
COMMENT ON COLUMN passkeys.last_used_at IS 'When it last signed in or confirmed.';
COMMENT ON COLUMN passkeys.revoked_at IS 'When it was removed.';
COMMENT ON COLUMN passkeys.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN passkeys.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE passkey_uses (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    passkey_id uuid NOT NULL REFERENCES passkeys (id),
    challenge_hash bytea NOT NULL UNIQUE CHECK (octet_length(challenge_hash) = 32),
    created_at timestamptz NOT NULL
);
CREATE INDEX passkey_uses_passkey_id_idx ON passkey_uses (passkey_id);
CREATE INDEX passkey_uses_created_at_idx ON passkey_uses USING brin (created_at);
COMMENT ON TABLE passkey_uses IS 'Answers of passkeys that were taken: no challenge is answered twice.';
COMMENT ON COLUMN passkey_uses.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN passkey_uses.passkey_id IS 'Which passkey.';
COMMENT ON COLUMN passkey_uses.challenge_hash IS 'SHA-256 of the challenge.';
COMMENT ON COLUMN passkey_uses.created_at IS 'When, UTC.';

GRANT SELECT, INSERT ON passkeys, passkey_uses TO clm_core_system;
GRANT UPDATE (name, sign_count, backed_up, last_used_at, revoked_at, updated_at) ON passkeys TO clm_core_system;
