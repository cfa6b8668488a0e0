-- What people and the system did, append-only, and what people must be told; both in monthly partitions.

CREATE TABLE audit_log (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    occurred_at timestamptz NOT NULL,
    actor_user_id uuid,
    actor_type text NOT NULL CHECK (actor_type IN ('user', 'api_key', 'system', 'operator', 'anonymous')),
    api_key_id uuid,
    session_id uuid,
    organization_id uuid,
    ip_address inet,
    request_id uuid,
    operation_id uuid,
    action text NOT NULL,
    object_type text NOT NULL,
    object_id uuid,
    before_state jsonb,
    after_state jsonb,
    outcome text NOT NULL CHECK (outcome IN ('allowed', 'refused', 'failed')),
    detail text,
    created_at timestamptz NOT NULL,
    UNIQUE (organization_id, id),
    CHECK (get_byte(uuid_send(id), 6) >> 4 = 7)
) PARTITION BY RANGE (id);
CREATE INDEX audit_log_actor_user_id_id_idx ON audit_log (actor_user_id, id DESC);
CREATE INDEX audit_log_operation_id_idx ON audit_log (operation_id);
CREATE INDEX audit_log_object_id_id_idx ON audit_log (object_id, id DESC);
CREATE INDEX audit_log_action_id_idx ON audit_log (action, id DESC);
CREATE INDEX audit_log_occurred_at_idx ON audit_log USING brin (occurred_at);
CREATE INDEX audit_log_created_at_idx ON audit_log USING brin (created_at);
COMMENT ON TABLE audit_log IS 'Actions of users and of the system, with what changed. Append-only; names no table by constraint, so that it stands alone.';
COMMENT ON COLUMN audit_log.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN audit_log.occurred_at IS 'When it happened.';
COMMENT ON COLUMN audit_log.actor_user_id IS 'Who did it, users.id; null: the system, or an unknown caller.';
COMMENT ON COLUMN audit_log.actor_type IS 'What kind of actor that is.';
COMMENT ON COLUMN audit_log.api_key_id IS 'The API key used, api_keys.id.';
COMMENT ON COLUMN audit_log.session_id IS 'The session used, sessions.id.';
COMMENT ON COLUMN audit_log.organization_id IS 'The organization acted in, organizations.id; null: the whole installation.';
COMMENT ON COLUMN audit_log.ip_address IS 'From where.';
COMMENT ON COLUMN audit_log.request_id IS 'The HTTP request, as in the log and the answer.';
COMMENT ON COLUMN audit_log.operation_id IS 'The operation across both databases it belongs to.';
COMMENT ON COLUMN audit_log.action IS 'What was done, as noun.verb.';
COMMENT ON COLUMN audit_log.object_type IS 'Kind of the object.';
COMMENT ON COLUMN audit_log.object_id IS 'The object.';
COMMENT ON COLUMN audit_log.before_state IS 'The object before, without secrets.';
COMMENT ON COLUMN audit_log.after_state IS 'The object after, without secrets.';
COMMENT ON COLUMN audit_log.outcome IS 'Whether it was done.';
COMMENT ON COLUMN audit_log.detail IS 'Why it was refused or failed, or a remark.';
COMMENT ON COLUMN audit_log.created_at IS 'When the row was made, UTC.';

SELECT make_append_only('audit_log');

CREATE TABLE notifications (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid REFERENCES organizations (id),
    kind text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('in_app', 'email', 'webhook')),
    priority text NOT NULL DEFAULT 'normal' CHECK (priority IN ('low', 'normal', 'high', 'critical')),
    title text NOT NULL,
    body text NOT NULL DEFAULT '',
    related_certificate_id uuid,
    related_operation_id uuid,
    status text NOT NULL CHECK (status IN ('pending', 'delivered', 'failed', 'read')),
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    delivered_at timestamptz,
    read_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    CHECK (get_byte(uuid_send(id), 6) >> 4 = 7)
) PARTITION BY RANGE (id);
CREATE INDEX notifications_user_id_id_idx ON notifications (user_id, id DESC);
CREATE INDEX notifications_user_id_status_id_idx ON notifications (user_id, status, id DESC);
CREATE INDEX notifications_pending_idx ON notifications (id) WHERE status = 'pending';
CREATE INDEX notifications_created_at_idx ON notifications USING brin (created_at);
CREATE INDEX notifications_updated_at_idx ON notifications USING brin (updated_at);
COMMENT ON TABLE notifications IS 'Messages to users, and how their delivery went.';
COMMENT ON COLUMN notifications.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN notifications.user_id IS 'For whom.';
COMMENT ON COLUMN notifications.organization_id IS 'About which organization; null: the installation.';
COMMENT ON COLUMN notifications.kind IS 'What it is about, for example certificate.issued.';
COMMENT ON COLUMN notifications.channel IS 'How it is delivered.';
COMMENT ON COLUMN notifications.priority IS 'How urgent it is.';
COMMENT ON COLUMN notifications.title IS 'One line.';
COMMENT ON COLUMN notifications.body IS 'The rest.';
COMMENT ON COLUMN notifications.related_certificate_id IS 'The certificate it is about, certificate_metadata.certificate_id.';
COMMENT ON COLUMN notifications.related_operation_id IS 'The operation it is about.';
COMMENT ON COLUMN notifications.status IS 'Where it stands.';
COMMENT ON COLUMN notifications.attempts IS 'How often delivery was tried.';
COMMENT ON COLUMN notifications.last_error IS 'Why the last try failed.';
COMMENT ON COLUMN notifications.delivered_at IS 'When it was delivered.';
COMMENT ON COLUMN notifications.read_at IS 'When it was read.';
COMMENT ON COLUMN notifications.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN notifications.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN notifications.version IS 'Counts the row''s changes; the ETag.';
