-- What will be signed is recorded before it is signed, and every operation is remembered so that a repeated call
-- gets the first answer.

CREATE TABLE issuance_intents (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    operation_id uuid NOT NULL UNIQUE,
    request_id uuid REFERENCES certificate_requests (id),
    authority_id uuid NOT NULL REFERENCES certificate_authorities (id),
    certificate_id uuid NOT NULL UNIQUE,
    serial_number bytea NOT NULL CHECK (octet_length(serial_number) BETWEEN 1 AND 20),
    tbs_der bytea NOT NULL,
    tbs_sha256 bytea NOT NULL CHECK (octet_length(tbs_sha256) = 32),
    profile text NOT NULL,
    profile_hash bytea NOT NULL CHECK (octet_length(profile_hash) = 32),
    private_key_id uuid,
    wrapped_private_key bytea,
    encryption_key_id uuid REFERENCES encryption_keys (id),
    state text NOT NULL CHECK (state IN ('open', 'signed', 'abandoned')),
    signed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (authority_id, serial_number),
    CHECK ((state = 'signed') = (signed_at IS NOT NULL)),
    CHECK (state <> 'signed' OR wrapped_private_key IS NULL)
);
CREATE INDEX issuance_intents_request_id_idx ON issuance_intents (request_id);
CREATE INDEX issuance_intents_encryption_key_id_idx ON issuance_intents (encryption_key_id) WHERE encryption_key_id IS NOT NULL;
CREATE INDEX issuance_intents_id_idx ON issuance_intents (id) WHERE state = 'open';
CREATE INDEX issuance_intents_created_at_idx ON issuance_intents USING brin (created_at);
CREATE INDEX issuance_intents_updated_at_idx ON issuance_intents USING brin (updated_at);
COMMENT ON TABLE issuance_intents IS 'The durable record of a certificate about to be signed: made before the signature, kept after.';
COMMENT ON COLUMN issuance_intents.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN issuance_intents.operation_id IS 'The operation; the same id resumes the same intent.';
COMMENT ON COLUMN issuance_intents.request_id IS 'The request; null for an authority''s own certificate.';
COMMENT ON COLUMN issuance_intents.authority_id IS 'The authority that will sign.';
COMMENT ON COLUMN issuance_intents.certificate_id IS 'The certificate''s identity, given beforehand.';
COMMENT ON COLUMN issuance_intents.serial_number IS 'The serial number it will carry.';
COMMENT ON COLUMN issuance_intents.tbs_der IS 'The exact bytes to be signed, which the lint passed.';
COMMENT ON COLUMN issuance_intents.tbs_sha256 IS 'SHA-256 of those bytes.';
COMMENT ON COLUMN issuance_intents.profile IS 'The profile.';
COMMENT ON COLUMN issuance_intents.profile_hash IS 'SHA-256 of the profile''s canonical document.';
COMMENT ON COLUMN issuance_intents.private_key_id IS 'The key Secure generated for it, private_keys.id to be.';
COMMENT ON COLUMN issuance_intents.wrapped_private_key IS 'That key, encrypted; moved to private_keys with the certificate.';
COMMENT ON COLUMN issuance_intents.encryption_key_id IS 'The version of the encryption key it is under.';
COMMENT ON COLUMN issuance_intents.state IS 'Whether the certificate was made.';
COMMENT ON COLUMN issuance_intents.signed_at IS 'When it was signed.';
COMMENT ON COLUMN issuance_intents.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN issuance_intents.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN issuance_intents.version IS 'Counts the row''s changes; the ETag.';

CREATE TABLE operations (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    operation_id uuid NOT NULL UNIQUE,
    kind text NOT NULL,
    request_sha256 bytea NOT NULL CHECK (octet_length(request_sha256) = 32),
    mandate jsonb,
    outcome jsonb,
    completed_at timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX operations_created_at_idx ON operations USING brin (created_at);
COMMENT ON TABLE operations IS 'Every operation Core ordered, with its answer: the same id gives the same answer and no second effect.';
COMMENT ON COLUMN operations.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN operations.operation_id IS 'The operation, as Core named it.';
COMMENT ON COLUMN operations.kind IS 'What was ordered, for example issue or revoke.';
COMMENT ON COLUMN operations.request_sha256 IS 'SHA-256 of the canonical request: the same id with another request is refused.';
COMMENT ON COLUMN operations.mandate IS 'The order of Core, as presented; null for an operator''s command.';
COMMENT ON COLUMN operations.outcome IS 'The answer; null while it is under way.';
COMMENT ON COLUMN operations.completed_at IS 'When it was done.';
COMMENT ON COLUMN operations.created_at IS 'When the row was made, UTC.';
