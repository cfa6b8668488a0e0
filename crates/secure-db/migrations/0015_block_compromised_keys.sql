-- Keys that must not be certified again: revoked as compromised, or known as such to an operator.

CREATE TABLE blocked_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    public_key_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(public_key_sha256) = 32),
    source text NOT NULL CHECK (source IN ('revocation', 'operator')),
    certificate_id uuid REFERENCES certificates (certificate_id),
    comment text,
    created_at timestamptz NOT NULL,
    CHECK ((source = 'revocation') = (certificate_id IS NOT NULL))
);
CREATE INDEX blocked_keys_certificate_id_idx ON blocked_keys (certificate_id);
CREATE INDEX blocked_keys_created_at_idx ON blocked_keys USING brin (created_at);
COMMENT ON TABLE blocked_keys IS 'Public keys that are not certified any more. Nothing is ever taken off the list.';
COMMENT ON COLUMN blocked_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN blocked_keys.public_key_sha256 IS 'SHA-256 of the SubjectPublicKeyInfo.';
COMMENT ON COLUMN blocked_keys.source IS 'A revocation for compromise, or an operator.';
COMMENT ON COLUMN blocked_keys.certificate_id IS 'The certificate that was revoked first.';
COMMENT ON COLUMN blocked_keys.comment IS 'What was said about it.';
COMMENT ON COLUMN blocked_keys.created_at IS 'When the row was made, UTC.';
SELECT make_append_only('blocked_keys');

INSERT INTO blocked_keys (public_key_sha256, source, certificate_id, created_at)
SELECT DISTINCT ON (public_key_sha256) public_key_sha256, 'revocation', certificate_id, revoked_at
FROM certificates
WHERE revocation_reason IN ('keyCompromise', 'cACompromise', 'aACompromise')
ORDER BY public_key_sha256, revoked_at;

GRANT SELECT, INSERT ON blocked_keys TO clm_secure_app;
GRANT SELECT ON blocked_keys TO clm_secure_ro;
