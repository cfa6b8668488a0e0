//! `workflow_instances` and `workflow_steps`: what was asked for, and how far it is.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

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
