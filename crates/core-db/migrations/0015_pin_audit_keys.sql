-- Which audit key of Secure Core believes: the first one that it saw.

CREATE TABLE secure_audit_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    key_reference text NOT NULL UNIQUE,
    public_key bytea NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX secure_audit_keys_created_at_idx ON secure_audit_keys USING brin (created_at);
COMMENT ON TABLE secure_audit_keys IS 'Public keys that Secure signs the states of its audit chain with, pinned at first sight.';
COMMENT ON COLUMN secure_audit_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN secure_audit_keys.key_reference IS 'Name that signatures carry.';
COMMENT ON COLUMN secure_audit_keys.public_key IS 'SubjectPublicKeyInfo, DER.';
COMMENT ON COLUMN secure_audit_keys.created_at IS 'When Core saw it first, UTC.';
SELECT make_append_only('secure_audit_keys');
GRANT SELECT, INSERT ON secure_audit_keys TO clm_core_system;
GRANT SELECT ON secure_audit_keys TO clm_core_ro;
