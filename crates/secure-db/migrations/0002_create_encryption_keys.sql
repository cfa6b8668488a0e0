-- Keys that wrap other keys, in versions, and the record of every rotation from one version to the next.

CREATE TABLE encryption_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    key_identifier text NOT NULL UNIQUE,
    purpose text NOT NULL,
    organization_id uuid,
    key_version integer NOT NULL CHECK (key_version >= 1),
    algorithm text NOT NULL,
    provider text NOT NULL,
    master_key_reference text NOT NULL,
    wrapped_key_material bytea,
    state text NOT NULL CHECK (state IN ('pre_active', 'active', 'decrypt_only', 'destroyed', 'compromised')),
    use_count bigint NOT NULL DEFAULT 0 CHECK (use_count >= 0),
    max_uses bigint NOT NULL CHECK (max_uses > 0),
    activated_at timestamptz,
    expires_at timestamptz NOT NULL,
    rotated_at timestamptz,
    destroyed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE NULLS NOT DISTINCT (purpose, organization_id, key_version),
    CHECK ((state = 'destroyed') = (wrapped_key_material IS NULL))
);
CREATE UNIQUE INDEX encryption_keys_one_active_idx ON encryption_keys (purpose, organization_id) NULLS NOT DISTINCT WHERE state = 'active';
CREATE INDEX encryption_keys_organization_id_idx ON encryption_keys (organization_id);
CREATE INDEX encryption_keys_state_idx ON encryption_keys (state);
CREATE INDEX encryption_keys_expires_at_idx ON encryption_keys (expires_at DESC) WHERE state = 'active';
CREATE INDEX encryption_keys_created_at_idx ON encryption_keys (created_at DESC);
CREATE INDEX encryption_keys_updated_at_idx ON encryption_keys (updated_at DESC);
COMMENT ON TABLE encryption_keys IS 'Data keys, each wrapped by the master key, that protect private keys and other secrets at rest.';
COMMENT ON COLUMN encryption_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN encryption_keys.key_identifier IS 'Name for people: purpose, organization and version.';
COMMENT ON COLUMN encryption_keys.purpose IS 'What it protects, for example private_keys.';
COMMENT ON COLUMN encryption_keys.organization_id IS 'Whose secrets it protects, clm_core_db.organizations.id; null: those of the installation.';
COMMENT ON COLUMN encryption_keys.key_version IS 'Version within purpose and organization, from 1.';
COMMENT ON COLUMN encryption_keys.algorithm IS 'Cipher the key is used with, for example AES-256-GCM.';
COMMENT ON COLUMN encryption_keys.provider IS 'Who holds the master key: sealed-file, pkcs11.';
COMMENT ON COLUMN encryption_keys.master_key_reference IS 'Which master key of the provider wraps it.';
COMMENT ON COLUMN encryption_keys.wrapped_key_material IS 'The key, encrypted by the master key, nonce inside; null once destroyed.';
COMMENT ON COLUMN encryption_keys.state IS 'Life of the key (NIST SP 800-57): one active version encrypts, decrypt_only ones still open.';
COMMENT ON COLUMN encryption_keys.use_count IS 'How many encryptions were made with it.';
COMMENT ON COLUMN encryption_keys.max_uses IS 'After this many encryptions it must be rotated (random nonces, NIST SP 800-38D).';
COMMENT ON COLUMN encryption_keys.activated_at IS 'When it became active.';
COMMENT ON COLUMN encryption_keys.expires_at IS 'After this time it must be rotated.';
COMMENT ON COLUMN encryption_keys.rotated_at IS 'When a newer version took over.';
COMMENT ON COLUMN encryption_keys.destroyed_at IS 'When its material was erased.';
COMMENT ON COLUMN encryption_keys.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN encryption_keys.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN encryption_keys.version IS 'Counts the row''s changes; the ETag.';

CREATE TABLE key_rotation_history (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    rotation_id uuid NOT NULL UNIQUE,
    purpose text NOT NULL,
    organization_id uuid,
    from_encryption_key_id uuid NOT NULL REFERENCES encryption_keys (id),
    to_encryption_key_id uuid NOT NULL REFERENCES encryption_keys (id),
    rotation_reason text NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'succeeded', 'partial', 'failed')),
    rows_total bigint NOT NULL DEFAULT 0,
    rows_reencrypted bigint NOT NULL DEFAULT 0,
    rows_failed bigint NOT NULL DEFAULT 0,
    last_row_id uuid,
    failure_details jsonb NOT NULL DEFAULT '[]',
    initiated_by text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    CHECK ((status = 'running') = (finished_at IS NULL))
);
CREATE INDEX key_rotation_history_from_encryption_key_id_idx ON key_rotation_history (from_encryption_key_id);
CREATE INDEX key_rotation_history_to_encryption_key_id_idx ON key_rotation_history (to_encryption_key_id);
CREATE INDEX key_rotation_history_status_idx ON key_rotation_history (status) WHERE status <> 'succeeded';
CREATE INDEX key_rotation_history_started_at_idx ON key_rotation_history (started_at DESC);
CREATE INDEX key_rotation_history_failure_details_idx ON key_rotation_history USING gin (failure_details jsonb_path_ops);
CREATE INDEX key_rotation_history_created_at_idx ON key_rotation_history (created_at DESC);
CREATE INDEX key_rotation_history_updated_at_idx ON key_rotation_history (updated_at DESC);
COMMENT ON TABLE key_rotation_history IS 'One row per rotation of an encryption key: what was re-encrypted, with what success.';
COMMENT ON COLUMN key_rotation_history.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN key_rotation_history.rotation_id IS 'The rotation; the same id resumes it.';
COMMENT ON COLUMN key_rotation_history.purpose IS 'What the rotated key protects.';
COMMENT ON COLUMN key_rotation_history.organization_id IS 'Whose key, clm_core_db.organizations.id; null: the installation''s.';
COMMENT ON COLUMN key_rotation_history.from_encryption_key_id IS 'The version that is left.';
COMMENT ON COLUMN key_rotation_history.to_encryption_key_id IS 'The version that takes over.';
COMMENT ON COLUMN key_rotation_history.rotation_reason IS 'Why: scheduled, use_limit, compromise, operator.';
COMMENT ON COLUMN key_rotation_history.status IS 'How it went; partial: some rows remain under the old version.';
COMMENT ON COLUMN key_rotation_history.rows_total IS 'How many ciphertexts were under the old version at the start.';
COMMENT ON COLUMN key_rotation_history.rows_reencrypted IS 'How many were re-encrypted so far.';
COMMENT ON COLUMN key_rotation_history.rows_failed IS 'How many could not be re-encrypted.';
COMMENT ON COLUMN key_rotation_history.last_row_id IS 'The last row done; a resumed rotation continues after it.';
COMMENT ON COLUMN key_rotation_history.failure_details IS 'Rows that failed, with the reason; no key material.';
COMMENT ON COLUMN key_rotation_history.initiated_by IS 'Who started it: an operator''s name or the scheduler.';
COMMENT ON COLUMN key_rotation_history.started_at IS 'When it began.';
COMMENT ON COLUMN key_rotation_history.finished_at IS 'When it ended.';
COMMENT ON COLUMN key_rotation_history.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN key_rotation_history.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN key_rotation_history.version IS 'Counts the row''s changes; the ETag.';
