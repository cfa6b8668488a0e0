-- Authorities that other software made: what they signed and revoked before comes along with them.

-- A list names certificates that nobody has any more: they stay revoked.
ALTER TABLE certificate_revocations ALTER COLUMN certificate_id DROP NOT NULL;
COMMENT ON COLUMN certificate_revocations.certificate_id IS
    'The revoked certificate; null for one that an imported revocation list names and that was not imported.';
COMMENT ON COLUMN certificate_revocations.requested_by_user_id IS
    'Who asked, clm_core_db.users.id; null for a revocation that was imported.';
COMMENT ON COLUMN certificate_revocations.operation_id IS
    'The operation that revoked it; of an imported revocation made of what it says.';
CREATE UNIQUE INDEX certificate_revocations_alone_idx ON certificate_revocations (authority_id, serial_number)
    WHERE certificate_id IS NULL;
-- The integrity job compares those that Core ordered, in this order, and imported ones may be a million.
CREATE INDEX certificate_revocations_ordered_idx ON certificate_revocations (operation_id) WHERE requested_by_user_id IS NOT NULL;

ALTER TABLE certificate_authorities
    ADD COLUMN public_key_sha256 bytea CHECK (octet_length(public_key_sha256) = 32),
    ADD COLUMN issuer_chain_pem text;
CREATE UNIQUE INDEX certificate_authorities_public_key_sha256_idx ON certificate_authorities (public_key_sha256)
    WHERE public_key_sha256 IS NOT NULL;
COMMENT ON COLUMN certificate_authorities.public_key_sha256 IS
    'SHA-256 of the SubjectPublicKeyInfo of an imported authority; null for others.';
COMMENT ON COLUMN certificate_authorities.issuer_chain_pem IS
    'Certificates above an authority whose issuer is not one of this installation, PEM, without the root; null for others.';

-- What was known of without its issuer, or without its certificate, gets it when that is imported later.
GRANT UPDATE (issuer_chain_pem) ON certificate_authorities TO clm_secure_app;
GRANT UPDATE (authority_id) ON certificates TO clm_secure_app;
GRANT UPDATE (certificate_id, not_after) ON certificate_revocations TO clm_secure_app;
