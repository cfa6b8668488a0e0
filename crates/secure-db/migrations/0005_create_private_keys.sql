-- Private keys, never in the clear: wrapped by an encryption key or held in a security module.

CREATE TABLE private_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    certificate_id uuid NOT NULL UNIQUE REFERENCES certificates (certificate_id),
    organization_id uuid,
    encrypted_key_material bytea,
    encryption_key_id uuid REFERENCES encryption_keys (id),
    encryption_algorithm text,
    key_algorithm text NOT NULL,
    key_size integer NOT NULL CHECK (key_size > 0),
    public_key_sha256 bytea NOT NULL CHECK (octet_length(public_key_sha256) = 32),
    origin text NOT NULL CHECK (origin IN ('generated', 'imported', 'hsm')),
    hsm_provider text,
    hsm_key_reference text,
    access_control jsonb NOT NULL DEFAULT '{}',
    exportable boolean NOT NULL DEFAULT false,
    access_count bigint NOT NULL DEFAULT 0,
    last_accessed_at timestamptz,
    destroyed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    CHECK (CASE WHEN destroyed_at IS NULL THEN num_nonnulls(encrypted_key_material, hsm_key_reference) = 1 ELSE encrypted_key_material IS NULL END),
    CHECK (encrypted_key_material IS NULL OR (encryption_key_id IS NOT NULL AND encryption_algorithm IS NOT NULL)),
    CHECK ((hsm_key_reference IS NULL) = (hsm_provider IS NULL))
);
CREATE INDEX private_keys_encryption_key_id_id_idx ON private_keys (encryption_key_id, id);
CREATE INDEX private_keys_organization_id_idx ON private_keys (organization_id);
CREATE INDEX private_keys_last_accessed_at_idx ON private_keys (last_accessed_at DESC);
CREATE INDEX private_keys_access_control_idx ON private_keys USING gin (access_control jsonb_path_ops);
CREATE INDEX private_keys_created_at_idx ON private_keys (created_at DESC);
CREATE INDEX private_keys_updated_at_idx ON private_keys (updated_at DESC);
COMMENT ON TABLE private_keys IS 'Private keys, one to one with certificates.';
COMMENT ON COLUMN private_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN private_keys.certificate_id IS 'The certificate of this key.';
COMMENT ON COLUMN private_keys.organization_id IS 'Whose, clm_core_db.organizations.id; null: the installation''s own.';
COMMENT ON COLUMN private_keys.encrypted_key_material IS 'PKCS#8 key, encrypted with the encryption key, nonce first; null when it lives in a security module or is destroyed.';
COMMENT ON COLUMN private_keys.encryption_key_id IS 'The version of the encryption key it is under.';
COMMENT ON COLUMN private_keys.encryption_algorithm IS 'Cipher it is encrypted with, for example AES-256-GCM.';
COMMENT ON COLUMN private_keys.key_algorithm IS 'Algorithm of the key.';
COMMENT ON COLUMN private_keys.key_size IS 'Size in bits.';
COMMENT ON COLUMN private_keys.public_key_sha256 IS 'SHA-256 of its SubjectPublicKeyInfo.';
COMMENT ON COLUMN private_keys.origin IS 'Where it was made.';
COMMENT ON COLUMN private_keys.hsm_provider IS 'The security module that holds it.';
COMMENT ON COLUMN private_keys.hsm_key_reference IS 'Its name in that module.';
COMMENT ON COLUMN private_keys.access_control IS 'Who may use or export it, beyond its owner.';
COMMENT ON COLUMN private_keys.exportable IS 'Whether it may leave Secure, encrypted to a named recipient.';
COMMENT ON COLUMN private_keys.access_count IS 'How often it was used or exported.';
COMMENT ON COLUMN private_keys.last_accessed_at IS 'When it was last used or exported.';
COMMENT ON COLUMN private_keys.destroyed_at IS 'When its material was erased.';
COMMENT ON COLUMN private_keys.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN private_keys.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN private_keys.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN private_keys.deleted_at IS 'When it was deleted; the row stays for the audit.';
