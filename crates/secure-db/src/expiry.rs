//! `certificates` that have ended and are not marked so.

use chrono::{DateTime, Utc};
use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// A certificate past its end that is not marked so.
#[derive(Debug, Clone)]
pub struct EndedRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// `active` or `on_hold`.
    pub status: String,
    /// Of the hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Of the hold.
    pub revocation_reason: Option<String>,
    /// When it ended.
    pub not_after: DateTime<Utc>,
}

/// Certificates that ended before `now` and are not marked so, the oldest end first.
///
/// # Errors
/// When the database fails.
pub async fn list_ended(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<EndedRow>, DbError> {
    let rows = sqlx::query_as!(
        EndedRow,
        "SELECT certificate_id, organization_id, status, revoked_at, revocation_reason, not_after FROM certificates
         WHERE status IN ('active', 'on_hold') AND deleted_at IS NULL AND not_after < $1 ORDER BY not_after LIMIT $2",
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
