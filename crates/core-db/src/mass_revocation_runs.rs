//! `mass_revocations` and `mass_revocation_items`, as they are carried out.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A mass revocation in the hands of one process.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Row id.
    pub id: Uuid,
    /// Whether it was cancelled while a batch was on its way.
    pub cancelled: bool,
    /// Whose.
    pub organization_id: Uuid,
    /// Who selected the certificates.
    pub requester_user_id: Uuid,
    /// Who approved it.
    pub approver_user_id: Uuid,
    /// When.
    pub decided_at: Time,
    /// RFC 5280 name.
    pub reason: String,
    /// Since when the keys are suspected.
    pub invalidity_date: Option<Time>,
    /// Why.
    pub comment: Option<String>,
}

/// Takes, or keeps, one that is to be carried out and that no other process is at; one of which nothing was heard for long
/// first, so that one that fails holds up no other. One that was cancelled is taken once more, to see what its last batch did.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    conn: &mut PgConnection,
    worker: &str,
    now: Time,
    until: Time,
) -> Result<Option<RunRow>, DbError> {
    let row = sqlx::query_as!(
        RunRow,
        r#"UPDATE mass_revocations SET locked_by = $1, locked_until = $3, updated_at = $2, version = version + 1
         WHERE id = (SELECT id FROM mass_revocations
                     WHERE (status = 'running' OR (status = 'cancelled' AND locked_until IS NOT NULL))
                       AND (locked_until IS NULL OR locked_until < $2 OR locked_by = $1)
                     ORDER BY locked_until NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, (status = 'cancelled') AS "cancelled!", organization_id, requester_user_id, approver_user_id AS "approver_user_id!",
             decided_at AS "decided_at!", reason, invalidity_date, comment"#,
        worker,
        now,
        until
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A certificate that waits to be revoked.
#[derive(Debug, Clone)]
pub struct WaitingRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The operation that shall revoke it.
    pub operation_id: Uuid,
    /// Who signed it: the same for all of a batch.
    pub authority_id: Uuid,
}

/// The next certificates of one authority that wait.
///
/// # Errors
/// When the database fails.
pub async fn list_waiting(
    conn: &mut PgConnection,
    mass_revocation_id: Uuid,
    limit: i64,
) -> Result<Vec<WaitingRow>, DbError> {
    let rows = sqlx::query_as!(
        WaitingRow,
        "SELECT certificate_id, operation_id, authority_id FROM mass_revocation_items
         WHERE mass_revocation_id = $1 AND status = 'waiting'
           AND authority_id = (SELECT authority_id FROM mass_revocation_items
                               WHERE mass_revocation_id = $1 AND status = 'waiting' ORDER BY authority_id LIMIT 1)
         ORDER BY certificate_id LIMIT $2",
        mass_revocation_id,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// What became of one certificate.
#[derive(Debug, Clone)]
pub struct OutcomeRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// State in Secure; none when it was refused.
    pub status: Option<&'static str>,
    /// Since when.
    pub revoked_at: Option<Time>,
    /// Why it was refused.
    pub failure_code: Option<&'static str>,
    /// Of the audit entry.
    pub audit_id: Uuid,
    /// What validation services must forget.
    pub forget: Option<String>,
}

/// Writes down what became of a batch: its items, the inventory, the audit log and the counters; once.
///
/// # Errors
/// When the database fails.
pub async fn apply(
    conn: &mut PgConnection,
    mass_revocation_id: Uuid,
    reason: &str,
    outcomes: &[OutcomeRow],
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"WITH outcome AS MATERIALIZED (
             SELECT certificate_id, status, revoked_at, failure_code, audit_id, forget FROM unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::uuid[], $7::text[])
                 AS new (certificate_id, status, revoked_at, failure_code, audit_id, forget)),
         items AS (
             UPDATE mass_revocation_items i SET status = CASE WHEN o.failure_code IS NULL THEN 'revoked' ELSE 'refused' END,
                 failure_code = o.failure_code, updated_at = $9, version = i.version + 1
             FROM outcome o
             WHERE i.mass_revocation_id = $1 AND i.certificate_id = o.certificate_id AND i.status = 'waiting'
             RETURNING i.certificate_id, i.operation_id, i.organization_id, i.status),
         metadata AS (
             UPDATE certificate_metadata m SET status = o.status, revoked_at = o.revoked_at, revocation_reason = $8,
                 updated_at = $9, version = m.version + 1
             FROM items i JOIN outcome o ON o.certificate_id = i.certificate_id
             WHERE m.certificate_id = i.certificate_id AND i.status = 'revoked' AND m.status <> 'revoked'),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 after_state, outcome, created_at)
             SELECT o.audit_id, $9, 'system', i.organization_id, i.operation_id, 'certificate.revoked', 'certificate',
                 i.certificate_id, jsonb_build_object('status', o.status, 'reason', $8::text, 'mass_revocation_id', $1::uuid),
                 'allowed', $9
             FROM items i JOIN outcome o ON o.certificate_id = i.certificate_id WHERE i.status = 'revoked'),
         counted AS (
             UPDATE mass_revocations SET
                 revoked_count = revoked_count + (SELECT count(*) FROM items WHERE items.status = 'revoked'),
                 refused_count = refused_count + (SELECT count(*) FROM items WHERE items.status = 'refused'),
                 updated_at = $9, version = version + 1
             WHERE id = $1)
         SELECT pg_notify('clm_validation', o.forget)::text AS notified FROM outcome o WHERE o.forget IS NOT NULL"#,
        mass_revocation_id,
        &outcomes.iter().map(|row| row.certificate_id).collect::<Vec<_>>(),
        &outcomes.iter().map(|row| row.status).collect::<Vec<_>>() as &[Option<&str>],
        &outcomes.iter().map(|row| row.revoked_at).collect::<Vec<_>>() as &[Option<Time>],
        &outcomes.iter().map(|row| row.failure_code).collect::<Vec<_>>() as &[Option<&str>],
        &outcomes.iter().map(|row| row.audit_id).collect::<Vec<_>>(),
        &outcomes.iter().map(|row| row.forget.clone()).collect::<Vec<_>>() as &[Option<String>],
        reason,
        now
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Lets go of one that was cancelled.
///
/// # Errors
/// When the database fails.
pub async fn release(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE mass_revocations SET locked_by = NULL, locked_until = NULL, updated_at = $2, version = version + 1
         WHERE id = $1 AND status = 'cancelled'",
        id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a mass revocation of which nothing is left, and tells the owners of its certificates and who asked for it.
///
/// # Errors
/// `RowCount` when it has ended, or when the database fails.
pub async fn complete(conn: &mut PgConnection, id: Uuid, audit_id: Uuid, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE mass_revocations SET status = 'completed', completed_at = $2, locked_by = NULL, locked_until = NULL,
             updated_at = $2, version = version + 1
         WHERE id = $1 AND status = 'running'",
        id,
        now
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&result, 1)?;
    sqlx::query!(
        "INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body, status, delivered_at,
             created_at, updated_at)
         SELECT uuid_generate_v7(), told.user_id, r.organization_id, 'certificate.revoked', 'in_app', 'high',
             'Certificates were revoked', format('%s certificate(s) were revoked together: %s.', told.certificates, r.reason),
             'delivered', $2, $2, $2
         FROM mass_revocations r
         CROSS JOIN LATERAL (
             SELECT COALESCE(m.owner_user_id, r.requester_user_id) AS user_id, count(*) AS certificates
             FROM mass_revocation_items i JOIN certificate_metadata m ON m.certificate_id = i.certificate_id
             WHERE i.mass_revocation_id = r.id AND i.status = 'revoked' GROUP BY 1) told
         WHERE r.id = $1",
        id,
        now
    )
    .execute(&mut *conn)
    .await?;
    audit_end(conn, id, audit_id, now).await
}

/// Says in the audit log how it ended.
async fn audit_end(conn: &mut PgConnection, id: Uuid, audit_id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, action, object_type, object_id, after_state, outcome,
             detail, created_at)
         SELECT $2, $3, 'system', organization_id, 'mass_revocation.' || CASE status WHEN 'completed' THEN 'complete' ELSE 'fail' END,
             'mass_revocation', id, jsonb_build_object('status', status, 'revoked', revoked_count, 'refused', refused_count),
             CASE status WHEN 'completed' THEN 'allowed' ELSE 'failed' END, failure_detail, $3
         FROM mass_revocations WHERE id = $1",
        id,
        audit_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a mass revocation that cannot go on.
///
/// # Errors
/// When the database fails.
pub async fn fail(
    conn: &mut PgConnection,
    id: Uuid,
    (code, detail): (&str, &str),
    audit_id: Uuid,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE mass_revocations SET status = 'failed', failure_code = $2, failure_detail = $3, completed_at = $4,
             locked_by = NULL, locked_until = NULL, updated_at = $4, version = version + 1
         WHERE id = $1 AND status = 'running'",
        id,
        code,
        detail,
        now
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&result, 1)?;
    audit_end(conn, id, audit_id, now).await
}
