//! `idempotency_keys`: answers already given, by the caller's `Idempotency-Key`.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// What identifies a call.
#[derive(Debug, Clone)]
pub struct CallRow<'a> {
    /// For a new row.
    pub id: Uuid,
    /// Who calls.
    pub principal_id: Uuid,
    /// In which organization.
    pub organization_id: Option<Uuid>,
    /// Method and route.
    pub route: &'a str,
    /// What the caller chose.
    pub idempotency_key: &'a str,
    /// SHA-256 of target and body.
    pub body_sha256: &'a [u8],
    /// When the answer may be forgotten.
    pub expires_at: Time,
}

/// A call that was seen before.
#[derive(Debug, Clone)]
pub struct SeenRow {
    /// Identity.
    pub id: Uuid,
    /// In which organization.
    pub organization_id: Option<Uuid>,
    /// SHA-256 of target and body.
    pub body_sha256: Vec<u8>,
    /// `in_flight` or `done`.
    pub status: String,
    /// HTTP status.
    pub response_status: Option<i16>,
    /// Array of name and value pairs.
    pub response_headers: Option<Value>,
    /// Body.
    pub response_body: Option<Vec<u8>>,
}

/// Takes a call up: a new one, one whose answer is forgotten, or the same one that has been in
/// flight since before `stale_before`. Gives the row's id, which only the last of these keeps, or nothing when it is not
/// to be run.
pub async fn take(
    conn: &mut PgConnection,
    call: &CallRow<'_>,
    stale_before: Time,
    now: Time,
) -> Result<Option<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO idempotency_keys AS seen (id, principal_id, organization_id, route, idempotency_key, body_sha256, status,
             expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'in_flight', $7, $9, $9)
         ON CONFLICT (principal_id, route, idempotency_key) DO UPDATE
             SET id = CASE WHEN seen.expires_at <= $9 THEN excluded.id ELSE seen.id END,
                 organization_id = excluded.organization_id, body_sha256 = excluded.body_sha256, status = 'in_flight',
                 response_status = NULL, response_headers = NULL, response_body = NULL,
                 expires_at = excluded.expires_at, updated_at = excluded.updated_at
             WHERE seen.expires_at <= $9
                OR (seen.status = 'in_flight' AND seen.updated_at <= $8 AND seen.body_sha256 = excluded.body_sha256
                    AND seen.organization_id IS NOT DISTINCT FROM excluded.organization_id)
         RETURNING id",
        call.id,
        call.principal_id,
        call.organization_id,
        call.route,
        call.idempotency_key,
        call.body_sha256,
        call.expires_at,
        stale_before,
        now
    )
    .fetch_optional(conn)
    .await?)
}

/// Finds a call that was seen before.
pub async fn find(
    conn: &mut PgConnection,
    principal_id: Uuid,
    route: &str,
    idempotency_key: &str,
) -> Result<Option<SeenRow>, DbError> {
    Ok(sqlx::query_as!(
        SeenRow,
        "SELECT id, organization_id, body_sha256, status, response_status, response_headers, response_body
         FROM idempotency_keys WHERE principal_id = $1 AND route = $2 AND idempotency_key = $3",
        principal_id,
        route,
        idempotency_key
    )
    .fetch_optional(conn)
    .await?)
}

/// Stores the answer.
///
/// # Errors
/// `RowCount` when the call is not in flight.
pub async fn finish(
    conn: &mut PgConnection,
    id: Uuid,
    response_status: i16,
    response_headers: &Value,
    response_body: &[u8],
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE idempotency_keys SET status = 'done', response_status = $2, response_headers = $3, response_body = $4,
             updated_at = $5
         WHERE id = $1 AND status = 'in_flight'",
        id,
        response_status,
        response_headers,
        response_body,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Marks a call as in flight since `stale_since`, so that the same one is taken up again.
pub async fn release(conn: &mut PgConnection, id: Uuid, stale_since: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE idempotency_keys SET updated_at = $2 WHERE id = $1 AND status = 'in_flight'",
        id,
        stale_since
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets a call that came to no lasting answer.
pub async fn abandon(conn: &mut PgConnection, id: Uuid) -> Result<(), DbError> {
    sqlx::query!("DELETE FROM idempotency_keys WHERE id = $1 AND status = 'in_flight'", id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes up to `limit` answers whose time is over; gives how many.
pub async fn purge(conn: &mut PgConnection, now: Time, limit: i64) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "DELETE FROM idempotency_keys WHERE id IN (SELECT id FROM idempotency_keys WHERE expires_at <= $1 LIMIT $2)",
        now,
        limit
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
