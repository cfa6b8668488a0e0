-- Authorities live long: their key outlives a certificate, another authority takes over from them, and what their operators
-- agreed on is kept.

ALTER TABLE certificate_authorities ADD COLUMN private_key_id uuid REFERENCES private_keys (id);
ALTER TABLE certificate_authorities ADD COLUMN successor_authority_id uuid REFERENCES certificate_authorities (id);
UPDATE certificate_authorities a SET private_key_id = k.id FROM private_keys k WHERE k.certificate_id = a.certificate_id;
CREATE INDEX certificate_authorities_private_key_id_idx ON certificate_authorities (private_key_id);
CREATE INDEX certificate_authorities_successor_authority_id_idx ON certificate_authorities (successor_authority_id);
COMMENT ON COLUMN certificate_authorities.private_key_id IS 'Its key; stays when its certificate is renewed.';
COMMENT ON COLUMN certificate_authorities.successor_authority_id IS 'The authority that issues what this one cannot outlive.';

CREATE TABLE authority_certificates (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    authority_id uuid NOT NULL REFERENCES certificate_authorities (id),
    certificate_id uuid NOT NULL UNIQUE REFERENCES certificates (certificate_id),
    kind text NOT NULL CHECK (kind IN ('own', 'cross')),
    created_at timestamptz NOT NULL
);
CREATE INDEX authority_certificates_authority_id_idx ON authority_certificates (authority_id);
CREATE INDEX authority_certificates_created_at_idx ON authority_certificates USING brin (created_at);
COMMENT ON TABLE authority_certificates IS 'Every certificate that an authority ever had.';
COMMENT ON COLUMN authority_certificates.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN authority_certificates.authority_id IS 'Whose key it certifies.';
COMMENT ON COLUMN authority_certificates.certificate_id IS 'The certificate.';
COMMENT ON COLUMN authority_certificates.kind IS 'own: by its issuer, the newest is current; cross: by another authority, for relying parties that trust that one.';
COMMENT ON COLUMN authority_certificates.created_at IS 'When the row was made, UTC.';
INSERT INTO authority_certificates (authority_id, certificate_id, kind, created_at)
SELECT id, certificate_id, 'own', created_at FROM certificate_authorities WHERE certificate_id IS NOT NULL;

CREATE TABLE ceremonies (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    title text NOT NULL,
    plan jsonb NOT NULL,
    plan_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(plan_sha256) = 32),
    transcript jsonb NOT NULL,
    held_by text NOT NULL,
    held_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ceremonies_plan_idx ON ceremonies USING gin (plan jsonb_path_ops);
CREATE INDEX ceremonies_transcript_idx ON ceremonies USING gin (transcript jsonb_path_ops);
CREATE INDEX ceremonies_held_at_idx ON ceremonies USING brin (held_at);
CREATE INDEX ceremonies_created_at_idx ON ceremonies USING brin (created_at);
COMMENT ON TABLE ceremonies IS 'Ceremonies that were held: what the operators agreed on, and the signed record of what was done.';
COMMENT ON COLUMN ceremonies.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN ceremonies.title IS 'Name for people.';
COMMENT ON COLUMN ceremonies.plan IS 'The plan, exactly as it was approved.';
COMMENT ON COLUMN ceremonies.plan_sha256 IS 'SHA-256 of the plan''s canonical JSON: what the operators signed.';
COMMENT ON COLUMN ceremonies.transcript IS 'Signed statement: plan, approvals, and the authorities with their certificates.';
COMMENT ON COLUMN ceremonies.held_by IS 'The operator at the keyboard.';
COMMENT ON COLUMN ceremonies.held_at IS 'When it ended.';
COMMENT ON COLUMN ceremonies.created_at IS 'When the row was made, UTC.';

SELECT make_append_only('authority_certificates');
SELECT make_append_only('ceremonies');

GRANT SELECT, INSERT ON authority_certificates, ceremonies TO clm_secure_app;
GRANT SELECT ON authority_certificates, ceremonies TO clm_secure_ro;
GRANT UPDATE (private_key_id, successor_authority_id) ON certificate_authorities TO clm_secure_app;
