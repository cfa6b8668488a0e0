-- What may be issued and who must agree: policies and workflow definitions, both in versions that never change
-- once in force.

CREATE TABLE workflows (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    workflow_code text NOT NULL,
    workflow_version integer NOT NULL CHECK (workflow_version >= 1),
    workflow_name text NOT NULL,
    workflow_type text NOT NULL CHECK (workflow_type IN ('issuance', 'renewal', 'revocation')),
    definition jsonb NOT NULL,
    auto_approval_conditions jsonb NOT NULL DEFAULT '[]',
    status text NOT NULL CHECK (status IN ('draft', 'active', 'superseded', 'retired')),
    created_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id),
    UNIQUE (organization_id, workflow_code, workflow_version)
);
CREATE UNIQUE INDEX workflows_active_idx ON workflows (organization_id, workflow_code) WHERE status = 'active' AND deleted_at IS NULL;
CREATE INDEX workflows_created_by_idx ON workflows (created_by);
CREATE INDEX workflows_definition_idx ON workflows USING gin (definition jsonb_path_ops);
CREATE INDEX workflows_auto_approval_conditions_idx ON workflows USING gin (auto_approval_conditions jsonb_path_ops);
CREATE INDEX workflows_created_at_idx ON workflows (created_at DESC);
CREATE INDEX workflows_updated_at_idx ON workflows (updated_at DESC);
COMMENT ON TABLE workflows IS 'Workflow definitions: who must approve, in which order, by when.';
COMMENT ON COLUMN workflows.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN workflows.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN workflows.workflow_code IS 'Short name; the same in every version.';
COMMENT ON COLUMN workflows.workflow_version IS 'Version, from 1; a change is a new version.';
COMMENT ON COLUMN workflows.workflow_name IS 'Name to show.';
COMMENT ON COLUMN workflows.workflow_type IS 'What it decides about.';
COMMENT ON COLUMN workflows.definition IS 'The chain of steps: assignee (user or role id), quorum, deadline.';
COMMENT ON COLUMN workflows.auto_approval_conditions IS 'Conditions under which no person need approve.';
COMMENT ON COLUMN workflows.status IS 'Only the active version starts new instances.';
COMMENT ON COLUMN workflows.created_by IS 'Who wrote this version.';
COMMENT ON COLUMN workflows.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN workflows.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN workflows.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN workflows.deleted_at IS 'When it was deleted; the row stays for the audit.';

CREATE TABLE policies (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    policy_code text NOT NULL,
    policy_version integer NOT NULL CHECK (policy_version >= 1),
    policy_name text NOT NULL,
    policy_type text NOT NULL CHECK (policy_type IN ('certificate', 'key_management')),
    policy_rules jsonb NOT NULL,
    compliance_frameworks jsonb NOT NULL DEFAULT '[]',
    status text NOT NULL CHECK (status IN ('draft', 'active', 'superseded', 'retired')),
    workflow_id uuid,
    effective_from timestamptz,
    supersedes_policy_id uuid,
    created_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id),
    UNIQUE (organization_id, policy_code, policy_version),
    FOREIGN KEY (organization_id, workflow_id) REFERENCES workflows (organization_id, id),
    FOREIGN KEY (organization_id, supersedes_policy_id) REFERENCES policies (organization_id, id)
);
CREATE UNIQUE INDEX policies_active_idx ON policies (organization_id, policy_code) WHERE status = 'active' AND deleted_at IS NULL;
CREATE INDEX policies_organization_id_workflow_id_idx ON policies (organization_id, workflow_id);
CREATE INDEX policies_organization_id_supersedes_policy_id_idx ON policies (organization_id, supersedes_policy_id);
CREATE INDEX policies_created_by_idx ON policies (created_by);
CREATE INDEX policies_effective_from_idx ON policies (effective_from DESC);
CREATE INDEX policies_policy_rules_idx ON policies USING gin (policy_rules jsonb_path_ops);
CREATE INDEX policies_compliance_frameworks_idx ON policies USING gin (compliance_frameworks jsonb_path_ops);
CREATE INDEX policies_created_at_idx ON policies (created_at DESC);
CREATE INDEX policies_updated_at_idx ON policies (updated_at DESC);
COMMENT ON TABLE policies IS 'Policies: what certificates may be asked for, by whom, decided how. A change is a new version, a new row.';
COMMENT ON COLUMN policies.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN policies.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN policies.policy_code IS 'Short name; the same in every version.';
COMMENT ON COLUMN policies.policy_version IS 'Version, from 1.';
COMMENT ON COLUMN policies.policy_name IS 'Name to show.';
COMMENT ON COLUMN policies.policy_type IS 'What it governs.';
COMMENT ON COLUMN policies.policy_rules IS 'The typed rules: names, key types, validity, extensions, requesters.';
COMMENT ON COLUMN policies.compliance_frameworks IS 'Controls of compliance frameworks it serves.';
COMMENT ON COLUMN policies.status IS 'Only the active version allows new requests.';
COMMENT ON COLUMN policies.workflow_id IS 'The workflow that decides requests under it; null: allowed is approved.';
COMMENT ON COLUMN policies.effective_from IS 'When this version came into force.';
COMMENT ON COLUMN policies.supersedes_policy_id IS 'The version before.';
COMMENT ON COLUMN policies.created_by IS 'Who wrote this version.';
COMMENT ON COLUMN policies.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN policies.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN policies.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN policies.deleted_at IS 'When it was deleted; the row stays for the audit.';
