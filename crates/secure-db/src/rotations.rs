//! `key_rotation_history`: rotations of encryption keys and of the master key, batch by batch.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A rotation as a whole.
#[derive(Debug, Clone)]
pub struct RotationRow {
    /// The rotation's identity.
    pub rotation_id: Uuid,
    /// What the rotated key protects; `master_key` for the master key.
    pub purpose: String,
    /// Whose key.
    pub organization_id: Option<Uuid>,
    /// The version that is left.
    pub from_encryption_key_id: Option<Uuid>,
    /// The version that takes over.
    pub to_encryption_key_id: Option<Uuid>,
    /// The master key that is left.
    pub from_master_key: Option<String>,
    /// The master key that takes over.
    pub to_master_key: Option<String>,
    /// `scheduled`, `use_limit`, `compromise`, `operator`, `leftover`.
    pub rotation_reason: String,
    /// `running`, `succeeded`, `partial`, `failed`.
    pub status: String,
    /// Ciphertexts under the old key at the start.
    pub rows_total: i64,
    /// Re-encrypted so far.
    pub rows_reencrypted: i64,
    /// Could not be re-encrypted.
    pub rows_failed: i64,
    /// Who started it.
    pub initiated_by: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One batch of a rotation.
#[derive(Debug, Clone)]
pub struct BatchRow {
    /// Row id.
    pub id: Uuid,
    /// Which rotation.
    pub rotation_id: Uuid,
    /// From 1; another process that did this one before is a `Conflict`.
    pub batch: i32,
    /// Ciphertexts in it.
    pub rows_total: i64,
    /// Of these, not re-encrypted.
    pub rows_failed: i64,
    /// The last one.
    pub last_row_id: Option<Uuid>,
    /// What failed, with the reason: an array.
    pub failures: Value,
    /// When.
    pub at: DateTime<Utc>,
}

/// The end of a rotation.
#[derive(Debug, Clone)]
pub struct EndRow {
    /// Which rotation.
    pub rotation_id: Uuid,
    /// `succeeded` or `partial`.
    pub status: String,
    /// Signed statement that nothing is left.
    pub receipt: Option<Value>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Begins a rotation. A second one from the same key is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn begin(conn: &mut PgConnection, id: Uuid, row: &RotationRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO key_rotation_history (id, rotation_id, batch, purpose, organization_id, from_encryption_key_id,
             to_encryption_key_id, from_master_key, to_master_key, rotation_reason, status, rows_total, initiated_by, started_at,
             created_at, updated_at)
         VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, $9, 'running', $10, $11, $12, $12, $12)",
        id,
        row.rotation_id,
        row.purpose,
        row.organization_id,
        row.from_encryption_key_id,
        row.to_encryption_key_id,
        row.from_master_key,
        row.to_master_key,
        row.rotation_reason,
        row.rows_total,
        row.initiated_by,
        row.started_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Records a batch, and counts it in its rotation.
///
/// # Errors
/// `Conflict` when another process did this batch, `RowCount` when the rotation is over, or the database fails.
pub async fn record_batch(conn: &mut PgConnection, row: &BatchRow) -> Result<(), DbError> {
    let counted = sqlx::query!(
        "UPDATE key_rotation_history SET rows_reencrypted = rows_reencrypted + $2::bigint - $3::bigint, rows_failed = rows_failed + $3::bigint,
             last_row_id = $4, updated_at = $5, version = version + 1
         WHERE rotation_id = $1 AND batch = 0 AND status = 'running'",
        row.rotation_id,
        row.rows_total,
        row.rows_failed,
        row.last_row_id,
        row.at
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&counted, 1)?;
    let stored = sqlx::query!(
        "INSERT INTO key_rotation_history (id, rotation_id, batch, purpose, organization_id, from_encryption_key_id,
             to_encryption_key_id, from_master_key, to_master_key, rotation_reason, status, rows_total, rows_reencrypted, rows_failed,
             last_row_id, failure_details, initiated_by, started_at, finished_at, created_at, updated_at)
         SELECT $1, rotation_id, $3, purpose, organization_id, from_encryption_key_id, to_encryption_key_id, from_master_key,
             to_master_key, rotation_reason, CASE WHEN $5::bigint > 0 THEN 'partial' ELSE 'succeeded' END, $4::bigint, $4::bigint - $5::bigint, $5::bigint, $6, $7,
             initiated_by, $8, $8, $8, $8
         FROM key_rotation_history WHERE rotation_id = $2 AND batch = 0",
        row.id,
        row.rotation_id,
        row.batch,
        row.rows_total,
        row.rows_failed,
        row.last_row_id,
        row.failures,
        row.at
    )
    .execute(conn)
    .await?;
    expect_rows(&stored, 1)
}

/// Ends a rotation. One of the master key has not succeeded while an encryption key is under the old one.
///
/// # Errors
/// `RowCount` when it is over, or something is left; or the database fails.
pub async fn finish(conn: &mut PgConnection, row: &EndRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE key_rotation_history SET status = $2, receipt = $3, finished_at = $4, updated_at = $4, version = version + 1
         WHERE rotation_id = $1 AND batch = 0 AND status = 'running'
           AND ($2 <> 'succeeded' OR NOT EXISTS (
                SELECT FROM encryption_keys k
                WHERE k.master_key_reference = key_rotation_history.from_master_key AND k.wrapped_key_material IS NOT NULL))",
        row.rotation_id,
        row.status,
        row.receipt,
        row.at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// A rotation that is under way, with the number of its last batch.
#[derive(Debug, Clone)]
pub struct RunningRow {
    /// The rotation's identity.
    pub rotation_id: Uuid,
    /// Number of its last batch; 0 before the first.
    pub last_batch: i32,
    /// Ciphertexts under the old key at the start.
    pub rows_total: i64,
    /// Batches' rows so far.
    pub rows_done: i64,
}

/// The running rotation away from an encryption key or a master key.
///
/// # Errors
/// When the database fails.
pub async fn find_running(
    conn: &mut PgConnection,
    from_encryption_key_id: Option<Uuid>,
    from_master_key: Option<&str>,
) -> Result<Option<RunningRow>, DbError> {
    let row = sqlx::query_as!(
        RunningRow,
        r#"SELECT rotation_id, rows_total, rows_reencrypted + rows_failed AS "rows_done!",
             (SELECT max(b.batch) FROM key_rotation_history b WHERE b.rotation_id = r.rotation_id) AS "last_batch!"
         FROM key_rotation_history r
         WHERE status = 'running' AND batch = 0 AND from_encryption_key_id IS NOT DISTINCT FROM $1
           AND from_master_key IS NOT DISTINCT FROM $2"#,
        from_encryption_key_id,
        from_master_key
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Rotations, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection, limit: i64) -> Result<Vec<RotationRow>, DbError> {
    let rows = sqlx::query_as!(
        RotationRow,
        "SELECT rotation_id, purpose, organization_id, from_encryption_key_id, to_encryption_key_id, from_master_key, to_master_key,
             rotation_reason, status, rows_total, rows_reencrypted, rows_failed, initiated_by, started_at, finished_at
         FROM key_rotation_history WHERE batch = 0 ORDER BY started_at DESC LIMIT $1",
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
