//! `encryption_keys`: the keys that wrap private keys.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// One version of a wrapping key.
#[derive(Debug, Clone)]
pub struct EncryptionKeyRow {
    /// Row id, part of what its ciphertexts are bound to.
    pub id: Uuid,
    /// Readable, unique name.
    pub key_identifier: String,
    /// What it wraps: `private_keys` or `authority_keys`.
    pub purpose: String,
    /// Whose keys; none for the installation's own.
    pub organization_id: Option<Uuid>,
    /// From 1.
    pub key_version: i32,
    /// `AES-256-GCM`.
    pub algorithm: String,
    /// Master key provider, `sealed-file`.
    pub provider: String,
    /// Which master key.
    pub master_key_reference: String,
    /// The key, encrypted by the master key.
    pub wrapped_key_material: Option<Vec<u8>>,
    /// `pre_active`, `active`, `decrypt_only`, `destroyed`, `compromised`.
    pub state: String,
    /// Wrappings done.
    pub use_count: i64,
    /// Wrappings allowed.
    pub max_uses: i64,
    /// End of its crypto-period.
    pub expires_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Adds a key, active at once. Another active key of the same purpose and organization is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &EncryptionKeyRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO encryption_keys (id, key_identifier, purpose, organization_id, key_version, algorithm, provider,
             master_key_reference, wrapped_key_material, state, use_count, max_uses, activated_at, expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14, $13, $14, $14)",
        row.id,
        row.key_identifier,
        row.purpose,
        row.organization_id,
        row.key_version,
        row.algorithm,
        row.provider,
        row.master_key_reference,
        row.wrapped_key_material,
        row.state,
        row.use_count,
        row.max_uses,
        row.expires_at,
        row.created_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The active key of a purpose and organization.
///
/// # Errors
/// When the database fails.
pub async fn find_active(
    conn: &mut PgConnection,
    purpose: &str,
    organization_id: Option<Uuid>,
) -> Result<Option<EncryptionKeyRow>, DbError> {
    let row = sqlx::query_as!(
        EncryptionKeyRow,
        "SELECT id, key_identifier, purpose, organization_id, key_version, algorithm, provider, master_key_reference,
             wrapped_key_material, state, use_count, max_uses, expires_at, created_at
         FROM encryption_keys
         WHERE purpose = $1 AND organization_id IS NOT DISTINCT FROM $2 AND state = 'active'",
        purpose,
        organization_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A key by id, whatever its state.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<EncryptionKeyRow>, DbError> {
    let row = sqlx::query_as!(
        EncryptionKeyRow,
        "SELECT id, key_identifier, purpose, organization_id, key_version, algorithm, provider, master_key_reference,
             wrapped_key_material, state, use_count, max_uses, expires_at, created_at
         FROM encryption_keys WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Ends the wrapping of an active key; what it wrapped still opens.
///
/// # Errors
/// `RowCount` when it is not active, or when the database fails.
pub async fn retire(conn: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE encryption_keys SET state = 'decrypt_only', rotated_at = $2, updated_at = $2, version = version + 1
         WHERE id = $1 AND state = 'active'",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Counts wrappings, many keys at once.
///
/// # Errors
/// When a key is no longer active or at its limit (`RowCount`), or the database fails.
pub async fn count_uses(
    conn: &mut PgConnection,
    ids: &[Uuid],
    uses: &[i64],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE encryption_keys SET use_count = use_count + new.uses, updated_at = $3, version = version + 1
         FROM unnest($1::uuid[], $2::bigint[]) AS new (id, uses)
         WHERE encryption_keys.id = new.id AND state = 'active' AND use_count + new.uses <= max_uses",
        ids,
        uses,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, ids.len() as u64)
}
