//! What an imported authority brings along, compared with what is here.

use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// An authority by its name, while it is imported or later.
#[derive(Debug, Clone)]
pub struct NamedAuthority {
    /// Public identity.
    pub id: Uuid,
    /// `pending`, `active`, `suspended`, `retired`.
    pub status: String,
    /// Of its key; none while it is made and not imported.
    pub subject_key_id: Option<Vec<u8>>,
}

/// The authority with this name, or of this key.
///
/// # Errors
/// When the database fails.
pub async fn find_authority(conn: &mut PgConnection, name: &str) -> Result<Option<NamedAuthority>, DbError> {
    let row = sqlx::query_as!(
        NamedAuthority,
        "SELECT id, status, subject_key_id FROM certificate_authorities WHERE name = $1",
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// The name of the authority of this key.
///
/// # Errors
/// When the database fails.
pub async fn find_name_by_key(
    conn: &mut PgConnection,
    subject_key_id: &[u8],
) -> Result<Option<String>, DbError> {
    let name = sqlx::query_scalar!(
        "SELECT name FROM certificate_authorities WHERE subject_key_id = $1",
        subject_key_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(name)
}

/// A certificate that is here.
#[derive(Debug, Clone)]
pub struct KnownCertificate {
    /// Public identity.
    pub certificate_id: Uuid,
    /// Who signed it.
    pub authority_id: Option<Uuid>,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// SHA-256 of the DER.
    pub fingerprint_sha256: Vec<u8>,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// `active`, `on_hold`, `revoked`, `expired`.
    pub status: String,
}

/// The certificates that are here, of some fingerprints, and of some serial numbers of an authority.
///
/// # Errors
/// When the database fails.
pub async fn list_known(
    conn: &mut PgConnection,
    authority_id: Uuid,
    fingerprints: &[Vec<u8>],
    serial_numbers: &[Vec<u8>],
) -> Result<Vec<KnownCertificate>, DbError> {
    let rows = sqlx::query_as!(
        KnownCertificate,
        r#"SELECT certificate_id AS "certificate_id!", authority_id, organization_id, fingerprint_sha256 AS "fingerprint_sha256!",
             serial_number AS "serial_number!", status AS "status!"
         FROM certificates WHERE fingerprint_sha256 = ANY ($1)
         UNION
         SELECT certificate_id, authority_id, organization_id, fingerprint_sha256, serial_number, status
         FROM certificates WHERE authority_id = $2 AND serial_number = ANY ($3)"#,
        fingerprints,
        authority_id,
        serial_numbers
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Of these serial numbers of an authority, those that are revoked without a certificate.
///
/// # Errors
/// When the database fails.
pub async fn list_revoked_alone(
    conn: &mut PgConnection,
    authority_id: Uuid,
    serial_numbers: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, DbError> {
    let rows = sqlx::query_scalar!(
        "SELECT serial_number FROM certificate_revocations
         WHERE authority_id = $1 AND serial_number = ANY ($2) AND hold_released_at IS NULL AND certificate_id IS NULL",
        authority_id,
        serial_numbers
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Lets an authority's lists go on from a number that was used before.
///
/// # Errors
/// `RowCount` when its lists are past it, or when the database fails.
pub async fn continue_crl_numbers(
    conn: &mut PgConnection,
    authority_id: Uuid,
    crl_number: i64,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE crl_scopes SET crl_number = $2, version = version + 1
         WHERE authority_id = $1 AND shard = 0 AND full_crl_id IS NULL AND crl_number <= $2",
        authority_id,
        crl_number
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
