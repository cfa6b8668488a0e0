//! What the integrity job compares with Core's rows.
//!
//! Each list is read in batches in the order of an index: whatever the number of rows, memory and duration of one
//! statement stay the same.

use chrono::{DateTime, Utc};
use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// A certificate.
#[derive(Debug, Clone)]
pub struct ReferenceRow {
    /// Public identity; rows come in its order.
    pub certificate_id: Uuid,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// Who answers for it.
    pub owner_user_id: Option<Uuid>,
    /// The policy that governed it.
    pub policy_id: Option<Uuid>,
    /// The operation that made it.
    pub operation_id: Uuid,
    /// `active`, `on_hold`, `revoked`, `expired`.
    pub status: String,
    /// When it ends.
    pub not_after: DateTime<Utc>,
    /// `leaf`, `authority`, `responder`.
    pub category: String,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// RFC 5280 name.
    pub revocation_reason: Option<String>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// The certificate that replaces it.
    pub renewed_by_certificate_id: Option<Uuid>,
    /// Whether it is a leaf, or some authority's own certificate.
    pub explained: bool,
    /// Whether date and reason are those of the revocation in force, or there is none and none is told.
    pub revocation_recorded: bool,
    /// Whether its private key, if there is one, is of the same organization and public key.
    pub key_fits: bool,
}

/// Certificates in the order of `certificate_id`, after `after`.
///
/// # Errors
/// When the database fails.
pub async fn list_references(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<ReferenceRow>, DbError> {
    let rows = sqlx::query_as!(
        ReferenceRow,
        r#"SELECT c.certificate_id, c.organization_id, c.owner_user_id, c.policy_id, c.operation_id, c.status, c.not_after, c.category,
             c.revoked_at, c.revocation_reason, c.renewal_of_certificate_id, c.renewed_by_certificate_id,
             (c.category = 'leaf'
              OR EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = c.certificate_id)
              OR (c.category = 'responder' AND EXISTS (
                  SELECT FROM issuance_intents i WHERE i.operation_id = c.operation_id AND i.profile = 'ocsp-responder')))
                 AS "explained!",
             (r.revocation_date IS NOT DISTINCT FROM c.revoked_at AND r.reason IS NOT DISTINCT FROM c.revocation_reason
              AND (r.id IS NULL OR c.status <> 'active')) AS "revocation_recorded!",
             (k.id IS NULL OR (k.public_key_sha256 = c.public_key_sha256
                               AND (k.organization_id IS NOT DISTINCT FROM c.organization_id
                                    OR EXISTS (SELECT FROM authority_certificates a WHERE a.certificate_id = c.certificate_id))))
                 AS "key_fits!"
         FROM (SELECT certificate_id, organization_id, owner_user_id, policy_id, operation_id, status, not_after, category, revoked_at,
                   revocation_reason, renewal_of_certificate_id, renewed_by_certificate_id, public_key_sha256
               FROM certificates WHERE certificate_id > $1 AND deleted_at IS NULL
               ORDER BY certificate_id LIMIT $2) c
         LEFT JOIN certificate_revocations r ON r.certificate_id = c.certificate_id AND r.hold_released_at IS NULL
         LEFT JOIN private_keys k ON k.certificate_id = c.certificate_id
         ORDER BY c.certificate_id"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// What an operation that Core ordered left behind.
#[derive(Debug, Clone)]
pub struct OperationTraceRow {
    /// Its id; rows come in its order.
    pub operation_id: Uuid,
    /// `request`, `revocation`, `release`.
    pub trace: String,
    /// The row's id.
    pub object_id: Uuid,
    /// Core's workflow, of a request.
    pub workflow_instance_id: Option<Uuid>,
    /// Whose, of a request.
    pub organization_id: Option<Uuid>,
    /// Who answers for it, of a request.
    pub owner_user_id: Option<Uuid>,
    /// The policy that governs it, of a request.
    pub policy_id: Option<Uuid>,
    /// The certificate that was issued, revoked or released.
    pub certificate_id: Option<Uuid>,
    /// State, of a request.
    pub status: Option<String>,
    /// RFC 5280 name, of a revocation or release.
    pub reason: Option<String>,
    /// When it last changed.
    pub recorded_at: DateTime<Utc>,
}

/// Requests, revocations and releases in the order of `operation_id`, after `after`.
///
/// # Errors
/// When the database fails.
pub async fn list_operations(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<OperationTraceRow>, DbError> {
    let rows = sqlx::query_as!(
        OperationTraceRow,
        r#"SELECT operation_id AS "operation_id!", trace AS "trace!", object_id AS "object_id!", workflow_instance_id,
             organization_id, owner_user_id, policy_id, certificate_id, status, reason, recorded_at AS "recorded_at!"
         FROM (
             (SELECT operation_id, 'request' AS trace, id AS object_id, workflow_instance_id, organization_id, owner_user_id,
                  policy_id, certificate_id, status, NULL AS reason, updated_at AS recorded_at
              FROM certificate_requests WHERE operation_id > $1 AND deleted_at IS NULL ORDER BY operation_id LIMIT $2)
             UNION ALL
             (SELECT operation_id, 'revocation', id, NULL, NULL, NULL, NULL, certificate_id, NULL, reason, updated_at
              FROM certificate_revocations r WHERE operation_id > $1
                -- Nobody in Core ordered what an authority brought along.
                AND (requested_by_user_id IS NOT NULL
                     OR NOT EXISTS (SELECT FROM certificate_authorities a
                                    WHERE a.id = r.authority_id AND a.public_key_sha256 IS NOT NULL))
              ORDER BY operation_id LIMIT $2)
             UNION ALL
             -- A hold that a revocation ended is that revocation's row too.
             (SELECT released_operation_id, 'release', id, NULL, NULL, NULL, NULL, certificate_id, NULL, 'removeFromCRL',
                  updated_at
              FROM certificate_revocations WHERE released_operation_id > $1 AND ocsp_status = 'good'
              ORDER BY released_operation_id LIMIT $2)
         ) AS operation ORDER BY operation_id LIMIT $2"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A row that names a certificate.
#[derive(Debug, Clone)]
pub struct NamingRow {
    /// Its id; rows come in its order.
    pub id: Uuid,
    /// The certificate that it names.
    pub certificate_id: Uuid,
    /// Whether that does not exist.
    pub orphan: bool,
}

/// Of the next `limit` private keys after `after`, those without a certificate, and the last one whatever it is.
///
/// # Errors
/// When the database fails.
pub async fn list_orphaned_keys(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<NamingRow>, DbError> {
    let rows = sqlx::query_as!(
        NamingRow,
        r#"WITH batch AS MATERIALIZED (
             SELECT id, certificate_id FROM private_keys WHERE id > $1 ORDER BY id LIMIT $2)
         SELECT b.id, b.certificate_id, (c.id IS NULL) AS "orphan!"
         FROM batch b LEFT JOIN certificates c ON c.certificate_id = b.certificate_id
         WHERE c.id IS NULL OR b.id = (SELECT id FROM batch ORDER BY id DESC LIMIT 1) ORDER BY b.id"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Of the next `limit` revocations after `after`, those without a certificate, and the last one whatever it is.
///
/// # Errors
/// When the database fails.
pub async fn list_orphaned_revocations(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<NamingRow>, DbError> {
    let rows = sqlx::query_as!(
        NamingRow,
        r#"WITH batch AS MATERIALIZED (
             SELECT id, certificate_id FROM certificate_revocations WHERE id > $1 AND certificate_id IS NOT NULL
             ORDER BY id LIMIT $2)
         SELECT b.id, b.certificate_id AS "certificate_id!", (c.id IS NULL) AS "orphan!"
         FROM batch b LEFT JOIN certificates c ON c.certificate_id = b.certificate_id
         WHERE c.id IS NULL OR b.id = (SELECT id FROM batch ORDER BY id DESC LIMIT 1) ORDER BY b.id"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
