//! How operations begin: `workflow_instances` with steps, job, audit entry and messages, in one commit.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit::NewAuditRow;
use crate::columns::column;
use crate::jobs::NewJobRow;
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

/// Writes operations of one organization with all that belongs to them, in one statement that also enters the
/// organization: the whole commit is one round trip when `conn` is in no transaction. All are written, or none.
///
/// Every part takes its rows from the one before, so that the setting of `clm.org_id` has happened
/// before any row meets row-level security; were it otherwise, the insert would be refused.
#[expect(clippy::too_many_lines, reason = "one statement, whose parts belong to one commit")]
pub async fn insert_all(
    conn: &mut PgConnection,
    organization_id: Uuid,
    intents: &[&IntentRow],
) -> Result<(), DbError> {
    let instances: Vec<&NewInstanceRow> = intents.iter().map(|intent| &intent.instance).collect();
    let steps: Vec<(Uuid, &NewStepRow)> = intents.iter().flat_map(|it| with_owner(it, &it.steps)).collect();
    let told: Vec<(Uuid, &NewNotificationRow)> =
        intents.iter().flat_map(|it| with_owner(it, &it.notifications)).collect();
    let jobs: Vec<(Uuid, &NewJobRow)> = intents.iter().flat_map(|it| with_owner(it, &it.job)).collect();
    let audit: Vec<(Uuid, &NewAuditRow)> = intents.iter().map(|it| (it.instance.id, &it.audit)).collect();
    let result = sqlx::query!(
        "WITH tenant AS MATERIALIZED (SELECT set_config('clm.org_id', $1::uuid::text, true)::uuid AS id),
         instance AS (
             INSERT INTO workflow_instances (id, organization_id, operation_id, instance_type, workflow_id, policy_id,
                 policy_version, request_id, certificate_id, requester_user_id, owner_user_id, status, current_step, context,
                 due_at, decided_at, created_at, updated_at)
             SELECT new.id, tenant.id, new.operation_id, new.instance_type, new.workflow_id, new.policy_id, new.policy_version,
                 new.request_id, new.certificate_id, new.requester_user_id, new.owner_user_id, new.status, new.current_step,
                 new.context, new.due_at, new.decided_at, new.created_at, new.created_at
             FROM tenant, unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::int[], $8::uuid[], $9::uuid[],
                 $10::uuid[], $11::uuid[], $12::text[], $13::int[], $14::jsonb[], $15::timestamptz[], $16::timestamptz[],
                 $17::timestamptz[])
                 AS new (id, operation_id, instance_type, workflow_id, policy_id, policy_version, request_id, certificate_id,
                     requester_user_id, owner_user_id, status, current_step, context, due_at, decided_at, created_at)
             RETURNING id, organization_id, operation_id, certificate_id, created_at),
         steps AS (
             INSERT INTO workflow_steps (id, organization_id, workflow_instance_id, step_number, step_name,
                 assigned_to_user_id, assigned_to_role_id, quorum, status, due_at, created_at, updated_at)
             SELECT new.id, i.organization_id, i.id, new.step_number, new.step_name, new.user_id, new.role_id, new.quorum,
                 new.status, new.due_at, i.created_at, i.created_at
             FROM unnest($18::uuid[], $19::uuid[], $20::int[], $21::text[], $22::uuid[], $23::uuid[], $24::int[], $25::text[],
                 $26::timestamptz[])
                 AS new (instance_id, id, step_number, step_name, user_id, role_id, quorum, status, due_at)
             JOIN instance i ON i.id = new.instance_id),
         told AS (
             INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
                 related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
             SELECT new.id, new.user_id, i.organization_id, new.kind, 'in_app', new.priority, new.title, new.body,
                 i.certificate_id, i.operation_id, 'delivered', i.created_at, i.created_at, i.created_at
             FROM unnest($27::uuid[], $28::uuid[], $29::uuid[], $30::text[], $31::text[], $32::text[], $33::text[])
                 AS new (instance_id, id, user_id, kind, priority, title, body)
             JOIN instance i ON i.id = new.instance_id),
         jobs AS (
             INSERT INTO jobs (id, kind, operation_id, organization_id, payload, status, run_at, attempts, locked_by,
                 locked_until, created_at, updated_at)
             SELECT new.id, new.kind, i.operation_id, i.organization_id, new.payload,
                 CASE WHEN new.locked_by IS NULL THEN 'queued' ELSE 'running' END, i.created_at,
                 CASE WHEN new.locked_by IS NULL THEN 0 ELSE 1 END, new.locked_by, new.locked_until, i.created_at, i.created_at
             FROM unnest($34::uuid[], $35::uuid[], $36::text[], $37::jsonb[], $38::text[], $39::timestamptz[])
                 AS new (instance_id, id, kind, payload, locked_by, locked_until)
             JOIN instance i ON i.id = new.instance_id)
         INSERT INTO audit_log (id, occurred_at, actor_user_id, actor_type, api_key_id, organization_id, ip_address, request_id,
             operation_id, action, object_type, object_id, after_state, outcome, detail, created_at, session_id)
         SELECT new.id, i.created_at, new.actor_user_id, new.actor_type, new.api_key_id, i.organization_id,
             new.ip_address::inet, new.request_id, i.operation_id, new.action, new.object_type, new.object_id,
             new.after_state, new.outcome, new.detail, i.created_at, new.session_id
         FROM unnest($40::uuid[], $41::uuid[], $42::uuid[], $43::text[], $44::uuid[], $45::text[], $46::uuid[], $47::text[],
             $48::text[], $49::uuid[], $50::jsonb[], $51::text[], $52::text[], $53::uuid[])
             AS new (instance_id, id, actor_user_id, actor_type, api_key_id, ip_address, request_id, action, object_type,
                 object_id, after_state, outcome, detail, session_id)
         JOIN instance i ON i.id = new.instance_id",
        organization_id,
        &column(&instances, |i| i.id),
        &column(&instances, |i| i.operation_id),
        &column(&instances, |i| i.instance_type.to_owned()),
        &column(&instances, |i| i.workflow_id) as &[Option<Uuid>],
        &column(&instances, |i| i.policy_id) as &[Option<Uuid>],
        &column(&instances, |i| i.policy_version) as &[Option<i32>],
        &column(&instances, |i| i.request_id) as &[Option<Uuid>],
        &column(&instances, |i| i.certificate_id) as &[Option<Uuid>],
        &column(&instances, |i| i.requester_user_id),
        &column(&instances, |i| i.owner_user_id) as &[Option<Uuid>],
        &column(&instances, |i| i.status.to_owned()),
        &column(&instances, |i| i.current_step),
        &column(&instances, |i| i.context.clone()),
        &column(&instances, |i| i.due_at) as &[Option<Time>],
        &column(&instances, |i| i.decided_at) as &[Option<Time>],
        &column(&instances, |i| i.created_at),
        &column(&steps, |(instance, _)| *instance),
        &column(&steps, |(_, s)| s.id),
        &column(&steps, |(_, s)| s.step_number),
        &column(&steps, |(_, s)| s.step_name.clone()),
        &column(&steps, |(_, s)| s.assigned_to_user_id) as &[Option<Uuid>],
        &column(&steps, |(_, s)| s.assigned_to_role_id) as &[Option<Uuid>],
        &column(&steps, |(_, s)| s.quorum),
        &column(&steps, |(_, s)| s.status.to_owned()),
        &column(&steps, |(_, s)| s.due_at) as &[Option<Time>],
        &column(&told, |(instance, _)| *instance),
        &column(&told, |(_, n)| n.id),
        &column(&told, |(_, n)| n.user_id),
        &column(&told, |(_, n)| n.kind.to_owned()),
        &column(&told, |(_, n)| n.priority.to_owned()),
        &column(&told, |(_, n)| n.title.clone()),
        &column(&told, |(_, n)| n.body.clone()),
        &column(&jobs, |(instance, _)| *instance),
        &column(&jobs, |(_, j)| j.id),
        &column(&jobs, |(_, j)| j.kind.to_owned()),
        &column(&jobs, |(_, j)| j.payload.clone()),
        &column(&jobs, |(_, j)| j.locked_by.clone()) as &[Option<String>],
        &column(&jobs, |(_, j)| j.locked_until) as &[Option<Time>],
        &column(&audit, |(instance, _)| *instance),
        &column(&audit, |(_, a)| a.id),
        &column(&audit, |(_, a)| a.actor_user_id) as &[Option<Uuid>],
        &column(&audit, |(_, a)| a.actor_type.to_owned()),
        &column(&audit, |(_, a)| a.api_key_id) as &[Option<Uuid>],
        &column(&audit, |(_, a)| a.ip_address.clone()) as &[Option<String>],
        &column(&audit, |(_, a)| a.request_id) as &[Option<Uuid>],
        &column(&audit, |(_, a)| a.action.clone()),
        &column(&audit, |(_, a)| a.object_type.clone()),
        &column(&audit, |(_, a)| a.object_id) as &[Option<Uuid>],
        &column(&audit, |(_, a)| a.after_state.clone()) as &[Option<Value>],
        &column(&audit, |(_, a)| a.outcome.to_owned()),
        &column(&audit, |(_, a)| a.detail.clone()) as &[Option<String>],
        &column(&audit, |(_, a)| a.session_id) as &[Option<Uuid>]
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, intents.len() as u64)
}

/// Rows of an intent, each with the id of its instance.
fn with_owner<'a, R: 'a>(
    intent: &'a IntentRow,
    rows: impl IntoIterator<Item = &'a R>,
) -> impl Iterator<Item = (Uuid, &'a R)> {
    rows.into_iter().map(|row| (intent.instance.id, row))
}
