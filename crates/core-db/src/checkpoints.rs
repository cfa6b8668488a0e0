//! `secure_audit_checkpoints` and `secure_audit_keys`: what Core keeps of Secure's audit chain.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A signed state of Secure's audit chain.
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
    /// When Secure signed it.
    pub signed_at: Time,
    /// Secure's signature.
    pub signature: Vec<u8>,
    /// Which audit key.
    pub key_reference: String,
}

/// Keeps a checkpoint. False when there is one of this sequence already.
pub async fn insert(conn: &mut PgConnection, row: &CheckpointRow, now: Time) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "INSERT INTO secure_audit_checkpoints (id, sequence, chain_hash, entry_count, signed_at, signature, key_reference, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sequence) DO NOTHING",
        row.id,
        row.sequence,
        row.chain_hash,
        row.entry_count,
        row.signed_at,
        row.signature,
        row.key_reference,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The checkpoint of a sequence.
pub async fn find(conn: &mut PgConnection, sequence: i64) -> Result<Option<CheckpointRow>, DbError> {
    let row = sqlx::query_as!(
        CheckpointRow,
        "SELECT id, sequence, chain_hash, entry_count, signed_at, signature, key_reference
         FROM secure_audit_checkpoints WHERE sequence = $1",
        sequence
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Checkpoints before `before` (all, for none), newest first.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<CheckpointRow>, DbError> {
    let rows = sqlx::query_as!(
        CheckpointRow,
        "SELECT id, sequence, chain_hash, entry_count, signed_at, signature, key_reference
         FROM secure_audit_checkpoints WHERE $1::bigint IS NULL OR sequence < $1 ORDER BY sequence DESC LIMIT $2",
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A public key that Core believes.
#[derive(Debug, Clone)]
pub struct PinnedKeyRow {
    /// Name that signatures carry.
    pub key_reference: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

/// The keys that Core believes, oldest first, 100 at most.
pub async fn list_keys(conn: &mut PgConnection) -> Result<Vec<PinnedKeyRow>, DbError> {
    let rows = sqlx::query_as!(
        PinnedKeyRow,
        "SELECT key_reference, public_key FROM secure_audit_keys ORDER BY created_at, id LIMIT 100"
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Believes a key from now on.
pub async fn pin_key(
    conn: &mut PgConnection,
    id: Uuid,
    row: &PinnedKeyRow,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO secure_audit_keys (id, key_reference, public_key, created_at) VALUES ($1, $2, $3, $4)",
        id,
        row.key_reference,
        row.public_key,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
