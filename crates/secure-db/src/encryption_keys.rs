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

/// Adds a key, active at once or later. Another active key of the same purpose and organization is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &EncryptionKeyRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO encryption_keys (id, key_identifier, purpose, organization_id, key_version, algorithm, provider,
             master_key_reference, wrapped_key_material, state, use_count, max_uses, activated_at, expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $10 = 'active' THEN $14::timestamptz END, $13, $14, $14)",
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
/// When a key is no longer active, past its crypto-period or at its limit (`RowCount`), or the database fails.
pub async fn count_uses(
    conn: &mut PgConnection,
    ids: &[Uuid],
    uses: &[i64],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE encryption_keys SET use_count = use_count + new.uses, updated_at = $3, version = version + 1
         FROM unnest($1::uuid[], $2::bigint[]) AS new (id, uses)
         WHERE encryption_keys.id = new.id AND state = 'active' AND use_count + new.uses <= max_uses AND expires_at > $3",
        ids,
        uses,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, ids.len() as u64)
}

/// Lets a key that was made ahead wrap from now on.
///
/// # Errors
/// `Conflict` while another one is active, `RowCount` when it was not made ahead, or when the database fails.
pub async fn activate(conn: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE encryption_keys SET state = 'active', activated_at = $2, updated_at = $2, version = version + 1
         WHERE id = $1 AND state = 'pre_active'",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Marks a key as known to others: it wraps no more, and what is under it must be moved.
///
/// # Errors
/// `RowCount` when it is destroyed or marked already, or when the database fails.
pub async fn mark_compromised(conn: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE encryption_keys SET state = 'compromised', rotated_at = COALESCE(rotated_at, $2), updated_at = $2,
             version = version + 1
         WHERE id = $1 AND state IN ('pre_active', 'active', 'decrypt_only')",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyQuery {
    /// Of this purpose.
    pub purpose: Option<String>,
    /// Of this organization.
    pub organization_id: Option<Uuid>,
    /// Of this name.
    pub key_identifier: Option<String>,
    /// Under another master key than this one.
    pub not_under_master_key: Option<String>,
    /// Whether those without material are left out.
    pub not_destroyed: bool,
    /// After this key.
    pub after: Uuid,
    /// Rows at most.
    pub limit: i64,
}

/// Keys in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection, query: &KeyQuery) -> Result<Vec<EncryptionKeyRow>, DbError> {
    let rows = sqlx::query_as!(
        EncryptionKeyRow,
        "SELECT id, key_identifier, purpose, organization_id, key_version, algorithm, provider, master_key_reference,
             wrapped_key_material, state, use_count, max_uses, expires_at, created_at
         FROM encryption_keys
         WHERE ($1::text IS NULL OR purpose = $1) AND ($2::uuid IS NULL OR organization_id = $2)
           AND ($3::text IS NULL OR key_identifier = $3)
           AND ($4::text IS NULL OR (master_key_reference <> $4 AND wrapped_key_material IS NOT NULL))
           AND (NOT $5 OR wrapped_key_material IS NOT NULL) AND id > $6
         ORDER BY id LIMIT $7",
        query.purpose,
        query.organization_id,
        query.key_identifier,
        query.not_under_master_key,
        query.not_destroyed,
        query.after,
        query.limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The newest version of a purpose and organization; 0 when there is none.
///
/// # Errors
/// When the database fails.
pub async fn newest_version(
    conn: &mut PgConnection,
    purpose: &str,
    organization_id: Option<Uuid>,
) -> Result<i32, DbError> {
    let newest = sqlx::query_scalar!(
        r#"SELECT COALESCE(max(key_version), 0) AS "newest!" FROM encryption_keys
         WHERE purpose = $1 AND organization_id IS NOT DISTINCT FROM $2"#,
        purpose,
        organization_id
    )
    .fetch_one(conn)
    .await?;
    Ok(newest)
}

/// How many keys with material are under each master key.
///
/// # Errors
/// When the database fails.
pub async fn count_by_master_key(conn: &mut PgConnection) -> Result<Vec<(String, i64)>, DbError> {
    let rows = sqlx::query!(
        r#"SELECT master_key_reference, count(*) AS "keys!" FROM encryption_keys
         WHERE wrapped_key_material IS NOT NULL GROUP BY master_key_reference ORDER BY master_key_reference LIMIT 100"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.master_key_reference, row.keys)).collect())
}

/// A key wrapped anew by another master key.
#[derive(Debug, Clone)]
pub struct RewrappedKey {
    /// Which key.
    pub id: Uuid,
    /// As it was wrapped.
    pub old: Vec<u8>,
    /// As it is wrapped now.
    pub new: Vec<u8>,
    /// The new master key's provider.
    pub provider: String,
    /// The new master key.
    pub master_key_reference: String,
}

/// Puts a key under another master key, unless it changed since it was read.
///
/// # Errors
/// When the database fails.
pub async fn rewrap(conn: &mut PgConnection, row: &RewrappedKey, now: DateTime<Utc>) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE encryption_keys SET wrapped_key_material = $3, provider = $4, master_key_reference = $5, updated_at = $6,
             version = version + 1
         WHERE id = $1 AND wrapped_key_material = $2",
        row.id,
        row.old,
        row.new,
        row.provider,
        row.master_key_reference,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How near the active keys are to their limits.
#[derive(Debug, Clone)]
pub struct Wear {
    /// Active keys.
    pub active: i64,
    /// Largest share of allowed uses that is used up, 0 to 1.
    pub uses: f64,
    /// The first end of a crypto-period; none without keys.
    pub first_end: Option<DateTime<Utc>>,
    /// Keys that wrap no more but are not empty or destroyed.
    pub left_behind: i64,
}

/// How near the active keys are to their limits.
///
/// # Errors
/// When the database fails.
pub async fn wear(conn: &mut PgConnection) -> Result<Wear, DbError> {
    let wear = sqlx::query_as!(
        Wear,
        r#"SELECT count(*) FILTER (WHERE state = 'active') AS "active!",
             COALESCE(max(use_count::float8 / max_uses) FILTER (WHERE state = 'active'), 0) AS "uses!",
             min(expires_at) FILTER (WHERE state = 'active') AS first_end,
             count(*) FILTER (WHERE state IN ('decrypt_only', 'compromised')) AS "left_behind!"
         FROM encryption_keys"#
    )
    .fetch_one(conn)
    .await?;
    Ok(wear)
}

/// Active keys that end before `until` or are nearly used up, and keys that wrap no more but are not destroyed: what a
/// scheduled rotation has to do. One that left rows behind since `not_since` waits.
///
/// # Errors
/// When the database fails.
pub async fn list_due(
    conn: &mut PgConnection,
    until: DateTime<Utc>,
    not_since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<EncryptionKeyRow>, DbError> {
    let rows = sqlx::query_as!(
        EncryptionKeyRow,
        "SELECT id, key_identifier, purpose, organization_id, key_version, algorithm, provider, master_key_reference,
             wrapped_key_material, state, use_count, max_uses, expires_at, created_at
         FROM encryption_keys k
         WHERE ((state = 'active' AND (expires_at < $1 OR use_count > max_uses / 10 * 9)) OR state IN ('decrypt_only', 'compromised'))
           AND NOT EXISTS (SELECT FROM key_rotation_history h
                           WHERE h.from_encryption_key_id = k.id AND h.status = 'partial' AND h.started_at > $2)
         ORDER BY id LIMIT $3",
        until,
        not_since,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
