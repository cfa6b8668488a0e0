//! `secure_audit_log`: append and read.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::chain_heads::Head;

/// One entry with its place in the chain.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// UUIDv7 of `occurred_at`.
    pub id: Uuid,
    /// From 1 without gaps.
    pub sequence: i64,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// Who did it.
    pub actor: String,
    /// `user`, `service`, `operator`, `system`.
    pub actor_type: String,
    /// Whose object.
    pub organization_id: Option<Uuid>,
    /// Of which operation.
    pub operation_id: Option<Uuid>,
    /// What was done.
    pub action: String,
    /// Kind of object.
    pub object_type: String,
    /// Which object.
    pub object_id: Option<Uuid>,
    /// `allowed`, `refused`, `failed`.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// The hashed octets: canonical JSON (RFC 8785).
    pub canonical_payload: String,
    /// SHA-256 of the payload.
    pub payload_sha256: Vec<u8>,
    /// Chain hash of the entry before.
    pub previous_hash: Vec<u8>,
    /// This entry's chain hash.
    pub chain_hash: Vec<u8>,
    /// The same as `occurred_at`.
    pub created_at: DateTime<Utc>,
}

/// Appends entries.
///
/// # Errors
/// When the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[AuditRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO secure_audit_log (id, sequence, occurred_at, actor, actor_type, organization_id, operation_id, action,
             object_type, object_id, outcome, reason, canonical_payload, payload_sha256, previous_hash, chain_hash, created_at)
         SELECT id, sequence, occurred_at, actor, actor_type, organization_id, operation_id, action, object_type, object_id,
             outcome, reason, canonical_payload, payload_sha256, previous_hash, chain_hash, occurred_at
         FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::text[],
             $9::text[], $10::uuid[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::bytea[], $16::bytea[])
         AS new (id, sequence, occurred_at, actor, actor_type, organization_id, operation_id, action, object_type, object_id,
             outcome, reason, canonical_payload, payload_sha256, previous_hash, chain_hash)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.sequence).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.occurred_at).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.actor.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.actor_type.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.organization_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.action.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.object_type.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.object_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.outcome.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.reason.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|r| r.canonical_payload.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.payload_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.previous_hash.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.chain_hash.clone()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Of this organization; none for all.
    pub organization_id: Option<Uuid>,
    /// Of this operation.
    pub operation_id: Option<Uuid>,
    /// About this object.
    pub object_id: Option<Uuid>,
    /// Older than this entry.
    pub before: Option<Uuid>,
    /// Rows at most.
    pub limit: i64,
}

/// Entries, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection, query: &AuditQuery) -> Result<Vec<AuditRow>, DbError> {
    let rows = sqlx::query_as!(
        AuditRow,
        "SELECT id, sequence, occurred_at, actor, actor_type, organization_id, operation_id, action, object_type, object_id,
             outcome, reason, canonical_payload, payload_sha256, previous_hash, chain_hash, created_at
         FROM secure_audit_log
         WHERE ($1::uuid IS NULL OR organization_id = $1) AND ($2::uuid IS NULL OR operation_id = $2)
           AND ($3::uuid IS NULL OR object_id = $3) AND ($4::uuid IS NULL OR id < $4)
         ORDER BY id DESC LIMIT $5",
        query.organization_id,
        query.operation_id,
        query.object_id,
        query.before,
        query.limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// What was done, or refused, with the private key of a certificate, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_key_accesses(
    conn: &mut PgConnection,
    certificate_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditRow>, DbError> {
    let rows = sqlx::query_as!(
        AuditRow,
        "SELECT id, sequence, occurred_at, actor, actor_type, organization_id, operation_id, action, object_type, object_id,
             outcome, reason, canonical_payload, payload_sha256, previous_hash, chain_hash, created_at
         FROM secure_audit_log
         WHERE object_type = 'private_key'
           AND object_id = ANY (ARRAY(SELECT id FROM private_keys WHERE certificate_id = $1) || $1)
           AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
        certificate_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Entries of the sequences `after + 1` to `until` in the order of the chain, for verification. One more than that at
/// most is given, so that a sequence that stands in the log twice shows.
///
/// # Errors
/// When the database fails.
pub async fn list_chain(conn: &mut PgConnection, after: i64, until: i64) -> Result<Vec<AuditRow>, DbError> {
    let rows = sqlx::query_as!(
        AuditRow,
        "SELECT id, sequence, occurred_at, actor, actor_type, organization_id, operation_id, action, object_type, object_id,
             outcome, reason, canonical_payload, payload_sha256, previous_hash, chain_hash, created_at
         FROM secure_audit_log WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT $2 - $1 + 1",
        after,
        until
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Where the chain ends.
#[derive(Debug, Clone)]
pub struct ChainEnd {
    /// Last sequence that was given out.
    pub sequence: i64,
    /// Hash of that entry.
    pub chain_hash: Vec<u8>,
    /// Highest sequence in the log; 0 when it is empty.
    pub last_sequence: i64,
}

/// The end as recorded and as found, both of one moment: nobody who appends has to wait.
///
/// # Errors
/// When the head is missing (a broken database) or the database fails.
pub async fn find_end(conn: &mut PgConnection) -> Result<ChainEnd, DbError> {
    let end = sqlx::query_as!(
        ChainEnd,
        r#"SELECT sequence, chain_hash,
             COALESCE((SELECT max(sequence) FROM secure_audit_log), 0) AS "last_sequence!"
         FROM chain_heads WHERE name = 'audit'"#
    )
    .fetch_one(conn)
    .await?;
    Ok(end)
}

/// The entry with the highest sequence, as a head; none when the log is empty.
///
/// # Errors
/// When the database fails.
pub async fn find_last(conn: &mut PgConnection) -> Result<Option<Head>, DbError> {
    let last = sqlx::query_as!(
        Head,
        "SELECT sequence, chain_hash FROM secure_audit_log ORDER BY sequence DESC LIMIT 1"
    )
    .fetch_optional(conn)
    .await?;
    Ok(last)
}

/// The chain hash of the entry with this sequence; none when the log has none.
///
/// # Errors
/// When the database fails.
pub async fn find_chain_hash(conn: &mut PgConnection, sequence: i64) -> Result<Option<Vec<u8>>, DbError> {
    let hash =
        sqlx::query_scalar!("SELECT chain_hash FROM secure_audit_log WHERE sequence = $1 LIMIT 1", sequence)
            .fetch_optional(conn)
            .await?;
    Ok(hash)
}
