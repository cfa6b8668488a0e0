//! `certificate_requests`.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// One request.
#[derive(Debug, Clone)]
pub struct RequestRow {
    /// Public identity.
    pub id: Uuid,
    /// The operation that brought it.
    pub operation_id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// Who asked.
    pub requester_user_id: Uuid,
    /// Who answers for it.
    pub owner_user_id: Uuid,
    /// The policy that governs it.
    pub policy_id: Uuid,
    /// That policy's version.
    pub policy_version: i32,
    /// Core's workflow.
    pub workflow_instance_id: Uuid,
    /// Who shall sign.
    pub authority_id: Uuid,
    /// Profile name.
    pub profile: String,
    /// PKCS#10, PEM.
    pub csr_pem: Option<String>,
    /// PKCS#10, DER as received.
    pub csr_der: Option<Vec<u8>>,
    /// `csr`, `generated`, `reused`.
    pub key_source: String,
    /// Of the subject's key.
    pub key_algorithm: String,
    /// SHA-256 of the SubjectPublicKeyInfo; none before a key is generated.
    pub public_key_sha256: Option<Vec<u8>>,
    /// RFC 4514.
    pub subject: String,
    /// First common name.
    pub common_name: Option<String>,
    /// JSON array of `dns:…` texts.
    pub sans: serde_json::Value,
    /// Lifetime asked for, in seconds.
    pub validity_seconds: i64,
    /// SHA-256 of the exact request.
    pub request_sha256: Vec<u8>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// When it was recorded.
    pub submitted_at: DateTime<Utc>,
}

/// What decides whether a request may go on.
#[derive(Debug, Clone)]
pub struct RequestState {
    /// `pending`, `issuing`, `issued`, `rejected`, `failed`.
    pub status: String,
    /// SHA-256 of the exact request.
    pub request_sha256: Option<Vec<u8>>,
    /// Whose.
    pub organization_id: Option<Uuid>,
}

/// Records requests in `status`. To be `issuing`, one may be there already, if it is the very same and undecided.
///
/// # Errors
/// `RowCount` when one is there already, differs or was decided; `Conflict`; or when the database fails.
pub async fn record_all(conn: &mut PgConnection, rows: &[RequestRow], status: &str) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO certificate_requests (id, operation_id, organization_id, requester_user_id, owner_user_id, policy_id,
             policy_version, workflow_instance_id, authority_id, profile, csr_pem, csr_der, key_source, key_algorithm,
             public_key_sha256, subject, common_name, sans, validity_seconds, request_sha256, status,
             renewal_of_certificate_id, submitted_at, created_at, updated_at)
         SELECT id, operation_id, organization_id, requester_user_id, owner_user_id, policy_id, policy_version,
             workflow_instance_id, authority_id, profile, csr_pem, csr_der, key_source, key_algorithm, public_key_sha256,
             subject, common_name, sans, validity_seconds, request_sha256, $23, renewal_of_certificate_id, submitted_at,
             submitted_at, submitted_at
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::int[], $8::uuid[], $9::uuid[],
             $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[], $15::bytea[], $16::text[], $17::text[],
             $18::jsonb[], $19::bigint[], $20::bytea[], $21::uuid[], $22::timestamptz[])
         AS new (id, operation_id, organization_id, requester_user_id, owner_user_id, policy_id, policy_version,
             workflow_instance_id, authority_id, profile, csr_pem, csr_der, key_source, key_algorithm, public_key_sha256,
             subject, common_name, sans, validity_seconds, request_sha256, renewal_of_certificate_id, submitted_at)
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at,
             version = certificate_requests.version + 1,
             public_key_sha256 = coalesce(excluded.public_key_sha256, certificate_requests.public_key_sha256)
         WHERE excluded.status = 'issuing' AND certificate_requests.status IN ('pending', 'issuing')
           AND certificate_requests.request_sha256 = excluded.request_sha256",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.organization_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.requester_user_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.owner_user_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.policy_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.policy_version).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.workflow_instance_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.authority_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.profile.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.csr_pem.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|r| r.csr_der.clone()).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &rows.iter().map(|r| r.key_source.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.key_algorithm.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.public_key_sha256.clone()).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &rows.iter().map(|r| r.subject.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.common_name.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|r| r.sans.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.validity_seconds).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.request_sha256.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.renewal_of_certificate_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.submitted_at).collect::<Vec<_>>(),
        status,
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// Marks requests as issued.
///
/// # Errors
/// `RowCount` when one was not being issued, or when the database fails.
pub async fn mark_issued(
    conn: &mut PgConnection,
    ids: &[Uuid],
    certificate_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_requests SET status = 'issued', certificate_id = new.certificate_id, decided_at = $3,
             issued_at = $3, updated_at = $3, version = version + 1
         FROM unnest($1::uuid[], $2::uuid[]) AS new (id, certificate_id)
         WHERE certificate_requests.id = new.id AND status = 'issuing'",
        ids,
        certificate_ids,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, ids.len() as u64)
}

/// Marks a pending request as rejected.
///
/// # Errors
/// `RowCount` when it is not pending, or when the database fails.
pub async fn reject(
    conn: &mut PgConnection,
    id: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_requests SET status = 'rejected', rejection_reason = $2, decided_at = $3, updated_at = $3,
             version = version + 1
         WHERE id = $1 AND status = 'pending'",
        id,
        reason,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The state of a request.
///
/// # Errors
/// When the database fails.
pub async fn find_state(conn: &mut PgConnection, id: Uuid) -> Result<Option<RequestState>, DbError> {
    let row = sqlx::query_as!(
        RequestState,
        "SELECT status, request_sha256, organization_id FROM certificate_requests WHERE id = $1 AND deleted_at IS NULL",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}
