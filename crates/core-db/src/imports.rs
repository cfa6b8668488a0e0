//! Certificates that came with an imported authority, put into the inventory.

use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::column;
use crate::records::IssuedRow;

/// A certificate that was imported.
#[derive(Debug, Clone)]
pub struct ImportedRow {
    /// As an issued one; no request, and no outcome of an operation.
    pub issued: IssuedRow,
    /// Who answers for it.
    pub owner_user_id: Option<Uuid>,
    /// The audit entry's id.
    pub audit_id: Uuid,
}

/// Puts imported certificates into the inventory, each with an audit entry; gives those that this call put there. One of an
/// organization that does not exist is left out, an owner who does not exist is not named.
///
/// # Errors
/// When the database fails.
pub async fn apply_imported(
    conn: &mut PgConnection,
    rows: &[ImportedRow],
    now: clm_types::Time,
) -> Result<Vec<Uuid>, DbError> {
    let applied = sqlx::query_scalar!(
        r#"WITH new AS (
             SELECT id, certificate_id, operation_id, organization_id, authority_id, profile, serial_number,
                 fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, not_before, not_after, status,
                 revoked_at, revocation_reason, owner_user_id, audit_id, outcome
             FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
                 $8::bytea[], $9::text[], $10::text[], $11::text[], $12::jsonb[], $13::text[], $14::timestamptz[],
                 $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::uuid[], $20::uuid[], $21::jsonb[])
                 AS new (id, certificate_id, operation_id, organization_id, authority_id, profile, serial_number,
                     fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, not_before, not_after, status,
                     revoked_at, revocation_reason, owner_user_id, audit_id, outcome)),
         metadata AS (
             INSERT INTO certificate_metadata (id, certificate_id, operation_id, organization_id, authority_id, profile,
                 serial_number, fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, not_before, not_after,
                 status, revoked_at, revocation_reason, owner_user_id, created_at, updated_at)
             SELECT new.id, new.certificate_id, new.operation_id, new.organization_id, new.authority_id, new.profile,
                 new.serial_number, new.fingerprint_sha256, new.subject, new.issuer, new.common_name,
                 ARRAY(SELECT jsonb_array_elements_text(new.sans)), new.key_algorithm, new.not_before, new.not_after,
                 new.status, new.revoked_at, new.revocation_reason, u.id, $22, $22
             FROM new JOIN organizations o ON o.id = new.organization_id LEFT JOIN users u ON u.id = new.owner_user_id
             ON CONFLICT (certificate_id) DO NOTHING
             RETURNING certificate_id),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 after_state, outcome, detail, created_at)
             SELECT new.audit_id, $22, 'system', new.organization_id, new.operation_id, 'certificate.import', 'certificate',
                 new.certificate_id, new.outcome, 'allowed', 'taken over with its authority', $22
             FROM new JOIN metadata m ON m.certificate_id = new.certificate_id)
         SELECT certificate_id AS "certificate_id!" FROM metadata"#,
        &column(rows, |r| r.issued.id),
        &column(rows, |r| r.issued.certificate_id),
        &column(rows, |r| r.issued.operation_id),
        &column(rows, |r| r.issued.organization_id),
        &column(rows, |r| r.issued.authority_id),
        &column(rows, |r| r.issued.profile.clone()),
        &column(rows, |r| r.issued.serial_number.clone()),
        &column(rows, |r| r.issued.fingerprint_sha256.clone()),
        &column(rows, |r| r.issued.subject.clone()),
        &column(rows, |r| r.issued.issuer.clone()),
        &column(rows, |r| r.issued.common_name.clone()) as &[Option<String>],
        &column(rows, |r| serde_json::Value::from(r.issued.sans.clone())),
        &column(rows, |r| r.issued.key_algorithm.to_owned()),
        &column(rows, |r| r.issued.not_before),
        &column(rows, |r| r.issued.not_after),
        &column(rows, |r| r.issued.status.to_owned()),
        &column(rows, |r| r.issued.revoked_at) as &[Option<clm_types::Time>],
        &column(rows, |r| r.issued.revocation_reason.map(str::to_owned)) as &[Option<String>],
        &column(rows, |r| r.owner_user_id) as &[Option<Uuid>],
        &column(rows, |r| r.audit_id),
        &column(rows, |r| r.issued.outcome.clone()),
        now
    )
    .fetch_all(conn)
    .await?;
    Ok(applied)
}

/// Whether a certificate came into the inventory by this operation of an import.
///
/// # Errors
/// When the database fails.
pub async fn is_import(conn: &mut PgConnection, operation_id: Uuid) -> Result<bool, DbError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM audit_log WHERE operation_id = $1 AND action = 'certificate.import') AS "found!""#,
        operation_id
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Of these organizations, those that do not exist.
///
/// # Errors
/// When the database fails.
pub async fn list_unknown_organizations(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, DbError> {
    let unknown = sqlx::query_scalar!(
        r#"SELECT asked.id AS "id!" FROM unnest($1::uuid[]) AS asked (id)
         WHERE NOT EXISTS (SELECT FROM organizations o WHERE o.id = asked.id)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(unknown)
}
