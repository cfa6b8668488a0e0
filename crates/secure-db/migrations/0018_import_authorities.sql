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

ALTER TABLE certificate_authorities
    ADD COLUMN public_key_sha256 bytea CHECK (octet_length(public_key_sha256) = 32),
    ADD COLUMN issuer_chain_pem text;
CREATE UNIQUE INDEX certificate_authorities_public_key_sha256_idx ON certificate_authorities (public_key_sha256)
    WHERE public_key_sha256 IS NOT NULL;
COMMENT ON COLUMN certificate_authorities.public_key_sha256 IS
    'SHA-256 of the SubjectPublicKeyInfo of an imported authority; null for others.';
COMMENT ON COLUMN certificate_authorities.issuer_chain_pem IS
    'Certificates above an authority whose issuer is not one of this installation, PEM, without the root; null for others.';

GRANT UPDATE (issuer_chain_pem) ON certificate_authorities TO clm_secure_app;

-- What came without its issuer, or without its certificate, gets it when that is imported later: once, and nothing else of it
-- changes. The service may not write these columns itself.
CREATE FUNCTION adopt_certificate(adopted uuid, adopting uuid, at timestamptz) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = clm, ext, pg_temp
AS $$
    UPDATE certificates SET authority_id = adopting, updated_at = at, version = version + 1
    WHERE certificate_id = adopted AND authority_id IS NULL RETURNING true
$$;
COMMENT ON FUNCTION adopt_certificate(uuid, uuid, timestamptz) IS
    'Gives a certificate that was issued elsewhere the authority that is here now; null when it has one.';
REVOKE ALL ON FUNCTION adopt_certificate(uuid, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION adopt_certificate(uuid, uuid, timestamptz) TO clm_secure_app;

CREATE FUNCTION adopt_revocation(adopted uuid, revoked uuid, at timestamptz) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = clm, ext, pg_temp
AS $$
    UPDATE certificate_revocations r SET certificate_id = c.certificate_id, not_after = c.not_after, updated_at = at,
        version = r.version + 1
    FROM certificates c
    WHERE r.id = adopted AND r.certificate_id IS NULL AND c.certificate_id = revoked
      AND c.authority_id = r.authority_id AND c.serial_number = r.serial_number RETURNING true
$$;
COMMENT ON FUNCTION adopt_revocation(uuid, uuid, timestamptz) IS
    'Gives a revocation that came without it the certificate with its serial number; null when it has one.';
REVOKE ALL ON FUNCTION adopt_revocation(uuid, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION adopt_revocation(uuid, uuid, timestamptz) TO clm_secure_app;
