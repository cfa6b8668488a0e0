-- What Secure puts its name to: receipts of rotations, states of the audit chain, exports.

CREATE TABLE audit_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    key_reference text NOT NULL UNIQUE,
    key_algorithm text NOT NULL,
    public_key bytea NOT NULL,
    encrypted_key_material bytea NOT NULL,
    encryption_key_id uuid NOT NULL REFERENCES encryption_keys (id),
    encryption_algorithm text NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'retired')),
    retired_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
CREATE UNIQUE INDEX audit_keys_one_active_idx ON audit_keys (state) WHERE state = 'active';
CREATE INDEX audit_keys_encryption_key_id_id_idx ON audit_keys (encryption_key_id, id);
CREATE INDEX audit_keys_created_at_idx ON audit_keys (created_at DESC);
CREATE INDEX audit_keys_updated_at_idx ON audit_keys (updated_at DESC);
COMMENT ON TABLE audit_keys IS 'Keys that sign what must be provable years later. Their public halves are kept for ever.';
COMMENT ON COLUMN audit_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN audit_keys.key_reference IS 'Name that signatures carry: the beginning of the SHA-256 of the public key.';
COMMENT ON COLUMN audit_keys.key_algorithm IS 'Algorithm of the key.';
COMMENT ON COLUMN audit_keys.public_key IS 'SubjectPublicKeyInfo, DER.';
COMMENT ON COLUMN audit_keys.encrypted_key_material IS 'PKCS#8 key, encrypted with the encryption key, nonce first.';
COMMENT ON COLUMN audit_keys.encryption_key_id IS 'The version of the encryption key it is under.';
COMMENT ON COLUMN audit_keys.encryption_algorithm IS 'Cipher it is encrypted with.';
COMMENT ON COLUMN audit_keys.state IS 'The one active key signs.';
COMMENT ON COLUMN audit_keys.retired_at IS 'When another one took over.';
COMMENT ON COLUMN audit_keys.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN audit_keys.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN audit_keys.version IS 'Counts the row''s changes; the ETag.';

GRANT SELECT, INSERT ON audit_keys TO clm_secure_app;
GRANT UPDATE (encrypted_key_material, encryption_key_id, updated_at, version) ON audit_keys TO clm_secure_app;
GRANT SELECT (id, key_reference, key_algorithm, public_key, state, retired_at, created_at) ON audit_keys TO clm_secure_ro, clm_secure_auditor;
