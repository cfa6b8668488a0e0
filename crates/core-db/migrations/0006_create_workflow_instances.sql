-- Running workflows: each operation across both databases begins with its row here, committed before anything
-- else is done.

CREATE TABLE workflow_instances (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    operation_id uuid NOT NULL UNIQUE,
    instance_type text NOT NULL CHECK (instance_type IN ('issuance', 'renewal', 'revocation')),
    workflow_id uuid,
    policy_id uuid,
    policy_version integer,
    request_id uuid,
    certificate_id uuid,
    requester_user_id uuid NOT NULL REFERENCES users (id),
    owner_user_id uuid REFERENCES users (id),
    status text NOT NULL CHECK (status IN ('pending', 'executing', 'completed', 'rejected', 'cancelled', 'expired', 'failed')),
    current_step integer NOT NULL DEFAULT 0 CHECK (current_step >= 0),
    context jsonb NOT NULL DEFAULT '{}',
    outcome jsonb,
    failure_code text,
    failure_detail text,
    due_at timestamptz,
    decided_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, workflow_id) REFERENCES workflows (organization_id, id),
    FOREIGN KEY (organization_id, policy_id) REFERENCES policies (organization_id, id)
);
CREATE INDEX workflow_instances_organization_id_workflow_id_idx ON workflow_instances (organization_id, workflow_id);
CREATE INDEX workflow_instances_organization_id_policy_id_idx ON workflow_instances (organization_id, policy_id);
CREATE INDEX workflow_instances_requester_user_id_status_idx ON workflow_instances (requester_user_id, status);
CREATE INDEX workflow_instances_owner_user_id_idx ON workflow_instances (owner_user_id);
CREATE INDEX workflow_instances_organization_id_status_id_idx ON workflow_instances (organization_id, status, id DESC);
CREATE INDEX workflow_instances_certificate_id_idx ON workflow_instances (certificate_id);
CREATE INDEX workflow_instances_open_idx ON workflow_instances (due_at) WHERE status = 'pending';
CREATE INDEX workflow_instances_executing_idx ON workflow_instances (id) WHERE status = 'executing';
CREATE INDEX workflow_instances_created_at_idx ON workflow_instances USING brin (created_at);
CREATE INDEX workflow_instances_updated_at_idx ON workflow_instances USING brin (updated_at);
COMMENT ON TABLE workflow_instances IS 'One operation from asked to done: the durable intent, its approval and its outcome.';
COMMENT ON COLUMN workflow_instances.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN workflow_instances.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN workflow_instances.operation_id IS 'The operation''s identity in both databases.';
COMMENT ON COLUMN workflow_instances.instance_type IS 'What it is about.';
COMMENT ON COLUMN workflow_instances.workflow_id IS 'The definition it follows; null: none is required.';
COMMENT ON COLUMN workflow_instances.policy_id IS 'The policy it was asked under.';
COMMENT ON COLUMN workflow_instances.policy_version IS 'That policy''s version.';
COMMENT ON COLUMN workflow_instances.request_id IS 'The certificate request, clm_secure_db.certificate_requests.id.';
COMMENT ON COLUMN workflow_instances.certificate_id IS 'The certificate: the one made, or the one to be revoked or renewed, clm_secure_db.certificates.certificate_id.';
COMMENT ON COLUMN workflow_instances.requester_user_id IS 'Who asked.';
COMMENT ON COLUMN workflow_instances.owner_user_id IS 'Who owns or will own the certificate.';
COMMENT ON COLUMN workflow_instances.status IS 'Where it stands.';
COMMENT ON COLUMN workflow_instances.current_step IS 'Number of the step whose turn it is; 0: none.';
COMMENT ON COLUMN workflow_instances.context IS 'The request as it was submitted.';
COMMENT ON COLUMN workflow_instances.outcome IS 'What came of it.';
COMMENT ON COLUMN workflow_instances.failure_code IS 'Stable code of the failure or refusal.';
COMMENT ON COLUMN workflow_instances.failure_detail IS 'The same in words.';
COMMENT ON COLUMN workflow_instances.due_at IS 'It expires undecided at this time.';
COMMENT ON COLUMN workflow_instances.decided_at IS 'When it was approved or rejected.';
COMMENT ON COLUMN workflow_instances.completed_at IS 'When nothing was left to do.';
COMMENT ON COLUMN workflow_instances.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN workflow_instances.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN workflow_instances.version IS 'Counts the row''s changes; the ETag.';

CREATE TABLE workflow_steps (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    workflow_instance_id uuid NOT NULL,
    step_number integer NOT NULL CHECK (step_number >= 1),
    step_name text NOT NULL,
    assigned_to_user_id uuid REFERENCES users (id),
    assigned_to_role_id uuid REFERENCES roles (id),
    quorum integer NOT NULL DEFAULT 1 CHECK (quorum >= 1),
    status text NOT NULL CHECK (status IN ('waiting', 'pending', 'approved', 'rejected', 'skipped')),
    due_at timestamptz,
    decided_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (organization_id, id),
    UNIQUE (workflow_instance_id, step_number),
    FOREIGN KEY (organization_id, workflow_instance_id) REFERENCES workflow_instances (organization_id, id),
    CHECK (num_nonnulls(assigned_to_user_id, assigned_to_role_id) = 1)
);
CREATE INDEX workflow_steps_organization_id_workflow_instance_id_idx ON workflow_steps (organization_id, workflow_instance_id);
CREATE INDEX workflow_steps_assigned_to_user_id_status_idx ON workflow_steps (assigned_to_user_id, status);
CREATE INDEX workflow_steps_assigned_to_role_id_status_idx ON workflow_steps (assigned_to_role_id, status);
CREATE INDEX workflow_steps_pending_idx ON workflow_steps (due_at) WHERE status = 'pending';
CREATE INDEX workflow_steps_created_at_idx ON workflow_steps (created_at DESC);
CREATE INDEX workflow_steps_updated_at_idx ON workflow_steps (updated_at DESC);
COMMENT ON TABLE workflow_steps IS 'Steps of a running workflow: who must decide, and how it went.';
COMMENT ON COLUMN workflow_steps.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN workflow_steps.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN workflow_steps.workflow_instance_id IS 'The workflow it is a step of.';
COMMENT ON COLUMN workflow_steps.step_number IS 'Its place, from 1.';
COMMENT ON COLUMN workflow_steps.step_name IS 'Name to show.';
COMMENT ON COLUMN workflow_steps.assigned_to_user_id IS 'The one user who decides.';
COMMENT ON COLUMN workflow_steps.assigned_to_role_id IS 'Or: any user with this role.';
COMMENT ON COLUMN workflow_steps.quorum IS 'How many approvals it needs.';
COMMENT ON COLUMN workflow_steps.status IS 'Where it stands.';
COMMENT ON COLUMN workflow_steps.due_at IS 'When it must be decided.';
COMMENT ON COLUMN workflow_steps.decided_at IS 'When it was.';
COMMENT ON COLUMN workflow_steps.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN workflow_steps.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN workflow_steps.version IS 'Counts the row''s changes; the ETag.';

CREATE TRIGGER refuse_foreign_role BEFORE INSERT OR UPDATE OF assigned_to_role_id, organization_id ON workflow_steps
    FOR EACH ROW EXECUTE FUNCTION refuse_foreign_role('assigned_to_role_id');

CREATE TABLE workflow_decisions (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    workflow_step_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id),
    decision text NOT NULL CHECK (decision IN ('approved', 'rejected')),
    comment text,
    decided_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (organization_id, id),
    UNIQUE (workflow_step_id, user_id),
    FOREIGN KEY (organization_id, workflow_step_id) REFERENCES workflow_steps (organization_id, id)
);
CREATE INDEX workflow_decisions_organization_id_workflow_step_id_idx ON workflow_decisions (organization_id, workflow_step_id);
CREATE INDEX workflow_decisions_user_id_decided_at_idx ON workflow_decisions (user_id, decided_at DESC);
CREATE INDEX workflow_decisions_decided_at_idx ON workflow_decisions USING brin (decided_at);
CREATE INDEX workflow_decisions_created_at_idx ON workflow_decisions USING brin (created_at);
COMMENT ON TABLE workflow_decisions IS 'Decisions of approvers: one per step and user, never changed.';
COMMENT ON COLUMN workflow_decisions.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN workflow_decisions.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN workflow_decisions.workflow_step_id IS 'The step decided on.';
COMMENT ON COLUMN workflow_decisions.user_id IS 'Who decided.';
COMMENT ON COLUMN workflow_decisions.decision IS 'How.';
COMMENT ON COLUMN workflow_decisions.comment IS 'What was said.';
COMMENT ON COLUMN workflow_decisions.decided_at IS 'When.';
COMMENT ON COLUMN workflow_decisions.created_at IS 'When the row was made, UTC.';

CREATE VIEW pending_approvals WITH (security_invoker = true) AS
WITH approvers AS (
    SELECT s.id AS workflow_step_id, s.assigned_to_user_id AS user_id
    FROM workflow_steps s
    WHERE s.status = 'pending' AND s.assigned_to_user_id IS NOT NULL
    UNION
    SELECT s.id, ur.user_id
    FROM workflow_steps s
    JOIN user_roles ur ON ur.role_id = s.assigned_to_role_id
    WHERE s.status = 'pending'
      AND (ur.organization_id = s.organization_id OR ur.organization_id IS NULL)
      AND ur.revoked_at IS NULL AND ur.valid_from <= now() AND (ur.valid_until IS NULL OR now() < ur.valid_until)
)
SELECT s.id, s.id AS workflow_step_id, s.workflow_instance_id, s.organization_id, a.user_id AS assigned_to_user_id,
       s.assigned_to_role_id, s.step_number, s.step_name, s.quorum, s.due_at, s.created_at,
       i.operation_id, i.instance_type, i.request_id, i.certificate_id, i.requester_user_id,
       i.workflow_id, i.policy_id, i.policy_version
FROM approvers a
JOIN workflow_steps s ON s.id = a.workflow_step_id
JOIN workflow_instances i ON i.organization_id = s.organization_id AND i.id = s.workflow_instance_id
JOIN users u ON u.id = a.user_id
WHERE i.status = 'pending' AND s.status = 'pending'
  AND a.user_id <> i.requester_user_id
  AND u.status = 'active' AND u.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM workflow_decisions d WHERE d.workflow_step_id = s.id AND d.user_id = a.user_id);
COMMENT ON VIEW pending_approvals IS 'What waits for whom: one row per pending step and user who may decide it. Nobody decides on a request of their own, nor twice.';
COMMENT ON COLUMN pending_approvals.id IS 'The step, workflow_steps.id.';
COMMENT ON COLUMN pending_approvals.workflow_step_id IS 'The same.';
COMMENT ON COLUMN pending_approvals.workflow_instance_id IS 'The workflow instance.';
COMMENT ON COLUMN pending_approvals.organization_id IS 'The organization.';
COMMENT ON COLUMN pending_approvals.assigned_to_user_id IS 'A user who may decide, named directly or by a role.';
COMMENT ON COLUMN pending_approvals.assigned_to_role_id IS 'The role the step is assigned to, if any.';
COMMENT ON COLUMN pending_approvals.step_number IS 'Place of the step.';
COMMENT ON COLUMN pending_approvals.step_name IS 'Name of the step.';
COMMENT ON COLUMN pending_approvals.quorum IS 'Approvals the step needs.';
COMMENT ON COLUMN pending_approvals.due_at IS 'When it must be decided.';
COMMENT ON COLUMN pending_approvals.created_at IS 'When the step was made.';
COMMENT ON COLUMN pending_approvals.operation_id IS 'The operation that waits.';
COMMENT ON COLUMN pending_approvals.instance_type IS 'What it is about.';
COMMENT ON COLUMN pending_approvals.request_id IS 'The certificate request, if any.';
COMMENT ON COLUMN pending_approvals.certificate_id IS 'The certificate, if any.';
COMMENT ON COLUMN pending_approvals.requester_user_id IS 'Who asked.';
COMMENT ON COLUMN pending_approvals.workflow_id IS 'The definition.';
COMMENT ON COLUMN pending_approvals.policy_id IS 'The policy.';
COMMENT ON COLUMN pending_approvals.policy_version IS 'Its version.';
