-- E-mail on its way out: written in the commit of what it tells of, sent by a worker of any process.

CREATE TABLE email_messages (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    kind text NOT NULL CHECK (kind ~ '^[a-z_]+\.[a-z_]+$'),
    recipient text NOT NULL,
    content bytea,
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'sending', 'sent', 'dead')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    send_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    locked_until timestamptz,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((content IS NULL) = (status IN ('sent', 'dead'))),
    CHECK ((finished_at IS NULL) = (status IN ('waiting', 'sending'))),
    CHECK ((locked_until IS NOT NULL) = (status = 'sending'))
);
CREATE INDEX email_messages_due_idx ON email_messages (send_at, id) WHERE status IN ('waiting', 'sending');
CREATE INDEX email_messages_user_id_kind_created_at_idx ON email_messages (user_id, kind, created_at DESC);
CREATE INDEX email_messages_expires_at_idx ON email_messages (expires_at DESC);
CREATE INDEX email_messages_finished_at_idx ON email_messages (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX email_messages_created_at_idx ON email_messages (created_at DESC);
CREATE INDEX email_messages_updated_at_idx ON email_messages (updated_at DESC);
COMMENT ON TABLE email_messages IS 'E-mail that waits to be sent, and for a while what became of it.';
COMMENT ON COLUMN email_messages.id IS 'Row identity, a UUIDv7; ids sort by the time they were made. The Message-ID begins with it.';
COMMENT ON COLUMN email_messages.user_id IS 'To whom.';
COMMENT ON COLUMN email_messages.kind IS 'What it tells of, noun and verb.';
COMMENT ON COLUMN email_messages.recipient IS 'The address it goes to: that of the user when it was written.';
COMMENT ON COLUMN email_messages.content IS 'Subject and text, sealed: a one-time link may be in it. Erased when it is sent or given up.';
COMMENT ON COLUMN email_messages.status IS 'Waits, is being sent, was taken by the mail server, or was given up.';
COMMENT ON COLUMN email_messages.attempts IS 'How often it was tried, the present time included.';
COMMENT ON COLUMN email_messages.send_at IS 'It is not tried before.';
COMMENT ON COLUMN email_messages.expires_at IS 'It is given up at this time: what it says is no longer of use.';
COMMENT ON COLUMN email_messages.locked_until IS 'Until when its present worker has it alone.';
COMMENT ON COLUMN email_messages.last_error IS 'Why the last try failed; no part of the text.';
COMMENT ON COLUMN email_messages.finished_at IS 'When it was sent or given up.';
COMMENT ON COLUMN email_messages.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN email_messages.updated_at IS 'When the row last changed, UTC.';

COMMENT ON COLUMN one_time_links.made_by IS 'Who made it; nobody for one that its user asked for by e-mail.';

-- The tenant role and reports see nothing of it.
GRANT SELECT, INSERT, DELETE ON email_messages TO clm_core_system;
GRANT UPDATE (content, status, attempts, send_at, locked_until, last_error, finished_at, updated_at) ON email_messages
    TO clm_core_system;
