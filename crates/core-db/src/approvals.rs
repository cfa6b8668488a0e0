//! `workflow_decisions` and the view `pending_approvals`: who said what, and what waits for whom.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// The step whose turn it is, as one user meets it.
#[derive(Debug, Clone)]
pub struct CurrentStepRow {
    /// Identity.
    pub id: Uuid,
    /// Its place, from 1.
    pub step_number: i32,
    /// Its name.
    pub step_name: String,
    /// Approvals it needs.
    pub quorum: i32,
    /// Where it stands.
    pub status: String,
    /// When it must be decided.
    pub due_at: Option<Time>,
    /// Approvals it has.
    pub approved: i64,
    /// Whether the user is among its approvers now.
    pub is_approver: bool,
    /// Whether the user decided it before.
    pub has_decided: bool,
    /// The step after it.
    pub next_step: Option<i32>,
    /// How long that one may take, in seconds.
    pub next_deadline_seconds: Option<i64>,
}

/// A decision.
#[derive(Debug, Clone)]
pub struct NewDecisionRow {
    /// Identity.
    pub id: Uuid,
    /// Whose data.
    pub organization_id: Uuid,
    /// The step.
    pub workflow_step_id: Uuid,
    /// Who.
    pub user_id: Uuid,
    /// `approved` or `rejected`.
    pub decision: &'static str,
    /// Why, in words.
    pub comment: Option<String>,
    /// When.
    pub decided_at: Time,
}

/// A step that waits for a user.
#[derive(Debug, Clone)]
pub struct PendingApprovalRow {
    /// The step.
    pub step_id: Uuid,
    /// The operation to decide on.
    pub instance_id: Uuid,
    /// The operation across both databases.
    pub operation_id: Uuid,
    /// `issuance`, `renewal`, `revocation`.
    pub instance_type: String,
    /// Its name.
    pub step_name: String,
    /// Its place, from 1.
    pub step_number: i32,
    /// Approvals it needs.
    pub quorum: i32,
    /// The certificate, where there is one.
    pub certificate_id: Option<Uuid>,
    /// Who asked.
    pub requester_user_id: Uuid,
    /// The role that decides, where it is not one user.
    pub assigned_to_role_id: Option<Uuid>,
    /// When it must be decided.
    pub due_at: Option<Time>,
    /// Since when it waits.
    pub created_at: Time,
}

/// The step whose turn it is. The instance must be locked: only then is what this reads still true when it is used.
pub async fn find_current_step(
    conn: &mut PgConnection,
    instance_id: Uuid,
    user_id: Uuid,
    now: Time,
) -> Result<Option<CurrentStepRow>, DbError> {
    let row = sqlx::query_as!(
        CurrentStepRow,
        r#"SELECT s.id, s.step_number, s.step_name, s.quorum, s.status, s.due_at,
             (SELECT count(*) FROM workflow_decisions d WHERE d.workflow_step_id = s.id AND d.decision = 'approved')
                 AS "approved!",
             (EXISTS (SELECT FROM users u WHERE u.id = $2 AND u.status = 'active' AND u.deleted_at IS NULL)
              AND (s.assigned_to_user_id = $2 OR EXISTS (
                 SELECT FROM user_roles ur
                 WHERE ur.user_id = $2 AND ur.role_id = s.assigned_to_role_id
                   AND (ur.organization_id = s.organization_id OR ur.organization_id IS NULL)
                   AND ur.revoked_at IS NULL AND ur.valid_from <= $3 AND (ur.valid_until IS NULL OR $3 < ur.valid_until)
              ))) IS TRUE AS "is_approver!",
             EXISTS (SELECT FROM workflow_decisions d WHERE d.workflow_step_id = s.id AND d.user_id = $2) AS "has_decided!",
             next.step_number AS "next_step?",
             (SELECT (i.context -> 'step_deadlines' ->> (next.step_number - 1))::bigint FROM workflow_instances i
              WHERE i.id = $1) AS "next_deadline_seconds?"
         FROM workflow_steps s
         LEFT JOIN workflow_steps next ON next.workflow_instance_id = $1 AND next.step_number = s.step_number + 1
         WHERE s.workflow_instance_id = $1 AND s.status = 'pending'"#,
        instance_id,
        user_id,
        now
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Adds a decision and puts its step into `status`.
pub async fn insert_decision(
    conn: &mut PgConnection,
    decision: &NewDecisionRow,
    status: &str,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "WITH decision AS (
             INSERT INTO workflow_decisions (id, organization_id, workflow_step_id, user_id, decision, comment, decided_at,
                 created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7))
         UPDATE workflow_steps SET status = $8, decided_at = CASE WHEN $8 = 'pending' THEN NULL ELSE $7 END, updated_at = $7,
             version = version + 1
         WHERE id = $3 AND status = 'pending'",
        decision.id,
        decision.organization_id,
        decision.workflow_step_id,
        decision.user_id,
        decision.decision,
        decision.comment,
        decision.decided_at,
        status
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// Who may decide a step that is assigned so, at most `limit` of them and never `except`. It begins with the few who hold the
/// role: row-level security looks at each user that it passes.
pub async fn list_approvers(
    conn: &mut PgConnection,
    user_id: Option<Uuid>,
    role_id: Option<Uuid>,
    except: Uuid,
    now: Time,
    limit: i64,
) -> Result<Vec<Uuid>, DbError> {
    let rows = sqlx::query_scalar!(
        "WITH named AS (
             SELECT $1::uuid AS user_id WHERE $1::uuid IS NOT NULL
             UNION
             SELECT ur.user_id FROM user_roles ur
             WHERE ur.role_id = $2 AND ur.revoked_at IS NULL AND ur.valid_from <= $4
               AND (ur.valid_until IS NULL OR $4 < ur.valid_until)
               AND (ur.organization_id IS NULL
                    OR (ur.organization_id = nullif(current_setting('clm.org_id', true), '')::uuid
                        AND EXISTS (SELECT FROM user_organizations m
                                    WHERE m.user_id = ur.user_id AND m.organization_id = ur.organization_id AND m.status = 'active'))))
         SELECT u.id FROM named JOIN users u ON u.id = named.user_id
         WHERE u.status = 'active' AND u.deleted_at IS NULL AND u.id <> $3
         ORDER BY u.id LIMIT $5",
        user_id,
        role_id,
        except,
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The assignment of a step: user or role.
pub async fn find_assignment(
    conn: &mut PgConnection,
    instance_id: Uuid,
    step_number: i32,
) -> Result<Option<(Option<Uuid>, Option<Uuid>)>, DbError> {
    let row = sqlx::query!(
        "SELECT assigned_to_user_id, assigned_to_role_id FROM workflow_steps
         WHERE workflow_instance_id = $1 AND step_number = $2",
        instance_id,
        step_number
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.assigned_to_user_id, row.assigned_to_role_id)))
}

/// A page of what waits for a user, newest first.
pub async fn list_pending(
    conn: &mut PgConnection,
    user_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<PendingApprovalRow>, DbError> {
    let rows = sqlx::query_as!(
        PendingApprovalRow,
        r#"SELECT workflow_step_id AS "step_id!", workflow_instance_id AS "instance_id!", operation_id AS "operation_id!",
             instance_type AS "instance_type!", step_name AS "step_name!", step_number AS "step_number!", quorum AS "quorum!",
             certificate_id, requester_user_id AS "requester_user_id!", assigned_to_role_id, due_at, created_at AS "created_at!"
         FROM pending_approvals
         WHERE assigned_to_user_id = $1 AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3"#,
        user_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
