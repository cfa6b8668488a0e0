//! `audit_checkpoints`: signed states of the audit chain.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// A signed state.
#[derive(Debug, Clone)]
pub struct CheckpointRow {
    /// Row id.
    pub id: Uuid,
    /// The last entry that it covers.
    pub sequence: i64,
    /// That entry's chain hash.
    pub chain_hash: Vec<u8>,
    /// Entries up to it.
    pub entry_count: i64,
    /// When it was signed.
    pub signed_at: DateTime<Utc>,
    /// Of the audit key.
    pub signature: Vec<u8>,
    /// Which audit key.
    pub key_reference: String,
}

/// Adds a checkpoint.
///
/// # Errors
/// `Conflict` when there is one of this sequence, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &CheckpointRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO audit_checkpoints (id, sequence, chain_hash, entry_count, signed_at, signature, key_reference, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $5)",
        row.id,
        row.sequence,
        row.chain_hash,
        row.entry_count,
        row.signed_at,
        row.signature,
        row.key_reference
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The newest checkpoint.
///
/// # Errors
/// When the database fails.
pub async fn find_newest(conn: &mut PgConnection) -> Result<Option<CheckpointRow>, DbError> {
    let row = sqlx::query_as!(
        CheckpointRow,
        "SELECT id, sequence, chain_hash, entry_count, signed_at, signature, key_reference
         FROM audit_checkpoints ORDER BY sequence DESC LIMIT 1"
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Checkpoints after a sequence, in order.
///
/// # Errors
/// When the database fails.
pub async fn list_after(
    conn: &mut PgConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<CheckpointRow>, DbError> {
    let rows = sqlx::query_as!(
        CheckpointRow,
        "SELECT id, sequence, chain_hash, entry_count, signed_at, signature, key_reference
         FROM audit_checkpoints WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
