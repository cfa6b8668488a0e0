-- Requests, and the certificates that came of them.

CREATE TABLE certificate_requests (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    operation_id uuid NOT NULL UNIQUE,
    organization_id uuid,
    requester_user_id uuid,
    owner_user_id uuid,
    policy_id uuid,
    policy_version integer,
    workflow_instance_id uuid,
    authority_id uuid NOT NULL REFERENCES certificate_authorities (id),
    profile text NOT NULL,
    csr_pem text,
    csr_der bytea,
    key_source text NOT NULL CHECK (key_source IN ('csr', 'generated', 'reused')),
    key_algorithm text NOT NULL,
    public_key_sha256 bytea CHECK (octet_length(public_key_sha256) = 32),
    subject text NOT NULL,
    common_name text,
    sans jsonb NOT NULL DEFAULT '[]',
    not_before timestamptz,
    validity_seconds bigint CHECK (validity_seconds > 0),
    request_sha256 bytea CHECK (octet_length(request_sha256) = 32),
    status text NOT NULL CHECK (status IN ('pending', 'issuing', 'issued', 'rejected', 'failed')),
    rejection_reason text,
    renewal_of_certificate_id uuid,
    certificate_id uuid,
    submitted_at timestamptz NOT NULL,
    decided_at timestamptz,
    issued_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    CHECK ((status = 'issued') = (certificate_id IS NOT NULL)),
    CHECK (key_source <> 'csr' OR (csr_der IS NOT NULL AND csr_pem IS NOT NULL))
);
CREATE INDEX certificate_requests_authority_id_idx ON certificate_requests (authority_id);
CREATE INDEX certificate_requests_certificate_id_idx ON certificate_requests (certificate_id);
CREATE INDEX certificate_requests_renewal_of_certificate_id_idx ON certificate_requests (renewal_of_certificate_id) WHERE renewal_of_certificate_id IS NOT NULL;
CREATE INDEX certificate_requests_status_id_idx ON certificate_requests (status, id) WHERE status IN ('pending', 'issuing');
CREATE INDEX certificate_requests_created_at_idx ON certificate_requests USING brin (created_at);
CREATE INDEX certificate_requests_updated_at_idx ON certificate_requests USING brin (updated_at);
COMMENT ON TABLE certificate_requests IS 'Certificate signing requests and what became of them.';
COMMENT ON COLUMN certificate_requests.id IS 'The request''s public identity, as Core and the API know it.';
COMMENT ON COLUMN certificate_requests.operation_id IS 'The operation that submitted it; the same id gives the same request.';
COMMENT ON COLUMN certificate_requests.organization_id IS 'For whom, clm_core_db.organizations.id; null: for the installation.';
COMMENT ON COLUMN certificate_requests.requester_user_id IS 'Who asked, clm_core_db.users.id.';
COMMENT ON COLUMN certificate_requests.owner_user_id IS 'Who will own the certificate, clm_core_db.users.id.';
COMMENT ON COLUMN certificate_requests.policy_id IS 'The policy that allowed it, clm_core_db.policies.id.';
COMMENT ON COLUMN certificate_requests.policy_version IS 'That policy''s version.';
COMMENT ON COLUMN certificate_requests.workflow_instance_id IS 'The workflow that decides, clm_core_db.workflow_instances.id.';
COMMENT ON COLUMN certificate_requests.authority_id IS 'The authority asked to sign.';
COMMENT ON COLUMN certificate_requests.profile IS 'Certificate profile asked for.';
COMMENT ON COLUMN certificate_requests.csr_pem IS 'The request as PEM (PKCS#10); null when Secure generates the key.';
COMMENT ON COLUMN certificate_requests.csr_der IS 'The request as DER, exactly as received.';
COMMENT ON COLUMN certificate_requests.key_source IS 'Where the key comes from.';
COMMENT ON COLUMN certificate_requests.key_algorithm IS 'Algorithm of the key.';
COMMENT ON COLUMN certificate_requests.public_key_sha256 IS 'SHA-256 of the SubjectPublicKeyInfo; null until the key exists.';
COMMENT ON COLUMN certificate_requests.subject IS 'Distinguished name asked for, RFC 4514.';
COMMENT ON COLUMN certificate_requests.common_name IS 'Common name asked for.';
COMMENT ON COLUMN certificate_requests.sans IS 'Subject alternative names asked for, as typed texts.';
COMMENT ON COLUMN certificate_requests.not_before IS 'Start of validity asked for; null: at issuance.';
COMMENT ON COLUMN certificate_requests.validity_seconds IS 'Validity asked for, in seconds; null: the policy''s.';
COMMENT ON COLUMN certificate_requests.request_sha256 IS 'SHA-256 of the canonical request, which the mandate must name.';
COMMENT ON COLUMN certificate_requests.status IS 'Where it stands.';
COMMENT ON COLUMN certificate_requests.rejection_reason IS 'Why it was rejected or failed.';
COMMENT ON COLUMN certificate_requests.renewal_of_certificate_id IS 'The certificate it renews, certificates.certificate_id.';
COMMENT ON COLUMN certificate_requests.certificate_id IS 'The certificate that came of it, certificates.certificate_id.';
COMMENT ON COLUMN certificate_requests.submitted_at IS 'When it was asked for.';
COMMENT ON COLUMN certificate_requests.decided_at IS 'When it was approved or rejected.';
COMMENT ON COLUMN certificate_requests.issued_at IS 'When the certificate was signed.';
COMMENT ON COLUMN certificate_requests.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN certificate_requests.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN certificate_requests.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN certificate_requests.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE certificates (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    certificate_id uuid NOT NULL UNIQUE,
    authority_id uuid REFERENCES certificate_authorities (id),
    request_id uuid REFERENCES certificate_requests (id),
    operation_id uuid NOT NULL UNIQUE,
    issuer_certificate_id uuid REFERENCES certificates (certificate_id),
    organization_id uuid,
    owner_user_id uuid,
    owner_version bigint NOT NULL DEFAULT 0,
    policy_id uuid,
    profile text NOT NULL,
    category text NOT NULL CHECK (category IN ('leaf', 'authority', 'responder')),
    serial_number bytea NOT NULL CHECK (octet_length(serial_number) BETWEEN 1 AND 20),
    subject text NOT NULL,
    issuer text NOT NULL,
    common_name text,
    sans jsonb NOT NULL DEFAULT '[]',
    pem_encoded_cert text NOT NULL,
    der_encoded_cert bytea NOT NULL,
    fingerprint_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(fingerprint_sha256) = 32),
    signature_algorithm text NOT NULL,
    key_algorithm text NOT NULL,
    key_size integer NOT NULL CHECK (key_size > 0),
    public_key_sha256 bytea NOT NULL CHECK (octet_length(public_key_sha256) = 32),
    subject_key_id bytea,
    authority_key_id bytea,
    is_ca boolean NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'on_hold', 'revoked', 'expired')),
    revoked_at timestamptz,
    revocation_reason text CHECK (revocation_reason IN ('unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise')),
    renewal_of_certificate_id uuid REFERENCES certificates (certificate_id),
    renewed_by_certificate_id uuid REFERENCES certificates (certificate_id) DEFERRABLE INITIALLY DEFERRED,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (authority_id, serial_number),
    CHECK (not_before <= not_after),
    CHECK (status NOT IN ('revoked', 'on_hold') OR (revoked_at IS NOT NULL AND revocation_reason IS NOT NULL))
);
CREATE INDEX certificates_request_id_idx ON certificates (request_id);
CREATE INDEX certificates_issuer_certificate_id_idx ON certificates (issuer_certificate_id);
CREATE INDEX certificates_renewal_of_certificate_id_idx ON certificates (renewal_of_certificate_id) WHERE renewal_of_certificate_id IS NOT NULL;
CREATE INDEX certificates_renewed_by_certificate_id_idx ON certificates (renewed_by_certificate_id) WHERE renewed_by_certificate_id IS NOT NULL;
CREATE INDEX certificates_organization_id_status_certificate_id_idx ON certificates (organization_id, status, certificate_id) WHERE deleted_at IS NULL;
CREATE INDEX certificates_owner_user_id_status_idx ON certificates (owner_user_id, status) WHERE deleted_at IS NULL;
CREATE INDEX certificates_unended_not_after_idx ON certificates (not_after) WHERE status IN ('active', 'on_hold') AND deleted_at IS NULL;
CREATE INDEX certificates_revoked_idx ON certificates (authority_id, revoked_at DESC) WHERE status IN ('revoked', 'on_hold');
CREATE INDEX certificates_public_key_sha256_idx ON certificates (public_key_sha256);
CREATE INDEX certificates_sans_idx ON certificates USING gin (sans jsonb_path_ops);
CREATE INDEX certificates_created_at_idx ON certificates USING brin (created_at);
CREATE INDEX certificates_updated_at_idx ON certificates USING brin (updated_at);
COMMENT ON TABLE certificates IS 'X.509 certificates, in full. Nothing but status, owner and the link to a successor ever changes.';
COMMENT ON COLUMN certificates.id IS 'Row identity; never leaves Secure (certificate_id is the public one).';
COMMENT ON COLUMN certificates.certificate_id IS 'The public identity, which Core, private_keys and the API use.';
COMMENT ON COLUMN certificates.authority_id IS 'The authority that signed it; null: issued elsewhere.';
COMMENT ON COLUMN certificates.request_id IS 'The request it came of.';
COMMENT ON COLUMN certificates.operation_id IS 'The operation that made it: never two certificates for one.';
COMMENT ON COLUMN certificates.issuer_certificate_id IS 'The next certificate of its chain; itself for a root, null when the issuer is not stored here.';
COMMENT ON COLUMN certificates.organization_id IS 'Whose, clm_core_db.organizations.id; null: the installation''s own.';
COMMENT ON COLUMN certificates.owner_user_id IS 'Its owner, clm_core_db.users.id.';
COMMENT ON COLUMN certificates.owner_version IS 'Core''s version of the metadata that names the owner: of two changes the later decision stays. 0: the owner at issuance.';
COMMENT ON COLUMN certificates.policy_id IS 'The policy it was issued under, clm_core_db.policies.id.';
COMMENT ON COLUMN certificates.profile IS 'The profile it was issued under.';
COMMENT ON COLUMN certificates.category IS 'What it is for: ordered through Core, an authority''s own, an OCSP responder''s.';
COMMENT ON COLUMN certificates.serial_number IS 'Serial number, big-endian, without sign octet.';
COMMENT ON COLUMN certificates.subject IS 'Subject, RFC 4514.';
COMMENT ON COLUMN certificates.issuer IS 'Issuer, RFC 4514.';
COMMENT ON COLUMN certificates.common_name IS 'Common name of the subject.';
COMMENT ON COLUMN certificates.sans IS 'Subject alternative names, as typed texts.';
COMMENT ON COLUMN certificates.pem_encoded_cert IS 'The certificate as PEM.';
COMMENT ON COLUMN certificates.der_encoded_cert IS 'The certificate as DER, exactly as signed.';
COMMENT ON COLUMN certificates.fingerprint_sha256 IS 'SHA-256 of the DER.';
COMMENT ON COLUMN certificates.signature_algorithm IS 'Algorithm of the issuer''s signature.';
COMMENT ON COLUMN certificates.key_algorithm IS 'Algorithm of its key.';
COMMENT ON COLUMN certificates.key_size IS 'Size of its key in bits.';
COMMENT ON COLUMN certificates.public_key_sha256 IS 'SHA-256 of the SubjectPublicKeyInfo.';
COMMENT ON COLUMN certificates.subject_key_id IS 'Subject key identifier.';
COMMENT ON COLUMN certificates.authority_key_id IS 'Authority key identifier.';
COMMENT ON COLUMN certificates.is_ca IS 'Whether it may sign certificates.';
COMMENT ON COLUMN certificates.not_before IS 'Start of validity.';
COMMENT ON COLUMN certificates.not_after IS 'End of validity, inclusive.';
COMMENT ON COLUMN certificates.status IS 'Where it stands.';
COMMENT ON COLUMN certificates.revoked_at IS 'When it was revoked or put on hold.';
COMMENT ON COLUMN certificates.revocation_reason IS 'Why, in the words of RFC 5280 section 5.3.1.';
COMMENT ON COLUMN certificates.renewal_of_certificate_id IS 'The certificate it replaces.';
COMMENT ON COLUMN certificates.renewed_by_certificate_id IS 'The certificate that replaces it.';
COMMENT ON COLUMN certificates.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN certificates.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN certificates.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN certificates.deleted_at IS 'When it was deleted; the row stays for the audit.';

-- The three tables refer to each other; these keys close the circle.
ALTER TABLE certificate_authorities ADD FOREIGN KEY (certificate_id) REFERENCES certificates (certificate_id);
ALTER TABLE certificate_requests ADD FOREIGN KEY (certificate_id) REFERENCES certificates (certificate_id);
ALTER TABLE certificate_requests ADD FOREIGN KEY (renewal_of_certificate_id) REFERENCES certificates (certificate_id);

CREATE VIEW expiring_certificates WITH (security_invoker = true) AS
SELECT id, certificate_id, organization_id, owner_user_id, authority_id, policy_id, profile, serial_number,
       subject, common_name, sans, issuer, not_before, not_after, status,
       floor(extract(epoch FROM not_after - now()) / 86400)::integer AS days_until_expiry
FROM certificates
WHERE status = 'active' AND deleted_at IS NULL
  AND not_after > now() AND not_after <= now() + interval '30 days';
COMMENT ON VIEW expiring_certificates IS 'Active certificates that end within 30 days, the soonest first to be renewed.';
COMMENT ON COLUMN expiring_certificates.id IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.certificate_id IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.organization_id IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.owner_user_id IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.authority_id IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.policy_id IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.profile IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.serial_number IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.subject IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.common_name IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.sans IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.issuer IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.not_before IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.not_after IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.status IS 'As in certificates.';
COMMENT ON COLUMN expiring_certificates.days_until_expiry IS 'Whole days until not_after.';
