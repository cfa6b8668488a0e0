//! What an imported authority brings along, compared with what is here.

use chrono::{DateTime, Utc};
use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// An authority by its name, while it is imported or later.
#[derive(Debug, Clone)]
pub struct NamedAuthority {
    /// Public identity.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// `pending`, `active`, `suspended`, `retired`.
    pub status: String,
    /// RFC 4514.
    pub subject: String,
    /// SHA-256 of the SubjectPublicKeyInfo; none while it is made and not imported.
    pub public_key_sha256: Option<Vec<u8>>,
    /// Its issuer; none for one whose issuer is elsewhere.
    pub parent_authority_id: Option<Uuid>,
    /// PEM of the certificates above, when they are not of this installation.
    pub issuer_chain_pem: Option<String>,
    /// What it may sign.
    pub envelope: serde_json::Value,
    /// CRL distribution point.
    pub crl_url: String,
}

/// The authorities with this name, or of this key: two at most.
///
/// # Errors
/// When the database fails.
pub async fn list_authorities(
    conn: &mut PgConnection,
    name: &str,
    public_key_sha256: &[u8],
) -> Result<Vec<NamedAuthority>, DbError> {
    let rows = sqlx::query_as!(
        NamedAuthority,
        r#"SELECT a.id, a.name, a.status, a.subject, coalesce(c.public_key_sha256, a.public_key_sha256) AS public_key_sha256,
             a.parent_authority_id, a.issuer_chain_pem, a.envelope, a.crl_url
         FROM certificate_authorities a LEFT JOIN certificates c ON c.certificate_id = a.certificate_id
         WHERE a.name = $1 OR a.public_key_sha256 = $2 OR c.public_key_sha256 = $2"#,
        name,
        public_key_sha256
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
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
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// `active`, `on_hold`, `revoked`, `expired`.
    pub status: String,
    /// Whether a hold of it was released or followed by a revocation.
    pub was_on_hold: bool,
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
        r#"SELECT c.certificate_id, c.authority_id, c.organization_id, c.fingerprint_sha256, c.serial_number, c.public_key_sha256,
             c.status, EXISTS (SELECT FROM certificate_revocations r
                               WHERE r.certificate_id = c.certificate_id AND r.hold_released_at IS NOT NULL) AS "was_on_hold!"
         FROM certificates c
         WHERE c.id IN (SELECT id FROM certificates WHERE fingerprint_sha256 = ANY ($1)
                        UNION SELECT id FROM certificates WHERE authority_id = $2 AND serial_number = ANY ($3))"#,
        fingerprints,
        authority_id,
        serial_numbers
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A serial number that is revoked without a certificate.
#[derive(Debug, Clone)]
pub struct RevokedAlone {
    /// Row id.
    pub id: Uuid,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// RFC 5280 name.
    pub reason: String,
    /// When.
    pub revocation_date: DateTime<Utc>,
}

/// Of these serial numbers of an authority, those that are revoked without a certificate.
///
/// # Errors
/// When the database fails.
pub async fn list_revoked_alone(
    conn: &mut PgConnection,
    authority_id: Uuid,
    serial_numbers: &[Vec<u8>],
) -> Result<Vec<RevokedAlone>, DbError> {
    let rows = sqlx::query_as!(
        RevokedAlone,
        "SELECT id, serial_number, reason, revocation_date FROM certificate_revocations
         WHERE authority_id = $1 AND serial_number = ANY ($2) AND certificate_id IS NULL",
        authority_id,
        serial_numbers
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Gives a revocation its certificate, which came later.
///
/// # Errors
/// `RowCount` when it has one, or when the database fails.
pub async fn adopt_revocation(
    conn: &mut PgConnection,
    id: Uuid,
    certificate_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let adopted = sqlx::query_scalar!("SELECT adopt_revocation($1, $2, $3)", id, certificate_id, now)
        .fetch_one(conn)
        .await?;
    expect_adopted(adopted)
}

/// Gives a certificate its issuer, which came later.
///
/// # Errors
/// `RowCount` when it has one, or when the database fails.
pub async fn adopt_certificate(
    conn: &mut PgConnection,
    certificate_id: Uuid,
    authority_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let adopted =
        sqlx::query_scalar!("SELECT adopt_certificate($1, $2, $3)", certificate_id, authority_id, now)
            .fetch_one(conn)
            .await?;
    expect_adopted(adopted)
}

fn expect_adopted(adopted: Option<bool>) -> Result<(), DbError> {
    if adopted == Some(true) { Ok(()) } else { Err(DbError::RowCount { expected: 1, got: 0 }) }
}

/// Lets an authority's lists go on from a number that was used before; a lower one changes nothing. The first list counts
/// from the old one's date: what ended after that has not been on a list after its end.
///
/// # Errors
/// When the database fails.
pub async fn continue_crls(
    conn: &mut PgConnection,
    authority_id: Uuid,
    (crl_number, this_update): (i64, DateTime<Utc>),
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE crl_scopes SET crl_number = greatest(crl_number, $2), version = version + 1,
             last_crl_at = CASE WHEN full_crl_id IS NULL THEN $3 ELSE last_crl_at END
         WHERE authority_id = $1 AND shard = 0",
        authority_id,
        crl_number,
        this_update
    )
    .execute(conn)
    .await?;
    Ok(())
}
