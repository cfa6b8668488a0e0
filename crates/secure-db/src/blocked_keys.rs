//! `blocked_keys`: public keys that are not certified any more.

use chrono::{DateTime, Utc};
use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// A key that is blocked.
#[derive(Debug, Clone)]
pub struct BlockedKeyRow {
    /// Row id.
    pub id: Uuid,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// `revocation` or `operator`.
    pub source: String,
    /// The certificate that was revoked; none of an operator's.
    pub certificate_id: Option<Uuid>,
    /// What was said about it.
    pub comment: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Blocks a key; one that is blocked already stays as it is.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, row: &BlockedKeyRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO blocked_keys (id, public_key_sha256, source, certificate_id, comment, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (public_key_sha256) DO NOTHING",
        row.id,
        row.public_key_sha256,
        row.source,
        row.certificate_id,
        row.comment,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a key is blocked.
///
/// # Errors
/// When the database fails.
pub async fn is_blocked(conn: &mut PgConnection, public_key_sha256: &[u8]) -> Result<bool, DbError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM blocked_keys WHERE public_key_sha256 = $1) AS "found!""#,
        public_key_sha256
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// A blocked key, and how many certificates of it relying parties still accept.
#[derive(Debug, Clone)]
pub struct BlockedKeyUse {
    /// Row id.
    pub id: Uuid,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// `revocation` or `operator`.
    pub source: String,
    /// What was said about it.
    pub comment: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Certificates of it that are neither revoked nor expired, 100 at most.
    pub accepted_certificates: Vec<Uuid>,
}

/// Blocked keys after `after`, in the order they were blocked.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut PgConnection,
    after: Uuid,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<BlockedKeyUse>, DbError> {
    let rows = sqlx::query_as!(
        BlockedKeyUse,
        r#"SELECT id, public_key_sha256, source, comment, created_at,
             ARRAY(SELECT c.certificate_id FROM certificates c
                   WHERE c.public_key_sha256 = b.public_key_sha256 AND c.status IN ('active', 'on_hold') AND c.not_after > $2
                   ORDER BY c.certificate_id LIMIT 100) AS "accepted_certificates!"
         FROM blocked_keys b WHERE id > $1 ORDER BY id LIMIT $3"#,
        after,
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
