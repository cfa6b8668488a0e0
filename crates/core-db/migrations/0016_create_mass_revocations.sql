-- Revoking many certificates by one decision: exactly which ones is written down before anybody approves it.

CREATE TABLE mass_revocations (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    requester_user_id uuid NOT NULL REFERENCES users (id),
    approver_user_id uuid REFERENCES users (id) CHECK (approver_user_id <> requester_user_id),
    selection jsonb NOT NULL,
    impact jsonb NOT NULL,
    reason text NOT NULL,
    invalidity_date timestamptz,
    comment text,
    status text NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'cancelled', 'failed')),
    certificate_count bigint NOT NULL CHECK (certificate_count > 0),
    revoked_count bigint NOT NULL DEFAULT 0,
    refused_count bigint NOT NULL DEFAULT 0,
    failure_code text,
    failure_detail text,
    locked_by text,
    locked_until timestamptz,
    decided_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    CHECK (status IN ('pending', 'cancelled') OR approver_user_id IS NOT NULL)
);
CREATE INDEX mass_revocations_requester_user_id_idx ON mass_revocations (requester_user_id);
CREATE INDEX mass_revocations_approver_user_id_idx ON mass_revocations (approver_user_id);
CREATE INDEX mass_revocations_running_idx ON mass_revocations (id) WHERE status = 'running';
CREATE INDEX mass_revocations_created_at_idx ON mass_revocations (created_at DESC);
CREATE INDEX mass_revocations_updated_at_idx ON mass_revocations (updated_at DESC);
COMMENT ON TABLE mass_revocations IS 'Revocations of many certificates by one decision of two people.';
COMMENT ON COLUMN mass_revocations.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN mass_revocations.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN mass_revocations.requester_user_id IS 'Who selected the certificates.';
COMMENT ON COLUMN mass_revocations.approver_user_id IS 'Who approved it: somebody else.';
COMMENT ON COLUMN mass_revocations.selection IS 'By what they were selected.';
COMMENT ON COLUMN mass_revocations.impact IS 'How many of them there are of each authority, profile and owner.';
COMMENT ON COLUMN mass_revocations.reason IS 'CRLReason in words, RFC 5280 section 5.3.1.';
COMMENT ON COLUMN mass_revocations.invalidity_date IS 'Since when the keys are known or thought to be bad.';
COMMENT ON COLUMN mass_revocations.comment IS 'Why.';
COMMENT ON COLUMN mass_revocations.status IS 'Where it stands.';
COMMENT ON COLUMN mass_revocations.certificate_count IS 'How many certificates were selected.';
COMMENT ON COLUMN mass_revocations.revoked_count IS 'How many of them it has revoked.';
COMMENT ON COLUMN mass_revocations.refused_count IS 'How many it could not revoke, most because they were revoked before.';
COMMENT ON COLUMN mass_revocations.failure_code IS 'Stable code of what ended it early.';
COMMENT ON COLUMN mass_revocations.failure_detail IS 'The same in words.';
COMMENT ON COLUMN mass_revocations.locked_by IS 'The process that carries it out.';
COMMENT ON COLUMN mass_revocations.locked_until IS 'Another process may take over after this.';
COMMENT ON COLUMN mass_revocations.decided_at IS 'When it was approved or cancelled.';
COMMENT ON COLUMN mass_revocations.completed_at IS 'When nothing was left to do.';
COMMENT ON COLUMN mass_revocations.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN mass_revocations.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN mass_revocations.version IS 'Counts the row''s changes; the ETag.';

CREATE TABLE mass_revocation_items (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    mass_revocation_id uuid NOT NULL,
    certificate_id uuid NOT NULL,
    authority_id uuid NOT NULL,
    operation_id uuid NOT NULL UNIQUE,
    status text NOT NULL CHECK (status IN ('waiting', 'revoked', 'refused')),
    failure_code text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (mass_revocation_id, certificate_id),
    FOREIGN KEY (organization_id, mass_revocation_id) REFERENCES mass_revocations (organization_id, id)
);
CREATE INDEX mass_revocation_items_organization_id_mass_revocation_id_idx ON mass_revocation_items (organization_id, mass_revocation_id, id);
CREATE INDEX mass_revocation_items_waiting_idx ON mass_revocation_items (mass_revocation_id, authority_id, certificate_id)
    WHERE status = 'waiting';
CREATE INDEX mass_revocation_items_created_at_idx ON mass_revocation_items USING brin (created_at);
CREATE INDEX mass_revocation_items_updated_at_idx ON mass_revocation_items USING brin (updated_at);
COMMENT ON TABLE mass_revocation_items IS 'The certificates of mass revocations: what was selected, and what became of it.';
COMMENT ON COLUMN mass_revocation_items.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN mass_revocation_items.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN mass_revocation_items.mass_revocation_id IS 'The mass revocation it is part of.';
COMMENT ON COLUMN mass_revocation_items.certificate_id IS 'Which certificate, clm_secure_db.certificates.certificate_id.';
COMMENT ON COLUMN mass_revocation_items.authority_id IS 'Who signed it, clm_secure_db.certificate_authorities.id.';
COMMENT ON COLUMN mass_revocation_items.operation_id IS 'The operation''s identity in both databases.';
COMMENT ON COLUMN mass_revocation_items.status IS 'Where it stands.';
COMMENT ON COLUMN mass_revocation_items.failure_code IS 'Why it was refused.';
COMMENT ON COLUMN mass_revocation_items.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN mass_revocation_items.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN mass_revocation_items.version IS 'Counts the row''s changes.';

SELECT enable_tenant_isolation('mass_revocations', false), enable_tenant_isolation('mass_revocation_items', false);

GRANT SELECT, INSERT ON mass_revocations, mass_revocation_items TO clm_core_app;
GRANT UPDATE (approver_user_id, status, decided_at, updated_at, version) ON mass_revocations TO clm_core_app;
GRANT SELECT ON mass_revocations, mass_revocation_items TO clm_core_system, clm_core_ro;
GRANT UPDATE (status, revoked_count, refused_count, failure_code, failure_detail, locked_by, locked_until, completed_at,
              updated_at, version)
    ON mass_revocations TO clm_core_system;
GRANT UPDATE (status, failure_code, updated_at, version) ON mass_revocation_items TO clm_core_system;
