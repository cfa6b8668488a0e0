//! `private_keys`: wrapped keys, one to one with certificates.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// A wrapped key.
#[derive(Debug, Clone)]
pub struct PrivateKeyRow {
    /// Row id, part of what the ciphertext is bound to.
    pub id: Uuid,
    /// Whose key.
    pub certificate_id: Uuid,
    /// Whose certificate.
    pub organization_id: Option<Uuid>,
    /// PKCS#8, wrapped.
    pub encrypted_key_material: Vec<u8>,
    /// By which key.
    pub encryption_key_id: Uuid,
    /// `AES-256-GCM`.
    pub encryption_algorithm: String,
    /// Of the key itself.
    pub key_algorithm: String,
    /// In bits.
    pub key_size: i32,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// A key that moves from the intent of its certificate.
#[derive(Debug, Clone)]
pub struct NewPrivateKeyRow {
    /// The operation whose intent holds the wrapped key.
    pub operation_id: Uuid,
    /// Whose certificate.
    pub organization_id: Option<Uuid>,
    /// `AES-256-GCM`.
    pub encryption_algorithm: String,
    /// Of the key itself.
    pub key_algorithm: String,
    /// In bits.
    pub key_size: i32,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Moves wrapped keys from their open intents. The ciphertext is the intent's: a rotation may have made it anew since
/// anybody read it.
///
/// # Errors
/// `Conflict` when the certificate has a key, `RowCount` when an intent holds none, or when the database fails.
pub async fn take_from_intents(conn: &mut PgConnection, rows: &[NewPrivateKeyRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO private_keys (id, certificate_id, organization_id, encrypted_key_material, encryption_key_id,
             encryption_algorithm, key_algorithm, key_size, public_key_sha256, origin, created_at, updated_at)
         SELECT intent.private_key_id, intent.certificate_id, new.organization_id, intent.wrapped_private_key,
             intent.encryption_key_id, encryption_algorithm, key_algorithm, key_size, public_key_sha256, 'generated',
             new.created_at, new.created_at
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::bytea[], $7::timestamptz[])
             AS new (operation_id, organization_id, encryption_algorithm, key_algorithm, key_size, public_key_sha256, created_at)
         JOIN issuance_intents intent ON intent.operation_id = new.operation_id
         WHERE intent.wrapped_private_key IS NOT NULL",
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.organization_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.encryption_algorithm.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.key_algorithm.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.key_size).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.public_key_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.created_at).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// The wrapped key of a certificate, unless it is deleted or lives in a security module.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, certificate_id: Uuid) -> Result<Option<PrivateKeyRow>, DbError> {
    let row = sqlx::query_as!(
        PrivateKeyRow,
        r#"SELECT id, certificate_id, organization_id, encrypted_key_material AS "encrypted_key_material!",
             encryption_key_id AS "encryption_key_id!", encryption_algorithm AS "encryption_algorithm!", key_algorithm, key_size,
             public_key_sha256, created_at
         FROM private_keys
         WHERE certificate_id = $1 AND deleted_at IS NULL AND encrypted_key_material IS NOT NULL
           AND NOT EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = private_keys.certificate_id)"#,
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A wrapped key by its own id, unless it is deleted or lives in a security module.
///
/// # Errors
/// When the database fails.
pub async fn find_by_id(conn: &mut PgConnection, id: Uuid) -> Result<Option<PrivateKeyRow>, DbError> {
    let row = sqlx::query_as!(
        PrivateKeyRow,
        r#"SELECT id, certificate_id, organization_id, encrypted_key_material AS "encrypted_key_material!",
             encryption_key_id AS "encryption_key_id!", encryption_algorithm AS "encryption_algorithm!", key_algorithm, key_size,
             public_key_sha256, created_at
         FROM private_keys WHERE id = $1 AND deleted_at IS NULL AND encrypted_key_material IS NOT NULL"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A key that lives in a security module.
#[derive(Debug, Clone)]
pub struct TokenKeyRow {
    /// Row id; the module knows the key by it.
    pub id: Uuid,
    /// Whose key.
    pub certificate_id: Uuid,
    /// Of the key itself.
    pub key_algorithm: String,
    /// In bits.
    pub key_size: i32,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// Which module: `pkcs11:` and the token's label.
    pub hsm_provider: String,
    /// The key's name there.
    pub hsm_key_reference: String,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Stores what is known of a key in a security module.
///
/// # Errors
/// `Conflict` when the certificate has a key, or when the database fails.
pub async fn insert_in_token(conn: &mut PgConnection, row: &TokenKeyRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO private_keys (id, certificate_id, key_algorithm, key_size, public_key_sha256, origin, hsm_provider,
             hsm_key_reference, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, 'hsm', $6, $7, $8, $8)",
        row.id,
        row.certificate_id,
        row.key_algorithm,
        row.key_size,
        row.public_key_sha256,
        row.hsm_provider,
        row.hsm_key_reference,
        row.created_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// A key in a security module by its own id, unless it is deleted.
///
/// # Errors
/// When the database fails.
pub async fn find_in_token(conn: &mut PgConnection, id: Uuid) -> Result<Option<TokenKeyRow>, DbError> {
    let row = sqlx::query_as!(
        TokenKeyRow,
        r#"SELECT id, certificate_id, key_algorithm, key_size, public_key_sha256, hsm_provider AS "hsm_provider!",
             hsm_key_reference AS "hsm_key_reference!", created_at
         FROM private_keys
         WHERE id = $1 AND deleted_at IS NULL AND destroyed_at IS NULL AND hsm_key_reference IS NOT NULL"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Counts an access.
///
/// # Errors
/// When the key is gone, or the database fails.
pub async fn count_access(conn: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE private_keys SET access_count = access_count + 1, last_accessed_at = $2, updated_at = $2,
             version = version + 1
         WHERE id = $1 AND destroyed_at IS NULL",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// A key that was made elsewhere.
#[derive(Debug, Clone)]
pub struct ImportedKeyRow {
    /// Row id, part of what the ciphertext is bound to.
    pub id: Uuid,
    /// Whose key.
    pub certificate_id: Uuid,
    /// Whose certificate; none of an authority.
    pub organization_id: Option<Uuid>,
    /// PKCS#8, wrapped.
    pub encrypted_key_material: Vec<u8>,
    /// By which key.
    pub encryption_key_id: Uuid,
    /// `AES-256-GCM`.
    pub encryption_algorithm: String,
    /// Of the key itself.
    pub key_algorithm: String,
    /// In bits.
    pub key_size: i32,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Stores a key that was made elsewhere.
///
/// # Errors
/// `Conflict` when the certificate has or had a key, or when the database fails.
pub async fn insert_imported(conn: &mut PgConnection, row: &ImportedKeyRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO private_keys (id, certificate_id, organization_id, encrypted_key_material, encryption_key_id,
             encryption_algorithm, key_algorithm, key_size, public_key_sha256, origin, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'imported', $10, $10)",
        row.id,
        row.certificate_id,
        row.organization_id,
        row.encrypted_key_material,
        row.encryption_key_id,
        row.encryption_algorithm,
        row.key_algorithm,
        row.key_size,
        row.public_key_sha256,
        row.created_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// What is known of a key beside its material.
#[derive(Debug, Clone)]
pub struct KeyStateRow {
    /// Row id.
    pub id: Uuid,
    /// Whose key.
    pub certificate_id: Uuid,
    /// Of the key itself.
    pub key_algorithm: String,
    /// `generated`, `imported`, `hsm`.
    pub origin: String,
    /// Whether it lives in a security module.
    pub hsm: bool,
    /// Who may export it.
    pub access_control: serde_json::Value,
    /// Whether it may leave Secure.
    pub exportable: bool,
    /// How often it was used or exported.
    pub access_count: i64,
    /// When it was last.
    pub last_accessed_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When its material was erased.
    pub destroyed_at: Option<DateTime<Utc>>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// Counts the row's changes.
    pub version: i64,
}

/// The state of a certificate's key, whatever it is.
///
/// # Errors
/// When the database fails.
pub async fn find_state(
    conn: &mut PgConnection,
    certificate_id: Uuid,
) -> Result<Option<KeyStateRow>, DbError> {
    let row = sqlx::query_as!(
        KeyStateRow,
        r#"SELECT id, certificate_id, key_algorithm, origin, (hsm_key_reference IS NOT NULL) AS "hsm!", access_control, exportable,
             access_count, last_accessed_at, deleted_at, destroyed_at, created_at, version
         FROM private_keys WHERE certificate_id = $1
           AND NOT EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = private_keys.certificate_id)"#,
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// The wrapped key of a certificate, deleted or not, unless it was erased or lives in a security module.
///
/// # Errors
/// When the database fails.
pub async fn find_kept(
    conn: &mut PgConnection,
    certificate_id: Uuid,
) -> Result<Option<PrivateKeyRow>, DbError> {
    let row = sqlx::query_as!(
        PrivateKeyRow,
        r#"SELECT id, certificate_id, organization_id, encrypted_key_material AS "encrypted_key_material!",
             encryption_key_id AS "encryption_key_id!", encryption_algorithm AS "encryption_algorithm!", key_algorithm, key_size,
             public_key_sha256, created_at
         FROM private_keys WHERE certificate_id = $1 AND encrypted_key_material IS NOT NULL
           AND NOT EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = private_keys.certificate_id)"#,
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// New rules of a key, or its deletion.
#[derive(Debug, Clone)]
pub struct AccessRow {
    /// Row id.
    pub id: Uuid,
    /// The version that was read.
    pub version: i64,
    /// Whether it may leave Secure.
    pub exportable: bool,
    /// Who may export it.
    pub access_control: serde_json::Value,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Sets the rules of a key.
///
/// # Errors
/// `RowCount` when it changed since it was read, or was erased; or when the database fails.
pub async fn change_access(
    conn: &mut PgConnection,
    row: &AccessRow,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE private_keys SET exportable = $3, access_control = $4, deleted_at = $5, updated_at = $6, version = version + 1
         WHERE id = $1 AND version = $2 AND destroyed_at IS NULL",
        row.id,
        row.version,
        row.exportable,
        row.access_control,
        row.deleted_at,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// A deleted key whose time is over.
#[derive(Debug, Clone)]
pub struct DeletedKeyRow {
    /// Row id.
    pub id: Uuid,
    /// Whose key.
    pub certificate_id: Uuid,
    /// Whose certificate.
    pub organization_id: Option<Uuid>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Keys that were deleted before `until` and are not erased yet. Those in a security module are not among them.
///
/// # Errors
/// When the database fails.
pub async fn list_to_erase(
    conn: &mut PgConnection,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DeletedKeyRow>, DbError> {
    let rows = sqlx::query_as!(
        DeletedKeyRow,
        "SELECT id, certificate_id, organization_id, deleted_at FROM private_keys
         WHERE deleted_at < $1 AND destroyed_at IS NULL AND hsm_key_reference IS NULL ORDER BY deleted_at LIMIT $2",
        until,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Erases the material of deleted keys.
///
/// # Errors
/// `RowCount` when one was restored or erased meanwhile, or when the database fails.
pub async fn erase(conn: &mut PgConnection, ids: &[Uuid], now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE private_keys SET encrypted_key_material = NULL, destroyed_at = $2, updated_at = $2, version = version + 1
         WHERE id = ANY ($1) AND deleted_at IS NOT NULL AND destroyed_at IS NULL",
        ids,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, ids.len() as u64)
}
