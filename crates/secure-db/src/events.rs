//! `events`: the outbox that Core follows.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// One event with its place in the outbox.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// UUIDv7 of `created_at`.
    pub id: Uuid,
    /// From 1 without gaps.
    pub sequence: i64,
    /// `certificate.issued`, …
    pub kind: String,
    /// Of which operation.
    pub operation_id: Uuid,
    /// Which certificate.
    pub certificate_id: Option<Uuid>,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// The record.
    pub payload: serde_json::Value,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Appends events.
///
/// # Errors
/// When the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[EventRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO events (id, sequence, kind, operation_id, certificate_id, organization_id, payload, created_at)
         SELECT id, sequence, kind, operation_id, certificate_id, organization_id, payload, created_at
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::jsonb[], $8::timestamptz[])
         AS new (id, sequence, kind, operation_id, certificate_id, organization_id, payload, created_at)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.sequence).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.kind.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.organization_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.payload.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.created_at).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// Events after a sequence, in order.
///
/// # Errors
/// When the database fails.
pub async fn list_after(
    conn: &mut PgConnection,
    after_sequence: i64,
    limit: i64,
) -> Result<Vec<EventRow>, DbError> {
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT id, sequence, kind, operation_id, certificate_id, organization_id, payload, created_at
         FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        after_sequence,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
