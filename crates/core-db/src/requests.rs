//! `workflow_instances` and `workflow_steps`: what was asked for, and how far it is.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit::NewAuditRow;
use crate::notifications::NewNotificationRow;

/// A new operation: the durable intent.
#[derive(Debug, Clone)]
pub struct NewInstanceRow {
    /// Identity, in both databases.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The operation across both databases.
    pub operation_id: Uuid,
    /// `issuance`, `renewal`, `revocation`.
    pub instance_type: &'static str,
    /// The definition it follows.
    pub workflow_id: Option<Uuid>,
    /// The policy it was asked under.
    pub policy_id: Option<Uuid>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// The certificate request in Secure.
    pub request_id: Option<Uuid>,
    /// The certificate to revoke; one that is issued comes in when it is there.
    pub certificate_id: Option<Uuid>,
    /// Who asked.
    pub requester_user_id: Uuid,
    /// Who shall answer for the certificate.
    pub owner_user_id: Option<Uuid>,
    /// `pending` or `executing`.
    pub status: &'static str,
    /// Number of the step whose turn it is; 0: none.
    pub current_step: i32,
    /// The request as submitted.
    pub context: Value,
    /// When the first step expires.
    pub due_at: Option<Time>,
    /// When it was approved by its conditions.
    pub decided_at: Option<Time>,
    /// When.
    pub created_at: Time,
}

/// A new approval step.
#[derive(Debug, Clone)]
pub struct NewStepRow {
    /// Identity.
    pub id: Uuid,
    /// Its place, from 1.
    pub step_number: i32,
    /// Its name.
    pub step_name: String,
    /// The one user who decides, or:
    pub assigned_to_user_id: Option<Uuid>,
    /// any user with this role.
    pub assigned_to_role_id: Option<Uuid>,
    /// Approvals it needs.
    pub quorum: i32,
    /// `pending` or `waiting`.
    pub status: &'static str,
    /// When it expires, once its turn has come.
    pub due_at: Option<Time>,
}

/// The job that carries an operation, leased by its maker if `locked_by` is given.
#[derive(Debug, Clone)]
pub struct NewJobRow {
    /// Identity.
    pub id: Uuid,
    /// What to do.
    pub kind: &'static str,
    /// What it needs to know; no secret.
    pub payload: Value,
    /// Who runs it already.
    pub locked_by: Option<String>,
    /// Until when.
    pub locked_until: Option<Time>,
}

/// Everything that begins an operation.
#[derive(Debug, Clone)]
pub struct IntentRow {
    /// The operation.
    pub instance: NewInstanceRow,
    /// Its approval steps, in their order.
    pub steps: Vec<NewStepRow>,
    /// The audit entry.
    pub audit: NewAuditRow,
    /// The job, where something is to be done in Secure now.
    pub job: Option<NewJobRow>,
    /// What the first approvers are told.
    pub notifications: Vec<NewNotificationRow>,
}

/// An operation as it stands.
#[derive(Debug, Clone)]
pub struct InstanceRow {
    /// Identity, in both databases.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The operation across both databases.
    pub operation_id: Uuid,
    /// `issuance`, `renewal`, `revocation`.
    pub instance_type: String,
    /// The definition it follows.
    pub workflow_id: Option<Uuid>,
    /// The policy it was asked under.
    pub policy_id: Option<Uuid>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// The certificate made, or to be revoked.
    pub certificate_id: Option<Uuid>,
    /// Who asked.
    pub requester_user_id: Uuid,
    /// Who shall answer for the certificate.
    pub owner_user_id: Option<Uuid>,
    /// Where it stands.
    pub status: String,
    /// Number of the step whose turn it is.
    pub current_step: i32,
    /// The request as submitted.
    pub context: Value,
    /// Stable code of the failure.
    pub failure_code: Option<String>,
    /// The same in words.
    pub failure_detail: Option<String>,
    /// When it expires undecided.
    pub due_at: Option<Time>,
    /// When nothing was left to do.
    pub completed_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// Counts its changes.
    pub version: i64,
}

/// An approval step as it stands.
#[derive(Debug, Clone)]
pub struct StepRow {
    /// Identity.
    pub id: Uuid,
    /// The instance.
    pub workflow_instance_id: Uuid,
    /// Its place, from 1.
    pub step_number: i32,
    /// Its name.
    pub step_name: String,
    /// The one user who decides.
    pub assigned_to_user_id: Option<Uuid>,
    /// Any user with this role.
    pub assigned_to_role_id: Option<Uuid>,
    /// Approvals it needs.
    pub quorum: i32,
    /// Where it stands.
    pub status: String,
    /// When it must be decided.
    pub due_at: Option<Time>,
    /// What was decided: an array of `{user_id, decision, comment, decided_at}`.
    pub decisions: Value,
}

/// Which operations to list; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those that stand here.
    pub status: Option<&'static str>,
    /// Only this kind.
    pub instance_type: Option<&'static str>,
    /// Only of this requester.
    pub requester_user_id: Option<Uuid>,
    /// Only older than this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// Writes an operation with all that belongs to it, in one statement that also enters the
/// organization: the whole commit is one round trip when `conn` is in no transaction.
///
/// Every part takes its rows from the one before, so that the setting of `clm.org_id` has happened
/// before any row meets row-level security; were it otherwise, the insert would be refused.
pub async fn insert_intent(conn: &mut PgConnection, intent: &IntentRow) -> Result<(), DbError> {
    let (instance, steps, audit) = (&intent.instance, &intent.steps, &intent.audit);
    let (job, told) = (intent.job.as_ref(), &intent.notifications);
    let result = sqlx::query!(
        "WITH tenant AS MATERIALIZED (SELECT set_config('clm.org_id', $1::uuid::text, true)::uuid AS id),
         instance AS (
             INSERT INTO workflow_instances (id, organization_id, operation_id, instance_type, workflow_id, policy_id,
                 policy_version, request_id, certificate_id, requester_user_id, owner_user_id, status, current_step, context,
                 due_at, decided_at, created_at, updated_at)
             SELECT $2, tenant.id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17 FROM tenant
             RETURNING id, organization_id),
         steps AS (
             INSERT INTO workflow_steps (id, organization_id, workflow_instance_id, step_number, step_name,
                 assigned_to_user_id, assigned_to_role_id, quorum, status, due_at, created_at, updated_at)
             SELECT new.id, instance.organization_id, instance.id, new.step_number, new.step_name, new.user_id, new.role_id,
                 new.quorum, new.status, new.due_at, $17, $17
             FROM instance, unnest($18::uuid[], $19::int[], $20::text[], $21::uuid[], $22::uuid[], $23::int[], $24::text[],
                 $25::timestamptz[]) AS new (id, step_number, step_name, user_id, role_id, quorum, status, due_at)),
         told AS (
             INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
                 related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
             SELECT new.id, new.user_id, instance.organization_id, new.kind, 'in_app', new.priority, new.title, new.body,
                 $9, $3, 'delivered', $17, $17, $17
             FROM instance, unnest($26::uuid[], $27::uuid[], $28::text[], $29::text[], $30::text[], $31::text[])
                 AS new (id, user_id, kind, priority, title, body)),
         job AS (
             INSERT INTO jobs (id, kind, operation_id, organization_id, payload, status, run_at, attempts, locked_by,
                 locked_until, created_at, updated_at)
             SELECT $32::uuid, $33::text, $3, instance.organization_id, $34::jsonb,
                 CASE WHEN $35::text IS NULL THEN 'queued' ELSE 'running' END, $17,
                 CASE WHEN $35::text IS NULL THEN 0 ELSE 1 END, $35, $36, $17, $17
             FROM instance WHERE $32::uuid IS NOT NULL)
         INSERT INTO audit_log (id, occurred_at, actor_user_id, actor_type, api_key_id, organization_id, ip_address, request_id,
             operation_id, action, object_type, object_id, after_state, outcome, detail, created_at)
         SELECT $37, $17, $38, $39, $40, instance.organization_id, $41::text::inet, $42, $3, $43, $44, $45, $46, $47, $48, $17
         FROM instance",
        instance.organization_id,
        instance.id,
        instance.operation_id,
        instance.instance_type,
        instance.workflow_id,
        instance.policy_id,
        instance.policy_version,
        instance.request_id,
        instance.certificate_id,
        instance.requester_user_id,
        instance.owner_user_id,
        instance.status,
        instance.current_step,
        instance.context,
        instance.due_at,
        instance.decided_at,
        instance.created_at,
        &steps.iter().map(|s| s.id).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.step_number).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.step_name.clone()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.assigned_to_user_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &steps.iter().map(|s| s.assigned_to_role_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &steps.iter().map(|s| s.quorum).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.status.to_owned()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.due_at).collect::<Vec<_>>() as &[Option<Time>],
        &told.iter().map(|n| n.id).collect::<Vec<_>>(),
        &told.iter().map(|n| n.user_id).collect::<Vec<_>>(),
        &told.iter().map(|n| n.kind.to_owned()).collect::<Vec<_>>(),
        &told.iter().map(|n| n.priority.to_owned()).collect::<Vec<_>>(),
        &told.iter().map(|n| n.title.clone()).collect::<Vec<_>>(),
        &told.iter().map(|n| n.body.clone()).collect::<Vec<_>>(),
        job.map(|j| j.id),
        job.map(|j| j.kind),
        job.map(|j| &j.payload),
        job.and_then(|j| j.locked_by.as_deref()),
        job.and_then(|j| j.locked_until),
        audit.id,
        audit.actor_user_id,
        audit.actor_type,
        audit.api_key_id,
        audit.ip_address,
        audit.request_id,
        audit.action,
        audit.object_type,
        audit.object_id,
        audit.after_state,
        audit.outcome,
        audit.detail
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// The operation with this id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<InstanceRow>, DbError> {
    let row = sqlx::query_as!(
        InstanceRow,
        "SELECT id, organization_id, operation_id, instance_type, workflow_id, policy_id, policy_version, certificate_id,
             requester_user_id, owner_user_id, status, current_step, context, failure_code, failure_detail, due_at,
             completed_at, created_at, version
         FROM workflow_instances WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// The operation with this id, locked until the transaction ends: whoever decides next sees what was decided.
pub async fn find_for_update(conn: &mut PgConnection, id: Uuid) -> Result<Option<InstanceRow>, DbError> {
    let row = sqlx::query_as!(
        InstanceRow,
        "SELECT id, organization_id, operation_id, instance_type, workflow_id, policy_id, policy_version, certificate_id,
             requester_user_id, owner_user_id, status, current_step, context, failure_code, failure_detail, due_at,
             completed_at, created_at, version
         FROM workflow_instances WHERE id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// The operation as its job needs it.
#[derive(Debug, Clone)]
pub struct ExecutionRow {
    /// The instance.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The operation.
    pub operation_id: Uuid,
    /// `issuance`, `renewal`, `revocation`.
    pub instance_type: String,
    /// Who asked.
    pub requester_user_id: Uuid,
    /// The policy it was asked under.
    pub policy_id: Option<Uuid>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// Where it stands.
    pub status: String,
    /// The request as submitted.
    pub context: Value,
    /// Who said yes: an array of `{user_id, decided_at}`.
    pub approvals: Value,
}

/// The operation as its job needs it, with its approvals.
pub async fn find_for_execution(
    conn: &mut PgConnection,
    operation_id: Uuid,
) -> Result<Option<ExecutionRow>, DbError> {
    let row = sqlx::query_as!(
        ExecutionRow,
        r#"SELECT i.id, i.organization_id, i.operation_id, i.instance_type, i.requester_user_id, i.policy_id, i.policy_version,
             i.status, i.context,
             COALESCE((SELECT jsonb_agg(jsonb_build_object('user_id', d.user_id, 'decided_at', d.decided_at) ORDER BY d.id)
                 FROM workflow_steps s JOIN workflow_decisions d ON d.workflow_step_id = s.id
                 WHERE s.workflow_instance_id = i.id AND d.decision = 'approved'), '[]') AS "approvals!"
         FROM workflow_instances i WHERE i.operation_id = $1"#,
        operation_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A page of operations, newest first.
pub async fn list(conn: &mut PgConnection, filter: &RequestFilter) -> Result<Vec<InstanceRow>, DbError> {
    let rows = sqlx::query_as!(
        InstanceRow,
        "SELECT id, organization_id, operation_id, instance_type, workflow_id, policy_id, policy_version, certificate_id,
             requester_user_id, owner_user_id, status, current_step, context, failure_code, failure_detail, due_at,
             completed_at, created_at, version
         FROM workflow_instances
         WHERE ($1::text IS NULL OR status = $1)
           AND ($2::text IS NULL OR instance_type = $2)
           AND ($3::uuid IS NULL OR requester_user_id = $3)
           AND ($4::uuid IS NULL OR id < $4)
         ORDER BY organization_id DESC, id DESC LIMIT $5",
        filter.status,
        filter.instance_type,
        filter.requester_user_id,
        filter.before,
        filter.limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The steps of these operations with their decisions, in order.
pub async fn list_steps(conn: &mut PgConnection, instance_ids: &[Uuid]) -> Result<Vec<StepRow>, DbError> {
    let rows = sqlx::query_as!(
        StepRow,
        r#"SELECT s.id, s.workflow_instance_id, s.step_number, s.step_name, s.assigned_to_user_id, s.assigned_to_role_id,
             s.quorum, s.status, s.due_at,
             COALESCE((SELECT jsonb_agg(jsonb_build_object('user_id', d.user_id, 'decision', d.decision,
                     'comment', d.comment, 'decided_at', d.decided_at) ORDER BY d.id)
                 FROM workflow_decisions d WHERE d.workflow_step_id = s.id), '[]') AS "decisions!"
         FROM workflow_steps s WHERE s.workflow_instance_id = ANY($1)
         ORDER BY s.workflow_instance_id, s.step_number"#,
        instance_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Leaves `pending` without approval: `rejected`, `cancelled` or `expired`; open steps are skipped.
pub async fn close(
    conn: &mut PgConnection,
    id: Uuid,
    status: &str,
    code_and_detail: Option<(&str, &str)>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "WITH skipped AS (
             UPDATE workflow_steps SET status = 'skipped', updated_at = $5, version = version + 1
             WHERE workflow_instance_id = $1 AND status IN ('waiting', 'pending'))
         UPDATE workflow_instances SET status = $2, current_step = 0, failure_code = $3, failure_detail = $4, due_at = NULL,
             decided_at = $5, completed_at = $5, updated_at = $5, version = version + 1
         WHERE id = $1 AND status = 'pending'",
        id,
        status,
        code_and_detail.map(|(code, _)| code),
        code_and_detail.map(|(_, detail)| detail),
        now
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// The next step's turn has come.
pub async fn begin_step(
    conn: &mut PgConnection,
    id: Uuid,
    step_number: i32,
    due_at: Option<Time>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "WITH next AS (
             UPDATE workflow_steps SET status = 'pending', due_at = $3, updated_at = $4, version = version + 1
             WHERE workflow_instance_id = $1 AND step_number = $2 AND status = 'waiting'
             RETURNING workflow_instance_id)
         UPDATE workflow_instances SET current_step = $2, due_at = $3, updated_at = $4, version = version + 1
         WHERE id IN (SELECT workflow_instance_id FROM next) AND status = 'pending'",
        id,
        step_number,
        due_at,
        now
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// Every step is approved: the job may act.
pub async fn begin_execution(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE workflow_instances SET status = 'executing', current_step = 0, due_at = NULL, decided_at = $2, updated_at = $2,
             version = version + 1
         WHERE id = $1 AND status = 'pending'",
        id,
        now
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// Operations that expired undecided, oldest first, locked; those that others hold are passed over.
pub async fn list_overdue(
    conn: &mut PgConnection,
    now: Time,
    limit: i64,
) -> Result<Vec<InstanceRow>, DbError> {
    let rows = sqlx::query_as!(
        InstanceRow,
        "SELECT id, organization_id, operation_id, instance_type, workflow_id, policy_id, policy_version, certificate_id,
             requester_user_id, owner_user_id, status, current_step, context, failure_code, failure_detail, due_at,
             completed_at, created_at, version
         FROM workflow_instances WHERE status = 'pending' AND due_at <= $1
         ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
