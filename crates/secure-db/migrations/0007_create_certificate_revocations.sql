-- Revocations, and the lists that publish them.

CREATE TABLE certificate_revocations (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    certificate_id uuid NOT NULL REFERENCES certificates (certificate_id),
    operation_id uuid NOT NULL UNIQUE,
    authority_id uuid NOT NULL REFERENCES certificate_authorities (id),
    serial_number bytea NOT NULL,
    reason_code smallint NOT NULL CHECK (reason_code BETWEEN 0 AND 10 AND reason_code NOT IN (7, 8)),
    reason text NOT NULL CHECK (reason IN ('unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise')),
    revocation_date timestamptz NOT NULL,
    invalidity_date timestamptz,
    ocsp_status text NOT NULL CHECK (ocsp_status IN ('revoked', 'good')),
    hold_released_at timestamptz,
    released_operation_id uuid UNIQUE,
    requested_by_user_id uuid,
    comment text,
    crl_number bigint,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    CHECK (hold_released_at IS NULL OR reason_code = 6),
    CHECK (ocsp_status = 'revoked' OR hold_released_at IS NOT NULL)
);
CREATE UNIQUE INDEX certificate_revocations_open_idx ON certificate_revocations (certificate_id) WHERE hold_released_at IS NULL;
CREATE INDEX certificate_revocations_certificate_id_idx ON certificate_revocations (certificate_id);
CREATE INDEX certificate_revocations_authority_id_revocation_date_idx ON certificate_revocations (authority_id, revocation_date DESC);
CREATE INDEX certificate_revocations_authority_open_idx ON certificate_revocations (authority_id, id) WHERE hold_released_at IS NULL;
CREATE INDEX certificate_revocations_unreflected_idx ON certificate_revocations (authority_id) WHERE crl_number IS NULL;
CREATE INDEX certificate_revocations_created_at_idx ON certificate_revocations (created_at DESC);
CREATE INDEX certificate_revocations_updated_at_idx ON certificate_revocations (updated_at DESC);
COMMENT ON TABLE certificate_revocations IS 'Revocations and holds. One that was released stays, marked so.';
COMMENT ON COLUMN certificate_revocations.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN certificate_revocations.certificate_id IS 'The revoked certificate.';
COMMENT ON COLUMN certificate_revocations.operation_id IS 'The operation that revoked it.';
COMMENT ON COLUMN certificate_revocations.authority_id IS 'The authority whose CRL names it.';
COMMENT ON COLUMN certificate_revocations.serial_number IS 'Its serial number.';
COMMENT ON COLUMN certificate_revocations.reason_code IS 'CRLReason, RFC 5280 section 5.3.1.';
COMMENT ON COLUMN certificate_revocations.reason IS 'The same in words.';
COMMENT ON COLUMN certificate_revocations.revocation_date IS 'When it was revoked.';
COMMENT ON COLUMN certificate_revocations.invalidity_date IS 'Since when the key is known or thought to be bad, RFC 5280 section 5.3.2.';
COMMENT ON COLUMN certificate_revocations.ocsp_status IS 'What OCSP says because of this row: good once a hold is released.';
COMMENT ON COLUMN certificate_revocations.hold_released_at IS 'When the hold ended: by a release, or by a revocation for good that took its place.';
COMMENT ON COLUMN certificate_revocations.released_operation_id IS 'The operation that ended the hold.';
COMMENT ON COLUMN certificate_revocations.requested_by_user_id IS 'Who asked, clm_core_db.users.id.';
COMMENT ON COLUMN certificate_revocations.comment IS 'What was said about it.';
COMMENT ON COLUMN certificate_revocations.crl_number IS 'The first CRL that reflects it, or the end of the hold; none while no list does.';
COMMENT ON COLUMN certificate_revocations.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN certificate_revocations.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN certificate_revocations.version IS 'Counts the row''s changes; the ETag.';

CREATE TABLE crls (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    authority_id uuid NOT NULL REFERENCES certificate_authorities (id),
    crl_number bigint NOT NULL CHECK (crl_number > 0),
    kind text NOT NULL CHECK (kind IN ('full', 'delta')),
    this_update timestamptz NOT NULL,
    next_update timestamptz NOT NULL,
    entry_count bigint NOT NULL,
    der bytea NOT NULL,
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL,
    UNIQUE (authority_id, kind, crl_number)
);
CREATE INDEX crls_this_update_idx ON crls USING brin (this_update);
CREATE INDEX crls_next_update_idx ON crls USING brin (next_update);
CREATE INDEX crls_created_at_idx ON crls USING brin (created_at);
COMMENT ON TABLE crls IS 'Certificate revocation lists, as signed.';
COMMENT ON COLUMN crls.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN crls.authority_id IS 'Whose list.';
COMMENT ON COLUMN crls.crl_number IS 'Its number, RFC 5280 section 5.2.3.';
COMMENT ON COLUMN crls.kind IS 'Full list or delta.';
COMMENT ON COLUMN crls.this_update IS 'When it was made.';
COMMENT ON COLUMN crls.next_update IS 'When the next is due at the latest.';
COMMENT ON COLUMN crls.entry_count IS 'How many certificates it names.';
COMMENT ON COLUMN crls.der IS 'The list as DER, exactly as signed.';
COMMENT ON COLUMN crls.sha256 IS 'SHA-256 of the DER.';
COMMENT ON COLUMN crls.created_at IS 'When the row was made, UTC.';
