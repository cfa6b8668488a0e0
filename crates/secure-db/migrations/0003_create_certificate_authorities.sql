-- Who signs: the authorities of this installation and what each may sign.

CREATE TABLE certificate_authorities (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    name text NOT NULL UNIQUE,
    certificate_id uuid,
    parent_authority_id uuid REFERENCES certificate_authorities (id),
    status text NOT NULL CHECK (status IN ('pending', 'active', 'suspended', 'retired')),
    key_algorithm text NOT NULL,
    subject text NOT NULL,
    subject_key_id bytea,
    envelope jsonb NOT NULL,
    crl_url text NOT NULL,
    ocsp_url text NOT NULL,
    issuer_url text NOT NULL,
    crl_number bigint NOT NULL DEFAULT 0,
    last_crl_at timestamptz,
    next_crl_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    CHECK (status = 'pending' OR certificate_id IS NOT NULL)
);
CREATE INDEX certificate_authorities_certificate_id_idx ON certificate_authorities (certificate_id);
CREATE INDEX certificate_authorities_parent_authority_id_idx ON certificate_authorities (parent_authority_id);
CREATE INDEX certificate_authorities_status_idx ON certificate_authorities (status);
CREATE UNIQUE INDEX certificate_authorities_subject_key_id_idx ON certificate_authorities (subject_key_id) WHERE subject_key_id IS NOT NULL;
CREATE INDEX certificate_authorities_next_crl_at_idx ON certificate_authorities (next_crl_at) WHERE status <> 'pending';
CREATE INDEX certificate_authorities_envelope_idx ON certificate_authorities USING gin (envelope jsonb_path_ops);
CREATE INDEX certificate_authorities_created_at_idx ON certificate_authorities (created_at DESC);
CREATE INDEX certificate_authorities_updated_at_idx ON certificate_authorities (updated_at DESC);
COMMENT ON TABLE certificate_authorities IS 'Certificate authorities of this installation, their envelope and the state of their CRL.';
COMMENT ON COLUMN certificate_authorities.id IS 'The authority''s public identity, as Core and the API know it.';
COMMENT ON COLUMN certificate_authorities.name IS 'Name for people and configuration.';
COMMENT ON COLUMN certificate_authorities.certificate_id IS 'Its current certificate, certificates.certificate_id; null until that is signed.';
COMMENT ON COLUMN certificate_authorities.parent_authority_id IS 'The authority above; null for a root.';
COMMENT ON COLUMN certificate_authorities.status IS 'pending: has no certificate yet; only an active one signs certificates; retired ones still sign CRLs.';
COMMENT ON COLUMN certificate_authorities.key_algorithm IS 'Algorithm of its key.';
COMMENT ON COLUMN certificate_authorities.subject IS 'Distinguished name, RFC 4514.';
COMMENT ON COLUMN certificate_authorities.subject_key_id IS 'Subject key identifier, RFC 5280 section 4.2.1.2.';
COMMENT ON COLUMN certificate_authorities.envelope IS 'What it may sign whatever Core says: profiles, name constraints, longest validity, key types, approvals.';
COMMENT ON COLUMN certificate_authorities.crl_url IS 'CRL distribution point put into certificates.';
COMMENT ON COLUMN certificate_authorities.ocsp_url IS 'OCSP address put into certificates.';
COMMENT ON COLUMN certificate_authorities.issuer_url IS 'Address of its own certificate put into certificates.';
COMMENT ON COLUMN certificate_authorities.crl_number IS 'Number of its last CRL; grows by one, RFC 5280 section 5.2.3.';
COMMENT ON COLUMN certificate_authorities.last_crl_at IS 'thisUpdate of its last CRL.';
COMMENT ON COLUMN certificate_authorities.next_crl_at IS 'When the next CRL is due.';
COMMENT ON COLUMN certificate_authorities.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN certificate_authorities.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN certificate_authorities.version IS 'Counts the row''s changes; the ETag.';
