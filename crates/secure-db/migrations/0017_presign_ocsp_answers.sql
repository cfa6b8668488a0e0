-- OCSP answers signed ahead, by the statuses that they were signed for, and the responders that sign for an authority.

CREATE TABLE presigned_ocsp_answers (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    certificate_id uuid NOT NULL UNIQUE REFERENCES certificates (certificate_id),
    revoked_at timestamptz,
    revocation_reason text,
    der bytea NOT NULL,
    next_update timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX presigned_ocsp_answers_revoked_at_idx ON presigned_ocsp_answers (revoked_at DESC);
CREATE INDEX presigned_ocsp_answers_next_update_idx ON presigned_ocsp_answers (next_update DESC);
CREATE INDEX presigned_ocsp_answers_created_at_idx ON presigned_ocsp_answers (created_at DESC);
CREATE INDEX presigned_ocsp_answers_updated_at_idx ON presigned_ocsp_answers (updated_at DESC);
COMMENT ON TABLE presigned_ocsp_answers IS 'OCSP answers to requests without nonce, signed ahead (RFC 5019). Only one that fits the certificate''s status now is given out.';
COMMENT ON COLUMN presigned_ocsp_answers.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN presigned_ocsp_answers.certificate_id IS 'The certificate that it is about.';
COMMENT ON COLUMN presigned_ocsp_answers.revoked_at IS 'As in the certificate when it was signed.';
COMMENT ON COLUMN presigned_ocsp_answers.revocation_reason IS 'As in the certificate when it was signed.';
COMMENT ON COLUMN presigned_ocsp_answers.der IS 'OCSPResponse, DER; its CertID is under SHA-1.';
COMMENT ON COLUMN presigned_ocsp_answers.next_update IS 'Until when it may be relied on.';
COMMENT ON COLUMN presigned_ocsp_answers.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN presigned_ocsp_answers.updated_at IS 'When it was signed last, UTC.';
COMMENT ON COLUMN presigned_ocsp_answers.version IS 'Counts the row''s changes.';

CREATE INDEX certificates_responders_idx ON certificates (authority_id, not_after) WHERE category = 'responder';

GRANT SELECT, INSERT ON presigned_ocsp_answers TO clm_secure_app;
GRANT UPDATE (revoked_at, revocation_reason, der, next_update, updated_at, version) ON presigned_ocsp_answers TO clm_secure_app;
GRANT SELECT ON presigned_ocsp_answers TO clm_secure_ro;
