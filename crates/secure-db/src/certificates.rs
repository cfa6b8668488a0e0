//! `certificates`.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// A certificate as it is stored, once.
#[derive(Debug, Clone)]
pub struct CertificateRow {
    /// Row id; stays inside Secure.
    pub id: Uuid,
    /// Public identity.
    pub certificate_id: Uuid,
    /// Who signed it; none for one that was issued elsewhere.
    pub authority_id: Option<Uuid>,
    /// The request it came of.
    pub request_id: Option<Uuid>,
    /// The operation that made it.
    pub operation_id: Uuid,
    /// Its issuer's certificate; none for a root.
    pub issuer_certificate_id: Option<Uuid>,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// Who answers for it.
    pub owner_user_id: Option<Uuid>,
    /// The policy that governed it.
    pub policy_id: Option<Uuid>,
    /// Profile name.
    pub profile: String,
    /// `leaf`, `authority`, `responder`.
    pub category: String,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// First common name.
    pub common_name: Option<String>,
    /// JSON array of `dns:…` texts.
    pub sans: serde_json::Value,
    /// PEM.
    pub pem_encoded_cert: String,
    /// DER.
    pub der_encoded_cert: Vec<u8>,
    /// SHA-256 of the DER.
    pub fingerprint_sha256: Vec<u8>,
    /// By the authority's key.
    pub signature_algorithm: String,
    /// Of the subject's key.
    pub key_algorithm: String,
    /// In bits.
    pub key_size: i32,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// Subject key identifier.
    pub subject_key_id: Option<Vec<u8>>,
    /// Authority key identifier.
    pub authority_key_id: Option<Vec<u8>>,
    /// CA:TRUE.
    pub is_ca: bool,
    /// Start of validity.
    pub not_before: DateTime<Utc>,
    /// End of validity.
    pub not_after: DateTime<Utc>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// The scope of the list that its distribution point names; none for that of all certificates.
    pub crl_shard: Option<i16>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// What callers may see of a certificate.
#[derive(Debug, Clone)]
pub struct CertificateView {
    /// Public identity.
    pub certificate_id: Uuid,
    /// Who signed it.
    pub authority_id: Uuid,
    /// The request it came of.
    pub request_id: Option<Uuid>,
    /// The operation that made it.
    pub operation_id: Uuid,
    /// Its issuer's certificate; none for a root.
    pub issuer_certificate_id: Option<Uuid>,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// Who answers for it.
    pub owner_user_id: Option<Uuid>,
    /// Core's version of the metadata that names the owner; 0 for the owner at issuance.
    pub owner_version: i64,
    /// The policy that governed it.
    pub policy_id: Option<Uuid>,
    /// Profile name.
    pub profile: String,
    /// `leaf`, `authority`, `responder`.
    pub category: String,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// First common name.
    pub common_name: Option<String>,
    /// JSON array of `dns:…` texts.
    pub sans: serde_json::Value,
    /// PEM.
    pub pem_encoded_cert: String,
    /// DER.
    pub der_encoded_cert: Vec<u8>,
    /// SHA-256 of the DER.
    pub fingerprint_sha256: Vec<u8>,
    /// Of the subject's key.
    pub key_algorithm: String,
    /// Start of validity.
    pub not_before: DateTime<Utc>,
    /// End of validity.
    pub not_after: DateTime<Utc>,
    /// `active`, `on_hold`, `revoked`, `expired`.
    pub status: String,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// RFC 5280 name.
    pub revocation_reason: Option<String>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// The certificate that replaces it.
    pub renewed_by_certificate_id: Option<Uuid>,
    /// Whether it is, or was, that of an authority.
    pub of_authority: bool,
    /// Whether a live private key is stored.
    pub key_in_secure: bool,
}

/// Stores new certificates, active.
///
/// # Errors
/// `Conflict` when an operation, a serial or a fingerprint is there already, or when the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[CertificateRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO certificates (id, certificate_id, authority_id, request_id, operation_id, issuer_certificate_id,
             organization_id, owner_user_id, policy_id, profile, category, serial_number, subject, issuer, common_name, sans,
             pem_encoded_cert, der_encoded_cert, fingerprint_sha256, signature_algorithm, key_algorithm, key_size,
             public_key_sha256, subject_key_id, authority_key_id, is_ca, not_before, not_after, renewal_of_certificate_id,
             crl_shard, status, created_at, updated_at)
         SELECT id, certificate_id, authority_id, request_id, operation_id, issuer_certificate_id, organization_id,
             owner_user_id, policy_id, profile, category, serial_number, subject, issuer, common_name, sans, pem_encoded_cert,
             der_encoded_cert, fingerprint_sha256, signature_algorithm, key_algorithm, key_size, public_key_sha256,
             subject_key_id, authority_key_id, is_ca, not_before, not_after, renewal_of_certificate_id, crl_shard, 'active',
             created_at, created_at
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[],
             $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[], $15::text[], $16::jsonb[], $17::text[],
             $18::bytea[], $19::bytea[], $20::text[], $21::text[], $22::int[], $23::bytea[], $24::bytea[], $25::bytea[],
             $26::boolean[], $27::timestamptz[], $28::timestamptz[], $29::uuid[], $30::timestamptz[], $31::smallint[])
         AS new (id, certificate_id, authority_id, request_id, operation_id, issuer_certificate_id, organization_id,
             owner_user_id, policy_id, profile, category, serial_number, subject, issuer, common_name, sans, pem_encoded_cert,
             der_encoded_cert, fingerprint_sha256, signature_algorithm, key_algorithm, key_size, public_key_sha256,
             subject_key_id, authority_key_id, is_ca, not_before, not_after, renewal_of_certificate_id, created_at,
             crl_shard)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.authority_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.request_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.issuer_certificate_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.organization_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.owner_user_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.policy_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.profile.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.category.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.serial_number.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.subject.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.issuer.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.common_name.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|r| r.sans.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.pem_encoded_cert.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.der_encoded_cert.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.fingerprint_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.signature_algorithm.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.key_algorithm.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.key_size).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.public_key_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.subject_key_id.clone()).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &rows.iter().map(|r| r.authority_key_id.clone()).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &rows.iter().map(|r| r.is_ca).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.not_before).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.not_after).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.renewal_of_certificate_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.crl_shard).collect::<Vec<_>>() as &[Option<i16>],
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// Links certificates to those that replaced them.
///
/// # Errors
/// `RowCount` when one does not exist, or when the database fails.
pub async fn link_renewals(
    conn: &mut PgConnection,
    old: &[Uuid],
    new: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificates SET renewed_by_certificate_id = link.new_id, updated_at = $3, version = version + 1
         FROM unnest($1::uuid[], $2::uuid[]) AS link (old_id, new_id)
         WHERE certificates.certificate_id = link.old_id",
        old,
        new,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, old.len() as u64)
}

/// A change of status that holds only if the status is still the expected one.
#[derive(Debug, Clone)]
pub struct StatusChange {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The status it was decided on.
    pub from: String,
    /// The new status.
    pub to: String,
    /// Of the revocation; none when released.
    pub revoked_at: Option<DateTime<Utc>>,
    /// RFC 5280 name; none when released.
    pub reason: Option<String>,
}

/// Changes the status of certificates.
///
/// # Errors
/// `RowCount` when the status of one has changed meanwhile, or when the database fails.
pub async fn change_status(
    conn: &mut PgConnection,
    rows: &[StatusChange],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificates SET status = new.to_status, revoked_at = new.revoked_at, revocation_reason = new.reason,
             updated_at = $6, version = version + 1
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
             AS new (certificate_id, from_status, to_status, revoked_at, reason)
         WHERE certificates.certificate_id = new.certificate_id AND certificates.status = new.from_status
           AND certificates.deleted_at IS NULL",
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.from.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.to.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.revoked_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|r| r.reason.clone()).collect::<Vec<_>>() as &[Option<String>],
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// A certificate of this installation by its public identity.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, certificate_id: Uuid) -> Result<Option<CertificateView>, DbError> {
    let row = sqlx::query_as!(
        CertificateView,
        r#"SELECT certificate_id, authority_id AS "authority_id!", request_id, operation_id, issuer_certificate_id,
             organization_id, owner_user_id, owner_version, policy_id, profile, category, serial_number, subject, issuer, common_name, sans,
             pem_encoded_cert, der_encoded_cert, fingerprint_sha256, key_algorithm, not_before, not_after, status,
             revoked_at, revocation_reason, renewal_of_certificate_id, renewed_by_certificate_id,
             EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = certificates.certificate_id) AS "of_authority!",
             EXISTS (SELECT FROM private_keys k WHERE k.certificate_id = certificates.certificate_id AND k.deleted_at IS NULL)
                 AS "key_in_secure!"
         FROM certificates WHERE certificate_id = $1 AND authority_id IS NOT NULL AND deleted_at IS NULL"#,
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}
