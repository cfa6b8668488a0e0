//! What the integrity job mends, each with its audit entry.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// What Secure says of a certificate that Core has otherwise.
#[derive(Debug, Clone)]
pub struct StatusRepairRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The state that Core had.
    pub from: &'static str,
    /// The version of the row that had it.
    pub version: i64,
    /// The state in Secure.
    pub to: &'static str,
    /// Since when, if it is revoked or on hold.
    pub revoked_at: Option<Time>,
    /// RFC 5280 reason of that.
    pub reason: Option<&'static str>,
    /// What the validation services of all processes must forget.
    pub forget: String,
    /// The audit entry's id.
    pub audit_id: Uuid,
    /// When.
    pub now: Time,
}

/// Sets the state, date and reason that Secure says, with the audit entry. False, and nothing happens, when Core has
/// changed the row by now, or would take a revocation back: that never happens.
pub async fn repair_status(conn: &mut PgConnection, row: &StatusRepairRow) -> Result<bool, DbError> {
    let answer = sqlx::query!(
        r#"WITH before AS (SELECT revoked_at, revocation_reason FROM certificate_metadata WHERE certificate_id = $1),
         repaired AS (
             UPDATE certificate_metadata SET status = $3, revoked_at = $4, revocation_reason = $5, updated_at = $8,
                 version = version + 1
             WHERE certificate_id = $1 AND status = $2 AND version = $9 AND (status <> 'revoked' OR $3 = 'revoked')
             RETURNING organization_id),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, action, object_type, object_id, before_state,
                 after_state, outcome, detail, created_at)
             SELECT $7, $8, 'system', r.organization_id, 'certificate.repair', 'certificate', $1,
                 jsonb_build_object('status', $2::text, 'revoked_at', b.revoked_at, 'reason', b.revocation_reason),
                 jsonb_build_object('status', $3::text, 'revoked_at', $4::timestamptz, 'reason', $5::text), 'allowed',
                 'set to what Secure says', $8
             FROM repaired r, before b),
         told AS (SELECT pg_notify('clm_validation', $6)::text AS notified FROM repaired)
         SELECT EXISTS (SELECT FROM repaired) AS "repaired!", (SELECT notified FROM told) AS notified"#,
        row.certificate_id,
        row.from,
        row.to,
        row.revoked_at,
        row.reason,
        row.forget,
        row.audit_id,
        row.now,
        row.version
    )
    .fetch_one(conn)
    .await?;
    Ok(answer.repaired)
}

/// The links that Secure has between a certificate and those before and after it.
#[derive(Debug, Clone)]
pub struct LinkRepairRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// What Core had: the one that it replaces, the one that replaces it.
    pub from: (Option<Uuid>, Option<Uuid>),
    /// What Secure has.
    pub to: (Option<Uuid>, Option<Uuid>),
    /// The audit entry's id.
    pub audit_id: Uuid,
    /// When.
    pub now: Time,
}

/// Sets the links that Secure has, with the audit entry. False, and nothing happens, when Core has others by now.
pub async fn repair_links(conn: &mut PgConnection, row: &LinkRepairRow) -> Result<bool, DbError> {
    let repaired = sqlx::query_scalar!(
        r#"WITH repaired AS (
             UPDATE certificate_metadata SET renewal_of_certificate_id = $4, renewed_by_certificate_id = $5, updated_at = $7,
                 version = version + 1
             WHERE certificate_id = $1 AND renewal_of_certificate_id IS NOT DISTINCT FROM $2
               AND renewed_by_certificate_id IS NOT DISTINCT FROM $3
             RETURNING organization_id),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, action, object_type, object_id, before_state,
                 after_state, outcome, detail, created_at)
             SELECT $6, $7, 'system', r.organization_id, 'certificate.repair', 'certificate', $1,
                 jsonb_build_object('renewal_of', $2::uuid, 'renewed_by', $3::uuid),
                 jsonb_build_object('renewal_of', $4::uuid, 'renewed_by', $5::uuid), 'allowed', 'set to what Secure says', $7
             FROM repaired r)
         SELECT EXISTS (SELECT FROM repaired) AS "repaired!""#,
        row.certificate_id,
        row.from.0,
        row.from.1,
        row.to.0,
        row.to.1,
        row.audit_id,
        row.now
    )
    .fetch_one(conn)
    .await?;
    Ok(repaired)
}

/// The job of an operation that has none though something is left to do.
#[derive(Debug, Clone)]
pub struct RequeuedRow {
    /// The operation.
    pub operation_id: Uuid,
    /// Where it stood.
    pub status: String,
    /// The job's id.
    pub job_id: Uuid,
    /// What to do.
    pub kind: &'static str,
    /// What it needs to know.
    pub payload: Value,
    /// The audit entry's id.
    pub audit_id: Uuid,
    /// When.
    pub now: Time,
}

/// Enqueues the job, with the audit entry. False, and nothing happens, when the operation has any job, also one that was
/// given up, or stands elsewhere by now.
pub async fn requeue(conn: &mut PgConnection, row: &RequeuedRow) -> Result<bool, DbError> {
    let requeued = sqlx::query_scalar!(
        r#"WITH requeued AS (
             INSERT INTO jobs (id, kind, operation_id, organization_id, payload, run_at, created_at, updated_at)
             SELECT $3, $4, i.operation_id, i.organization_id, $5, $7, $7, $7 FROM workflow_instances i
             WHERE i.operation_id = $1 AND i.status = $2
               AND NOT EXISTS (SELECT FROM jobs j WHERE j.operation_id = i.operation_id)
             ON CONFLICT (kind, operation_id) DO NOTHING
             RETURNING organization_id),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 outcome, detail, created_at)
             SELECT $6, $7, 'system', r.organization_id, $1, 'request.repair', 'request', i.id, 'allowed',
                 'its job was missing: ' || $4, $7
             FROM requeued r, workflow_instances i WHERE i.operation_id = $1)
         SELECT EXISTS (SELECT FROM requeued) AS "requeued!""#,
        row.operation_id,
        row.status,
        row.job_id,
        row.kind,
        row.payload,
        row.audit_id,
        row.now
    )
    .fetch_one(conn)
    .await?;
    Ok(requeued)
}
