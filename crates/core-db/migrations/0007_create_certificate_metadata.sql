-- The inventory: what people search, tag and own; nothing of it is secret.

CREATE FUNCTION key_names(document jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT ARRAY(SELECT jsonb_object_keys(document))
$$;
COMMENT ON FUNCTION key_names(jsonb) IS 'The keys of a JSON object.';

CREATE TABLE certificate_metadata (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    certificate_id uuid NOT NULL UNIQUE,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    owner_user_id uuid REFERENCES users (id),
    request_id uuid,
    operation_id uuid,
    policy_id uuid,
    policy_version integer,
    authority_id uuid,
    profile text NOT NULL,
    category text NOT NULL DEFAULT 'leaf',
    environment text,
    serial_number text COLLATE "C" NOT NULL,
    fingerprint_sha256 bytea NOT NULL CHECK (octet_length(fingerprint_sha256) = 32),
    subject text NOT NULL,
    issuer text NOT NULL,
    common_name text COLLATE "C",
    sans text[] NOT NULL DEFAULT '{}',
    key_algorithm text NOT NULL,
    key_source text CHECK (key_source IN ('csr', 'generated', 'reused')),
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'on_hold', 'revoked', 'expired')),
    revoked_at timestamptz,
    revocation_reason text,
    renewal_of_certificate_id uuid,
    renewed_by_certificate_id uuid,
    tags jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(tags) = 'object'),
    tag_names text[] NOT NULL GENERATED ALWAYS AS (key_names(tags)) STORED,
    custom_fields jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(custom_fields) = 'object'),
    notes text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, policy_id) REFERENCES policies (organization_id, id)
);
CREATE INDEX certificate_metadata_organization_id_policy_id_idx ON certificate_metadata (organization_id, policy_id);
CREATE INDEX certificate_metadata_owner_user_id_status_idx ON certificate_metadata (owner_user_id, status);
CREATE INDEX certificate_metadata_organization_id_status_not_after_idx ON certificate_metadata (organization_id, status, not_after) WHERE deleted_at IS NULL;
CREATE INDEX certificate_metadata_unended_not_after_idx ON certificate_metadata (not_after) WHERE status IN ('active', 'on_hold') AND deleted_at IS NULL;
CREATE INDEX certificate_metadata_organization_id_common_name_idx ON certificate_metadata (organization_id, common_name) WHERE deleted_at IS NULL;
CREATE INDEX certificate_metadata_organization_id_serial_number_idx ON certificate_metadata (organization_id, serial_number);
CREATE INDEX certificate_metadata_fingerprint_sha256_idx ON certificate_metadata (fingerprint_sha256);
CREATE INDEX certificate_metadata_renewal_of_certificate_id_idx ON certificate_metadata (renewal_of_certificate_id) WHERE renewal_of_certificate_id IS NOT NULL;
CREATE INDEX certificate_metadata_renewed_by_certificate_id_idx ON certificate_metadata (renewed_by_certificate_id) WHERE renewed_by_certificate_id IS NOT NULL;
CREATE INDEX certificate_metadata_sans_idx ON certificate_metadata USING gin (sans);
CREATE INDEX certificate_metadata_tags_idx ON certificate_metadata USING gin (tags jsonb_path_ops);
CREATE INDEX certificate_metadata_tag_names_idx ON certificate_metadata USING gin (tag_names);
CREATE INDEX certificate_metadata_custom_fields_idx ON certificate_metadata USING gin (custom_fields jsonb_path_ops);
CREATE INDEX certificate_metadata_created_at_idx ON certificate_metadata USING brin (created_at);
CREATE INDEX certificate_metadata_updated_at_idx ON certificate_metadata USING brin (updated_at);
COMMENT ON TABLE certificate_metadata IS 'The non-secret half of each certificate: what it says, whose it is, and what its owners noted.';
COMMENT ON COLUMN certificate_metadata.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN certificate_metadata.certificate_id IS 'The certificate, clm_secure_db.certificates.certificate_id.';
COMMENT ON COLUMN certificate_metadata.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN certificate_metadata.owner_user_id IS 'Its owner; null: unknown.';
COMMENT ON COLUMN certificate_metadata.request_id IS 'The request it came of, clm_secure_db.certificate_requests.id.';
COMMENT ON COLUMN certificate_metadata.operation_id IS 'The operation that made it; null: found in Secure without one.';
COMMENT ON COLUMN certificate_metadata.policy_id IS 'The policy it was issued under.';
COMMENT ON COLUMN certificate_metadata.policy_version IS 'That policy''s version.';
COMMENT ON COLUMN certificate_metadata.authority_id IS 'The authority that signed it, clm_secure_db.certificate_authorities.id.';
COMMENT ON COLUMN certificate_metadata.profile IS 'The profile it was issued under.';
COMMENT ON COLUMN certificate_metadata.category IS 'What sort of certificate it is; as its owners categorize it.';
COMMENT ON COLUMN certificate_metadata.environment IS 'Where it is used, for example production.';
COMMENT ON COLUMN certificate_metadata.serial_number IS 'Serial number, lower-case hexadecimal.';
COMMENT ON COLUMN certificate_metadata.fingerprint_sha256 IS 'SHA-256 of the certificate.';
COMMENT ON COLUMN certificate_metadata.subject IS 'Subject, RFC 4514.';
COMMENT ON COLUMN certificate_metadata.issuer IS 'Issuer, RFC 4514.';
COMMENT ON COLUMN certificate_metadata.common_name IS 'Common name of the subject.';
COMMENT ON COLUMN certificate_metadata.sans IS 'Subject alternative names, as typed texts.';
COMMENT ON COLUMN certificate_metadata.key_algorithm IS 'Algorithm of its key.';
COMMENT ON COLUMN certificate_metadata.key_source IS 'Where its key came from.';
COMMENT ON COLUMN certificate_metadata.not_before IS 'Start of validity.';
COMMENT ON COLUMN certificate_metadata.not_after IS 'End of validity, inclusive.';
COMMENT ON COLUMN certificate_metadata.status IS 'Where it stands, as Secure last said.';
COMMENT ON COLUMN certificate_metadata.revoked_at IS 'When it was revoked or put on hold.';
COMMENT ON COLUMN certificate_metadata.revocation_reason IS 'Why, in the words of RFC 5280.';
COMMENT ON COLUMN certificate_metadata.renewal_of_certificate_id IS 'The certificate it replaces.';
COMMENT ON COLUMN certificate_metadata.renewed_by_certificate_id IS 'The certificate that replaces it.';
COMMENT ON COLUMN certificate_metadata.tags IS 'Tags: names and values.';
COMMENT ON COLUMN certificate_metadata.tag_names IS 'The names of the tags: arrays are searched by index under row-level security, jsonb keys are not.';
COMMENT ON COLUMN certificate_metadata.custom_fields IS 'Fields of the organization''s own.';
COMMENT ON COLUMN certificate_metadata.notes IS 'What its owners wrote.';
COMMENT ON COLUMN certificate_metadata.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN certificate_metadata.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN certificate_metadata.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN certificate_metadata.deleted_at IS 'When it was deleted; the row stays for the audit.';

-- Equality on any mix of these columns, for filters nobody foresaw.
CREATE INDEX certificate_metadata_bloom_idx ON certificate_metadata
    USING bloom (owner_user_id, policy_id, authority_id, profile, category, environment, key_algorithm, status);
