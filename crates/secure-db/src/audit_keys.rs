//! `audit_keys`: what Secure puts its name to statements with.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// A key that signs statements.
#[derive(Debug, Clone)]
pub struct AuditKeyRow {
    /// Row id, part of what the ciphertext is bound to.
    pub id: Uuid,
    /// Name that signatures carry.
    pub key_reference: String,
    /// Of the key.
    pub key_algorithm: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// PKCS#8, wrapped.
    pub encrypted_key_material: Vec<u8>,
    /// By which key.
    pub encryption_key_id: Uuid,
    /// `AES-256-GCM`.
    pub encryption_algorithm: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Adds the active key. Another active one is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &AuditKeyRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO audit_keys (id, key_reference, key_algorithm, public_key, encrypted_key_material, encryption_key_id,
             encryption_algorithm, state, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $8)",
        row.id,
        row.key_reference,
        row.key_algorithm,
        row.public_key,
        row.encrypted_key_material,
        row.encryption_key_id,
        row.encryption_algorithm,
        row.created_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The active key.
///
/// # Errors
/// When the database fails.
pub async fn find_active(conn: &mut PgConnection) -> Result<Option<AuditKeyRow>, DbError> {
    let row = sqlx::query_as!(
        AuditKeyRow,
        "SELECT id, key_reference, key_algorithm, public_key, encrypted_key_material, encryption_key_id, encryption_algorithm,
             created_at
         FROM audit_keys WHERE state = 'active'"
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A public half.
#[derive(Debug, Clone)]
pub struct PublicKeyRow {
    /// Name that signatures carry.
    pub key_reference: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// The public halves of all keys, newest first, 1,000 at most.
///
/// # Errors
/// When the database fails.
pub async fn list_public(conn: &mut PgConnection) -> Result<Vec<PublicKeyRow>, DbError> {
    let rows = sqlx::query_as!(
        PublicKeyRow,
        "SELECT key_reference, public_key, created_at FROM audit_keys ORDER BY created_at DESC LIMIT 1000"
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
