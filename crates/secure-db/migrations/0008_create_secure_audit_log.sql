-- The audit log of Secure, hash-chained and append-only, its signed checkpoints, and the outbox that tells Core
-- what was done.

CREATE TABLE secure_audit_log (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    sequence bigint NOT NULL CHECK (sequence > 0),
    occurred_at timestamptz NOT NULL,
    actor text NOT NULL,
    actor_type text NOT NULL CHECK (actor_type IN ('user', 'service', 'operator', 'system')),
    organization_id uuid,
    operation_id uuid,
    action text NOT NULL,
    object_type text NOT NULL,
    object_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('allowed', 'refused', 'failed')),
    reason text,
    canonical_payload text NOT NULL,
    payload_sha256 bytea NOT NULL CHECK (octet_length(payload_sha256) = 32),
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
    created_at timestamptz NOT NULL,
    CHECK (get_byte(uuid_send(id), 6) >> 4 = 7)
) PARTITION BY RANGE (id);
CREATE INDEX secure_audit_log_sequence_idx ON secure_audit_log (sequence);
CREATE INDEX secure_audit_log_operation_id_idx ON secure_audit_log (operation_id);
CREATE INDEX secure_audit_log_object_id_id_idx ON secure_audit_log (object_id, id DESC);
CREATE INDEX secure_audit_log_organization_id_id_idx ON secure_audit_log (organization_id, id DESC);
CREATE INDEX secure_audit_log_action_id_idx ON secure_audit_log (action, id DESC);
CREATE INDEX secure_audit_log_occurred_at_idx ON secure_audit_log USING brin (occurred_at);
CREATE INDEX secure_audit_log_created_at_idx ON secure_audit_log USING brin (created_at);
COMMENT ON TABLE secure_audit_log IS 'Every sensitive operation: use of a key, issuance, revocation, export, refusal. Append-only, each entry chained to the one before.';
COMMENT ON COLUMN secure_audit_log.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN secure_audit_log.sequence IS 'Place in the chain, without gaps.';
COMMENT ON COLUMN secure_audit_log.occurred_at IS 'When it happened.';
COMMENT ON COLUMN secure_audit_log.actor IS 'Who did it: a user''s id, a service''s certificate name, an operator''s name.';
COMMENT ON COLUMN secure_audit_log.actor_type IS 'What kind of actor that is.';
COMMENT ON COLUMN secure_audit_log.organization_id IS 'Whose objects it touched, clm_core_db.organizations.id.';
COMMENT ON COLUMN secure_audit_log.operation_id IS 'The operation it belongs to.';
COMMENT ON COLUMN secure_audit_log.action IS 'What was done, as noun.verb.';
COMMENT ON COLUMN secure_audit_log.object_type IS 'Kind of the object.';
COMMENT ON COLUMN secure_audit_log.object_id IS 'The object.';
COMMENT ON COLUMN secure_audit_log.outcome IS 'Whether it was done.';
COMMENT ON COLUMN secure_audit_log.reason IS 'Why it was refused or failed.';
COMMENT ON COLUMN secure_audit_log.canonical_payload IS 'The entry as canonical JSON (RFC 8785): exactly the bytes that were hashed.';
COMMENT ON COLUMN secure_audit_log.payload_sha256 IS 'SHA-256 of the canonical payload.';
COMMENT ON COLUMN secure_audit_log.previous_hash IS 'Chain hash of the entry before; zeros for the first.';
COMMENT ON COLUMN secure_audit_log.chain_hash IS 'Hash over sequence, previous hash and payload hash.';
COMMENT ON COLUMN secure_audit_log.created_at IS 'When the row was made, UTC.';

SELECT make_append_only('secure_audit_log');

CREATE TABLE events (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    sequence bigint NOT NULL CHECK (sequence > 0),
    kind text NOT NULL,
    operation_id uuid NOT NULL,
    certificate_id uuid,
    organization_id uuid,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CHECK (get_byte(uuid_send(id), 6) >> 4 = 7)
) PARTITION BY RANGE (id);
CREATE INDEX events_sequence_idx ON events (sequence);
CREATE INDEX events_operation_id_idx ON events (operation_id);
CREATE INDEX events_certificate_id_idx ON events (certificate_id);
CREATE INDEX events_created_at_idx ON events USING brin (created_at);
COMMENT ON TABLE events IS 'The outbox: what Secure did, in a gapless sequence, for Core to follow.';
COMMENT ON COLUMN events.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN events.sequence IS 'Place in the sequence, without gaps.';
COMMENT ON COLUMN events.kind IS 'What happened, for example certificate.issued.';
COMMENT ON COLUMN events.operation_id IS 'The operation that did it.';
COMMENT ON COLUMN events.certificate_id IS 'The certificate it is about, certificates.certificate_id.';
COMMENT ON COLUMN events.organization_id IS 'Whose, clm_core_db.organizations.id.';
COMMENT ON COLUMN events.payload IS 'What Core needs to reflect it; no secret.';
COMMENT ON COLUMN events.created_at IS 'When the row was made, UTC.';

CREATE TABLE chain_heads (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    name text NOT NULL UNIQUE CHECK (name IN ('audit', 'events')),
    sequence bigint NOT NULL CHECK (sequence >= 0),
    chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
COMMENT ON TABLE chain_heads IS 'The last link of each gapless sequence, locked once per batch of writes.';
COMMENT ON COLUMN chain_heads.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN chain_heads.name IS 'Which sequence.';
COMMENT ON COLUMN chain_heads.sequence IS 'Its last number; 0 when empty.';
COMMENT ON COLUMN chain_heads.chain_hash IS 'Its last chain hash; zeros when empty or not chained.';
COMMENT ON COLUMN chain_heads.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN chain_heads.updated_at IS 'When the row last changed, UTC.';

INSERT INTO chain_heads (name, sequence, chain_hash, created_at, updated_at)
SELECT name, 0, decode(repeat('00', 32), 'hex'), now(), now() FROM unnest(ARRAY['audit', 'events']) AS name;

CREATE TABLE audit_checkpoints (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    sequence bigint NOT NULL UNIQUE CHECK (sequence > 0),
    chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
    entry_count bigint NOT NULL CHECK (entry_count >= 0),
    signed_at timestamptz NOT NULL,
    signature bytea NOT NULL,
    key_reference text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX audit_checkpoints_signed_at_idx ON audit_checkpoints USING brin (signed_at);
CREATE INDEX audit_checkpoints_created_at_idx ON audit_checkpoints USING brin (created_at);
COMMENT ON TABLE audit_checkpoints IS 'Signed states of the audit chain; Core keeps copies, so that a chain rolled back as a whole shows too.';
COMMENT ON COLUMN audit_checkpoints.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN audit_checkpoints.sequence IS 'The last entry it covers.';
COMMENT ON COLUMN audit_checkpoints.chain_hash IS 'The chain hash of that entry.';
COMMENT ON COLUMN audit_checkpoints.entry_count IS 'How many entries there are up to it.';
COMMENT ON COLUMN audit_checkpoints.signed_at IS 'When it was signed.';
COMMENT ON COLUMN audit_checkpoints.signature IS 'Signature of the audit key over sequence, chain hash, count and time.';
COMMENT ON COLUMN audit_checkpoints.key_reference IS 'Which audit key signed.';
COMMENT ON COLUMN audit_checkpoints.created_at IS 'When the row was made, UTC.';

SELECT make_append_only('audit_checkpoints');
