//! The ends of the two gapless sequences: audit chain and outbox. Locked once per batch.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;

/// The last sequence and hash of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Last sequence given out; 0 at first.
    pub sequence: i64,
    /// Hash of the last entry; zeros at first and for the outbox.
    pub chain_hash: Vec<u8>,
}

/// Both heads.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Of `secure_audit_log`.
    pub audit: Head,
    /// Of `events`.
    pub events: Head,
}

/// Locks and reads both heads: until commit nobody else appends.
///
/// # Errors
/// When a head is missing (a broken database) or the database fails.
pub async fn lock(conn: &mut PgConnection) -> Result<Heads, DbError> {
    let rows = sqlx::query_as!(Head, "SELECT sequence, chain_hash FROM chain_heads ORDER BY name FOR UPDATE")
        .fetch_all(conn)
        .await?;
    let got = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    match <[Head; 2]>::try_from(rows) {
        Ok([audit, events]) => Ok(Heads { audit, events }),
        Err(_) => Err(DbError::RowCount { expected: 2, got }),
    }
}

/// Writes both heads back.
///
/// # Errors
/// When the database fails.
pub async fn store(conn: &mut PgConnection, heads: &Heads, now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE chain_heads SET sequence = new.sequence, chain_hash = new.chain_hash, updated_at = $5
         FROM (VALUES ('audit', $1::bigint, $2::bytea), ('events', $3::bigint, $4::bytea)) AS new (name, sequence, chain_hash)
         WHERE chain_heads.name = new.name",
        heads.audit.sequence,
        heads.audit.chain_hash,
        heads.events.sequence,
        heads.events.chain_hash,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 2)
}
