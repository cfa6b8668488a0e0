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

/// Stores wrapped keys.
///
/// # Errors
/// `Conflict` when the certificate has a key, or when the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[PrivateKeyRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO private_keys (id, certificate_id, organization_id, encrypted_key_material, encryption_key_id,
             encryption_algorithm, key_algorithm, key_size, public_key_sha256, origin, created_at, updated_at)
         SELECT id, certificate_id, organization_id, encrypted_key_material, encryption_key_id, encryption_algorithm,
             key_algorithm, key_size, public_key_sha256, 'generated', created_at, created_at
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bytea[], $5::uuid[], $6::text[], $7::text[], $8::int[],
             $9::bytea[], $10::timestamptz[])
         AS new (id, certificate_id, organization_id, encrypted_key_material, encryption_key_id, encryption_algorithm,
             key_algorithm, key_size, public_key_sha256, created_at)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.organization_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.encrypted_key_material.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.encryption_key_id).collect::<Vec<_>>(),
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
         WHERE certificate_id = $1 AND deleted_at IS NULL AND encrypted_key_material IS NOT NULL"#,
        certificate_id
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
         WHERE id = $1 AND deleted_at IS NULL",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
