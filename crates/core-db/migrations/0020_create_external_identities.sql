-- Users as OpenID providers know them, and the sessions that such a provider has vouched for.

CREATE TABLE external_identities (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    user_id uuid NOT NULL REFERENCES users (id),
    provider text NOT NULL,
    issuer text NOT NULL,
    subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    confirmed boolean NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX external_identities_issuer_subject_idx ON external_identities (issuer, subject) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX external_identities_user_id_issuer_idx ON external_identities (user_id, issuer) WHERE revoked_at IS NULL;
CREATE INDEX external_identities_former_idx ON external_identities (issuer, subject) WHERE revoked_at IS NOT NULL;
CREATE INDEX external_identities_user_id_id_idx ON external_identities (user_id, id DESC);
CREATE INDEX external_identities_created_at_idx ON external_identities (created_at DESC);
CREATE INDEX external_identities_updated_at_idx ON external_identities (updated_at DESC);
COMMENT ON TABLE external_identities IS 'Which user an OpenID provider means by a subject.';
COMMENT ON COLUMN external_identities.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN external_identities.user_id IS 'Whose.';
COMMENT ON COLUMN external_identities.provider IS 'What the operator calls the provider.';
COMMENT ON COLUMN external_identities.issuer IS 'The provider''s own name, an address.';
COMMENT ON COLUMN external_identities.subject IS 'Whom the provider means (`sub`); it never gives it to another.';
COMMENT ON COLUMN external_identities.confirmed IS 'Whether its user has made it in a session; else the provider''s word alone did.';
COMMENT ON COLUMN external_identities.last_used_at IS 'When it last signed in.';
COMMENT ON COLUMN external_identities.revoked_at IS 'When it was removed.';
COMMENT ON COLUMN external_identities.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN external_identities.updated_at IS 'When the row last changed, UTC.';

ALTER TABLE sessions
    ADD COLUMN external_identity_id uuid REFERENCES external_identities (id),
    ADD COLUMN external_session text;
CREATE INDEX sessions_external_identity_id_idx ON sessions (external_identity_id) WHERE external_identity_id IS NOT NULL;
COMMENT ON COLUMN sessions.external_identity_id IS 'What signed in, if it was an OpenID provider that vouched.';
COMMENT ON COLUMN sessions.external_session IS 'The provider''s name for its own session (`sid`).';

GRANT SELECT, INSERT ON external_identities TO clm_core_system;
GRANT UPDATE (confirmed, last_used_at, revoked_at, updated_at) ON external_identities TO clm_core_system;
GRANT SELECT (external_identity_id, external_session), INSERT (external_identity_id, external_session) ON sessions TO clm_core_system;
