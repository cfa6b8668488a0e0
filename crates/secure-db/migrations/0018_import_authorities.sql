-- Authorities that other software made: what they signed and revoked before comes along with them.

-- A list names certificates that nobody has any more: they stay revoked.
ALTER TABLE certificate_revocations ALTER COLUMN certificate_id DROP NOT NULL;
COMMENT ON COLUMN certificate_revocations.certificate_id IS
    'The revoked certificate; null for one that an imported revocation list names and that was not imported.';
COMMENT ON COLUMN certificate_revocations.requested_by_user_id IS
    'Who asked, clm_core_db.users.id; null for a revocation that was imported.';
COMMENT ON COLUMN certificate_revocations.operation_id IS
    'The operation that revoked it; of an imported revocation made of what it says.';

ALTER TABLE certificate_authorities ADD COLUMN issuer_chain_pem text;
COMMENT ON COLUMN certificate_authorities.issuer_chain_pem IS
    'Certificates above an authority whose issuer is not one of this installation, PEM, without the root; null for others.';
GRANT UPDATE (issuer_chain_pem) ON certificate_authorities TO clm_secure_app;
