//! `certificate_authorities`.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::crls;

/// An authority about to be made.
#[derive(Debug, Clone)]
pub struct NewAuthority {
    /// Public identity.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Its issuer; none for a root.
    pub parent_authority_id: Option<Uuid>,
    /// Of its key.
    pub key_algorithm: String,
    /// RFC 4514.
    pub subject: String,
    /// What it may sign.
    pub envelope: serde_json::Value,
    /// In issued certificates: CRL distribution point.
    pub crl_url: String,
    /// In issued certificates: OCSP.
    pub ocsp_url: String,
    /// In issued certificates: this authority's certificate.
    pub issuer_url: String,
    /// SHA-256 of the SubjectPublicKeyInfo of a key that was there before the authority.
    pub public_key_sha256: Option<Vec<u8>>,
    /// PEM of the certificates above, when they are not of this installation.
    pub issuer_chain_pem: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// An authority with its certificate.
#[derive(Debug, Clone)]
pub struct AuthorityRow {
    /// Public identity.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Its issuer; none for a root.
    pub parent_authority_id: Option<Uuid>,
    /// `active`, `suspended`, `retired`.
    pub status: String,
    /// Of its key.
    pub key_algorithm: String,
    /// RFC 4514.
    pub subject: String,
    /// What it may sign.
    pub envelope: serde_json::Value,
    /// CRL distribution point.
    pub crl_url: String,
    /// OCSP.
    pub ocsp_url: String,
    /// This authority's certificate.
    pub issuer_url: String,
    /// PEM of the certificates above, when they are not of this installation.
    pub issuer_chain_pem: Option<String>,
    /// Its key.
    pub private_key_id: Option<Uuid>,
    /// The authority that issues what this one cannot outlive.
    pub successor_authority_id: Option<Uuid>,
    /// Number of the newest CRL of all its certificates.
    pub crl_number: i64,
    /// When the newest full CRL of all its certificates is to be replaced.
    pub next_crl_at: Option<DateTime<Utc>>,
    /// Identity of its certificate.
    pub certificate_id: Uuid,
    /// `active`, `on_hold`, `revoked`, `expired`: of its certificate.
    pub certificate_status: String,
    /// Its certificate.
    pub der_encoded_cert: Vec<u8>,
    /// Start of its certificate's validity.
    pub not_before: DateTime<Utc>,
    /// End of its certificate's validity.
    pub not_after: DateTime<Utc>,
}

/// Adds an authority that has no certificate yet.
///
/// # Errors
/// `Conflict` when the name is taken, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &NewAuthority) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO certificate_authorities (id, name, parent_authority_id, status, key_algorithm, subject, envelope, crl_url,
             ocsp_url, issuer_url, public_key_sha256, issuer_chain_pem, created_at, updated_at)
         VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
        row.id,
        row.name,
        row.parent_authority_id,
        row.key_algorithm,
        row.subject,
        row.envelope,
        row.crl_url,
        row.ocsp_url,
        row.issuer_url,
        row.public_key_sha256,
        row.issuer_chain_pem,
        row.created_at
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&result, 1)?;
    crls::ensure_scopes(conn, row.id, row.created_at).await
}

/// A certificate of an authority, and its key.
#[derive(Debug, Clone)]
pub struct ActivationRow {
    /// Which authority.
    pub authority_id: Uuid,
    /// Its new certificate.
    pub certificate_id: Uuid,
    /// The key that this certifies.
    pub private_key_id: Uuid,
    /// Of that key.
    pub subject_key_id: Vec<u8>,
}

/// Gives an authority its first certificate and its key, and makes it active.
///
/// # Errors
/// `RowCount` when it has one, or when the database fails.
pub async fn activate(
    conn: &mut PgConnection,
    row: &ActivationRow,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_authorities SET status = 'active', certificate_id = $2, private_key_id = $3, subject_key_id = $4,
             updated_at = $5, version = version + 1
         WHERE id = $1 AND status = 'pending'",
        row.authority_id,
        row.certificate_id,
        row.private_key_id,
        row.subject_key_id,
        now
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&result, 1)?;
    link_certificate(conn, row.authority_id, row.certificate_id, "own", now).await
}

/// Replaces the certificate of an authority by a newer one of the same key.
///
/// # Errors
/// `RowCount` when `old` is not its certificate, or when the database fails.
pub async fn renew(
    conn: &mut PgConnection,
    id: Uuid,
    (old, new): (Uuid, Uuid),
    issuer_chain_pem: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_authorities SET certificate_id = $3, issuer_chain_pem = $5, updated_at = $4,
             version = version + 1
         WHERE id = $1 AND certificate_id = $2",
        id,
        old,
        new,
        now,
        issuer_chain_pem
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&result, 1)?;
    link_certificate(conn, id, new, "own", now).await
}

/// Notes that a certificate is an authority's: `own`, or `cross`.
///
/// # Errors
/// `Conflict` when it is noted, or when the database fails.
pub async fn link_certificate(
    conn: &mut PgConnection,
    authority_id: Uuid,
    certificate_id: Uuid,
    kind: &str,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO authority_certificates (authority_id, certificate_id, kind, created_at) VALUES ($1, $2, $3, $4)",
        authority_id,
        certificate_id,
        kind,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Every certificate that an authority ever had, newest first, 1,000 at most: kind and PEM.
///
/// # Errors
/// When the database fails.
pub async fn list_certificates(
    conn: &mut PgConnection,
    authority_id: Uuid,
) -> Result<Vec<(String, String)>, DbError> {
    let rows = sqlx::query!(
        "SELECT l.kind, c.pem_encoded_cert FROM authority_certificates l JOIN certificates c ON c.certificate_id = l.certificate_id
         WHERE l.authority_id = $1 ORDER BY l.created_at DESC, l.id DESC LIMIT 1000",
        authority_id
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.pem_encoded_cert)).collect())
}

/// Moves an authority from one state to another.
///
/// # Errors
/// `RowCount` when it is not in state `from`, or when the database fails.
pub async fn set_status(
    conn: &mut PgConnection,
    id: Uuid,
    (from, to): (&str, &str),
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_authorities SET status = $3, updated_at = $4, version = version + 1 WHERE id = $1 AND status = $2",
        id,
        from,
        to,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Says which authority takes over from another one.
///
/// # Errors
/// `RowCount` when another one does already, or when the database fails.
pub async fn set_successor(
    conn: &mut PgConnection,
    id: Uuid,
    successor: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_authorities SET successor_authority_id = $2, updated_at = $3, version = version + 1
         WHERE id = $1 AND id <> $2 AND (successor_authority_id IS NULL OR successor_authority_id = $2)",
        id,
        successor,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Sets what an authority may sign.
///
/// # Errors
/// `RowCount` when there is no such authority, or when the database fails.
pub async fn set_envelope(
    conn: &mut PgConnection,
    id: Uuid,
    envelope: &serde_json::Value,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_authorities SET envelope = $2, updated_at = $3, version = version + 1 WHERE id = $1",
        id,
        envelope,
        now
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&result, 1)?;
    crls::ensure_scopes(conn, id, now).await
}

/// Every authority that has a certificate, roots first.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<AuthorityRow>, DbError> {
    let rows = sqlx::query_as!(
        AuthorityRow,
        r#"SELECT a.id, a.name, a.parent_authority_id, a.status, a.key_algorithm, a.subject, a.envelope, a.crl_url, a.ocsp_url,
             a.issuer_url, a.issuer_chain_pem, a.private_key_id, a.successor_authority_id,
             s.crl_number, s.next_crl_at, a.certificate_id AS "certificate_id!", c.status AS certificate_status, c.der_encoded_cert,
             c.not_before, c.not_after
         FROM certificate_authorities a JOIN certificates c ON c.certificate_id = a.certificate_id
         JOIN crl_scopes s ON s.authority_id = a.id AND s.shard = 0
         WHERE a.status <> 'pending' ORDER BY a.id LIMIT 1000"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Id and status of the authority with this name.
///
/// # Errors
/// When the database fails.
pub async fn find_by_name(conn: &mut PgConnection, name: &str) -> Result<Option<(Uuid, String)>, DbError> {
    let row = sqlx::query!("SELECT id, status FROM certificate_authorities WHERE name = $1", name)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| (row.id, row.status)))
}
