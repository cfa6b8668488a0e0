-- What keeps the two databases together whatever dies: the job queue, remembered answers, the follower's
-- position, and what the integrity job found.

CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    kind text NOT NULL,
    operation_id uuid NOT NULL,
    organization_id uuid REFERENCES organizations (id),
    payload jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'dead')),
    run_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    locked_by text,
    locked_until timestamptz,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (organization_id, id),
    UNIQUE (operation_id, kind)
);
CREATE INDEX jobs_due_idx ON jobs (run_at, id) WHERE status = 'queued';
CREATE INDEX jobs_running_idx ON jobs (locked_until) WHERE status = 'running';
CREATE INDEX jobs_finished_at_idx ON jobs (finished_at DESC) WHERE status IN ('done', 'dead');
COMMENT ON TABLE jobs IS 'The queue: work enqueued in the same commit as the change that needs it.';
COMMENT ON COLUMN jobs.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN jobs.kind IS 'What to do.';
COMMENT ON COLUMN jobs.operation_id IS 'The operation it carries; once per kind.';
COMMENT ON COLUMN jobs.organization_id IS 'For which organization; null: the installation.';
COMMENT ON COLUMN jobs.payload IS 'What it needs to know; no secret.';
COMMENT ON COLUMN jobs.status IS 'dead: given up, a person must look.';
COMMENT ON COLUMN jobs.run_at IS 'Not before this time.';
COMMENT ON COLUMN jobs.attempts IS 'How often it was tried.';
COMMENT ON COLUMN jobs.locked_by IS 'The process that runs it.';
COMMENT ON COLUMN jobs.locked_until IS 'Free for others after this time.';
COMMENT ON COLUMN jobs.last_error IS 'Why the last try failed.';
COMMENT ON COLUMN jobs.finished_at IS 'When it was done or given up.';
COMMENT ON COLUMN jobs.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN jobs.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE idempotency_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    principal_id uuid NOT NULL,
    organization_id uuid REFERENCES organizations (id),
    route text NOT NULL,
    idempotency_key text NOT NULL,
    body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
    status text NOT NULL CHECK (status IN ('in_flight', 'done')),
    response_status smallint,
    response_headers jsonb,
    response_body bytea,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (organization_id, id),
    UNIQUE (principal_id, route, idempotency_key)
);
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at DESC);
COMMENT ON TABLE idempotency_keys IS 'Answers already given, by the caller''s Idempotency-Key: a repeated call gets the same.';
COMMENT ON COLUMN idempotency_keys.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN idempotency_keys.principal_id IS 'Who called: a user or an API key.';
COMMENT ON COLUMN idempotency_keys.organization_id IS 'In which organization; null: none chosen.';
COMMENT ON COLUMN idempotency_keys.route IS 'Method and route.';
COMMENT ON COLUMN idempotency_keys.idempotency_key IS 'The key, as sent.';
COMMENT ON COLUMN idempotency_keys.body_sha256 IS 'SHA-256 of the body: the same key with another body is refused.';
COMMENT ON COLUMN idempotency_keys.status IS 'Whether the answer is known.';
COMMENT ON COLUMN idempotency_keys.response_status IS 'HTTP status of the answer.';
COMMENT ON COLUMN idempotency_keys.response_headers IS 'Headers of the answer that matter (Location, ETag).';
COMMENT ON COLUMN idempotency_keys.response_body IS 'Body of the answer.';
COMMENT ON COLUMN idempotency_keys.expires_at IS 'Forgotten after this time.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN idempotency_keys.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE follower_positions (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    source text NOT NULL UNIQUE,
    sequence bigint NOT NULL CHECK (sequence >= 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
COMMENT ON TABLE follower_positions IS 'How far each of Secure''s sequences was followed.';
COMMENT ON COLUMN follower_positions.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN follower_positions.source IS 'Which sequence.';
COMMENT ON COLUMN follower_positions.sequence IS 'The last number reflected here.';
COMMENT ON COLUMN follower_positions.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN follower_positions.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE integrity_findings (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    run_id uuid NOT NULL,
    kind text NOT NULL,
    side text NOT NULL CHECK (side IN ('core', 'secure', 'both')),
    object_type text NOT NULL,
    object_id uuid NOT NULL,
    organization_id uuid REFERENCES organizations (id),
    detail jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL CHECK (status IN ('open', 'repaired', 'alarm', 'resolved')),
    found_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    resolved_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (organization_id, id)
);
CREATE UNIQUE INDEX integrity_findings_unresolved_idx ON integrity_findings (kind, object_id) WHERE resolved_at IS NULL;
CREATE INDEX integrity_findings_run_id_idx ON integrity_findings (run_id);
CREATE INDEX integrity_findings_object_id_idx ON integrity_findings (object_id);
CREATE INDEX integrity_findings_status_found_at_idx ON integrity_findings (status, found_at DESC);
CREATE INDEX integrity_findings_detail_idx ON integrity_findings USING gin (detail jsonb_path_ops);
CREATE INDEX integrity_findings_created_at_idx ON integrity_findings (created_at DESC);
CREATE INDEX integrity_findings_updated_at_idx ON integrity_findings (updated_at DESC);
COMMENT ON TABLE integrity_findings IS 'Where the two databases disagreed, and what was done about it.';
COMMENT ON COLUMN integrity_findings.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN integrity_findings.run_id IS 'The run that found it.';
COMMENT ON COLUMN integrity_findings.kind IS 'What is wrong, for example metadata_without_certificate.';
COMMENT ON COLUMN integrity_findings.side IS 'Where it is wrong.';
COMMENT ON COLUMN integrity_findings.object_type IS 'Kind of the object.';
COMMENT ON COLUMN integrity_findings.object_id IS 'The object.';
COMMENT ON COLUMN integrity_findings.organization_id IS 'Whose, as far as known.';
COMMENT ON COLUMN integrity_findings.detail IS 'Both sides'' values.';
COMMENT ON COLUMN integrity_findings.status IS 'repaired: it had one right answer; alarm: a person must look.';
COMMENT ON COLUMN integrity_findings.found_at IS 'When it was found first.';
COMMENT ON COLUMN integrity_findings.last_seen_at IS 'When it was found last.';
COMMENT ON COLUMN integrity_findings.resolved_at IS 'When it was repaired or resolved.';
COMMENT ON COLUMN integrity_findings.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN integrity_findings.updated_at IS 'When the row last changed, UTC.';

CREATE TABLE secure_audit_checkpoints (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    sequence bigint NOT NULL UNIQUE CHECK (sequence > 0),
    chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
    entry_count bigint NOT NULL CHECK (entry_count >= 0),
    signed_at timestamptz NOT NULL,
    signature bytea NOT NULL,
    key_reference text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX secure_audit_checkpoints_signed_at_idx ON secure_audit_checkpoints USING brin (signed_at);
CREATE INDEX secure_audit_checkpoints_created_at_idx ON secure_audit_checkpoints USING brin (created_at);
COMMENT ON TABLE secure_audit_checkpoints IS 'Copies of the signed checkpoints of Secure''s audit chain: Secure cannot roll back what Core has seen.';
COMMENT ON COLUMN secure_audit_checkpoints.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN secure_audit_checkpoints.sequence IS 'The last entry it covers.';
COMMENT ON COLUMN secure_audit_checkpoints.chain_hash IS 'The chain hash of that entry.';
COMMENT ON COLUMN secure_audit_checkpoints.entry_count IS 'How many entries there are up to it.';
COMMENT ON COLUMN secure_audit_checkpoints.signed_at IS 'When Secure signed it.';
COMMENT ON COLUMN secure_audit_checkpoints.signature IS 'Signature of Secure''s audit key.';
COMMENT ON COLUMN secure_audit_checkpoints.key_reference IS 'Which audit key signed.';
COMMENT ON COLUMN secure_audit_checkpoints.created_at IS 'When the row was made, UTC.';

SELECT make_append_only('secure_audit_checkpoints');
