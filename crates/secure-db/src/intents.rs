//! `issuance_intents`: what will be signed, recorded before it is signed.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// One intent.
#[derive(Debug, Clone)]
pub struct IntentRow {
    /// Row id.
    pub id: Uuid,
    /// The operation; one intent each.
    pub operation_id: Uuid,
    /// The request; none for the certificates of authorities.
    pub request_id: Option<Uuid>,
    /// Who will sign.
    pub authority_id: Uuid,
    /// The certificate's identity, given in advance.
    pub certificate_id: Uuid,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// The very bytes to be signed.
    pub tbs_der: Vec<u8>,
    /// Their SHA-256.
    pub tbs_sha256: Vec<u8>,
    /// Profile name.
    pub profile: String,
    /// SHA-256 of the profile's document.
    pub profile_hash: Vec<u8>,
    /// Identity of the generated private key.
    pub private_key_id: Option<Uuid>,
    /// The generated private key, wrapped.
    pub wrapped_private_key: Option<Vec<u8>>,
    /// By which key it is wrapped.
    pub encryption_key_id: Option<Uuid>,
    /// `open`, `signed`, `abandoned`.
    pub state: String,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
}

/// Records intents. A second one for an operation, or a serial used before, is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[IntentRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO issuance_intents (id, operation_id, request_id, authority_id, certificate_id, serial_number, tbs_der,
             tbs_sha256, profile, profile_hash, private_key_id, wrapped_private_key, encryption_key_id, state,
             created_at, updated_at)
         SELECT id, operation_id, request_id, authority_id, certificate_id, serial_number, tbs_der, tbs_sha256, profile,
             profile_hash, private_key_id, wrapped_private_key, encryption_key_id, 'open', created_at, created_at
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bytea[], $7::bytea[], $8::bytea[],
             $9::text[], $10::bytea[], $11::uuid[], $12::bytea[], $13::uuid[], $14::timestamptz[])
         AS new (id, operation_id, request_id, authority_id, certificate_id, serial_number, tbs_der, tbs_sha256, profile,
             profile_hash, private_key_id, wrapped_private_key, encryption_key_id, created_at)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.request_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.authority_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.serial_number.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.tbs_der.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.tbs_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.profile.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.profile_hash.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.private_key_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.wrapped_private_key.clone()).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &rows.iter().map(|r| r.encryption_key_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.created_at).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// Marks open intents as signed; the wrapped key moves on to `private_keys`.
///
/// # Errors
/// `RowCount` when one of them was not open, or when the database fails.
pub async fn mark_signed(
    conn: &mut PgConnection,
    operation_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE issuance_intents SET state = 'signed', signed_at = $2, wrapped_private_key = NULL, updated_at = $2, version = version + 1
         WHERE operation_id = ANY ($1) AND state = 'open'",
        operation_ids,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, operation_ids.len() as u64)
}

/// The intent of an operation.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, operation_id: Uuid) -> Result<Option<IntentRow>, DbError> {
    let row = sqlx::query_as!(
        IntentRow,
        "SELECT id, operation_id, request_id, authority_id, certificate_id, serial_number, tbs_der, tbs_sha256, profile,
             profile_hash, private_key_id, wrapped_private_key, encryption_key_id, state, created_at
         FROM issuance_intents WHERE operation_id = $1",
        operation_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}
