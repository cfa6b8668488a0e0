//! What a batch of revocations needs to know of its certificates.

use chrono::{DateTime, Utc};
use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// A certificate of a batch as it is now, and what its operation did before.
#[derive(Debug, Clone)]
pub struct BatchedRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The operation that is to revoke it.
    pub operation_id: Uuid,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key_sha256: Vec<u8>,
    /// `active`, `on_hold`, `revoked`, `expired`.
    pub status: String,
    /// End of validity.
    pub not_after: DateTime<Utc>,
    /// Since when it is revoked or on hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// RFC 5280 name.
    pub revocation_reason: Option<String>,
    /// Whether it is an authority's.
    pub of_authority: bool,
    /// When this very operation revoked it.
    pub done_at: Option<DateTime<Utc>>,
}

/// These certificates of an organization and an authority, with the operations of the same places; one that is not there is
/// left out.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut PgConnection,
    (organization_id, authority_id): (Uuid, Uuid),
    certificate_ids: &[Uuid],
    operation_ids: &[Uuid],
) -> Result<Vec<BatchedRow>, DbError> {
    let rows = sqlx::query_as!(
        BatchedRow,
        r#"SELECT c.certificate_id, asked.operation_id AS "operation_id!", c.serial_number, c.public_key_sha256, c.status,
             c.not_after, c.revoked_at, c.revocation_reason, r.revocation_date AS "done_at?",
             EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = c.certificate_id) AS "of_authority!"
         FROM unnest($3::uuid[], $4::uuid[]) AS asked (certificate_id, operation_id)
         JOIN certificates c ON c.certificate_id = asked.certificate_id
         LEFT JOIN certificate_revocations r ON r.operation_id = asked.operation_id AND r.certificate_id = c.certificate_id
         WHERE c.organization_id = $1 AND c.authority_id = $2 AND c.deleted_at IS NULL"#,
        organization_id,
        authority_id,
        certificate_ids,
        operation_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Certificates of an organization that are active or on hold and have not ended at `now`, with the same public key as this one of its own; none when
/// that is not there.
///
/// # Errors
/// When the database fails.
pub async fn list_same_key(
    conn: &mut PgConnection,
    certificate_id: Uuid,
    organization_id: Uuid,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Uuid>, DbError> {
    let ids = sqlx::query_scalar!(
        "SELECT other.certificate_id
         FROM certificates c JOIN certificates other ON other.public_key_sha256 = c.public_key_sha256
         WHERE c.certificate_id = $1 AND c.organization_id = $2 AND other.organization_id = $2
           AND other.certificate_id <> $1 AND other.not_after > $3 AND other.deleted_at IS NULL
           AND other.status IN ('active', 'on_hold')
         ORDER BY other.certificate_id LIMIT $4",
        certificate_id,
        organization_id,
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}
