//! `ceremonies`: what operators agreed on, and what was done.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A ceremony that was held.
#[derive(Debug, Clone)]
pub struct CeremonyRow {
    /// Row id.
    pub id: Uuid,
    /// Name for people.
    pub title: String,
    /// The plan, as it was approved.
    pub plan: Value,
    /// SHA-256 of its canonical JSON.
    pub plan_sha256: Vec<u8>,
    /// Signed statement of what was done.
    pub transcript: Value,
    /// The operator at the keyboard.
    pub held_by: String,
    /// When it ended.
    pub held_at: DateTime<Utc>,
}

/// Stores a ceremony.
///
/// # Errors
/// `Conflict` when one with this plan is stored, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &CeremonyRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO ceremonies (id, title, plan, plan_sha256, transcript, held_by, held_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        row.id,
        row.title,
        row.plan,
        row.plan_sha256,
        row.transcript,
        row.held_by,
        row.held_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The transcript of the ceremony with this plan.
///
/// # Errors
/// When the database fails.
pub async fn find_transcript(conn: &mut PgConnection, plan_sha256: &[u8]) -> Result<Option<Value>, DbError> {
    let found = sqlx::query_scalar!("SELECT transcript FROM ceremonies WHERE plan_sha256 = $1", plan_sha256)
        .fetch_optional(conn)
        .await?;
    Ok(found)
}
