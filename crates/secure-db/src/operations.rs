//! `operations`: what each operation id did, so that a repeated call gets the first answer.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// An operation, reserved or finished.
#[derive(Debug, Clone)]
pub struct OperationRow {
    /// Row id.
    pub id: Uuid,
    /// The caller's id.
    pub operation_id: Uuid,
    /// `issue`, `revoke`, `reject`, …
    pub kind: String,
    /// SHA-256 of the exact request.
    pub request_sha256: Vec<u8>,
    /// The mandate it acted on.
    pub mandate: Option<serde_json::Value>,
    /// What it did; none until it is done.
    pub outcome: Option<serde_json::Value>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Remembers operations. A second one with the same id is a `Conflict`.
///
/// # Errors
/// `Conflict` on `operations_operation_id_key`, or when the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[OperationRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO operations (id, operation_id, kind, request_sha256, mandate, outcome, completed_at, created_at)
         SELECT id, operation_id, kind, request_sha256, mandate, outcome,
             CASE WHEN outcome IS NOT NULL THEN created_at END, created_at
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::jsonb[], $6::jsonb[], $7::timestamptz[])
         AS new (id, operation_id, kind, request_sha256, mandate, outcome, created_at)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.kind.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.request_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.mandate.clone()).collect::<Vec<_>>() as &[Option<serde_json::Value>],
        &rows.iter().map(|r| r.outcome.clone()).collect::<Vec<_>>() as &[Option<serde_json::Value>],
        &rows.iter().map(|r| r.created_at).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// What a reserved operation did in the end.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The caller's id.
    pub operation_id: Uuid,
    /// What it did.
    pub outcome: serde_json::Value,
}

/// Finishes reserved operations.
///
/// # Errors
/// `RowCount` when one is finished already, or when the database fails.
pub async fn complete_all(
    conn: &mut PgConnection,
    rows: &[Completion],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE operations SET outcome = new.outcome, completed_at = $3
         FROM unnest($1::uuid[], $2::jsonb[]) AS new (operation_id, outcome)
         WHERE operations.operation_id = new.operation_id AND operations.outcome IS NULL",
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.outcome.clone()).collect::<Vec<_>>(),
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// The operation with this id.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, operation_id: Uuid) -> Result<Option<OperationRow>, DbError> {
    let row = sqlx::query_as!(
        OperationRow,
        "SELECT id, operation_id, kind, request_sha256, mandate, outcome, created_at
         FROM operations WHERE operation_id = $1",
        operation_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}
