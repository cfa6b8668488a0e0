//! What OCSP answers come from: `certificates`, and `presigned_ocsp_answers`.

use chrono::{DateTime, Utc};
use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// The status of a certificate, and an answer that was signed ahead for just this status.
#[derive(Debug, Clone)]
pub struct SerialStatus {
    /// Which of those asked about, from 1.
    pub place: i64,
    /// Since when it is revoked or on hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Why.
    pub revocation_reason: Option<String>,
    /// The OCSPResponse.
    pub presigned: Option<Vec<u8>>,
    /// Until when it may be relied on.
    pub next_update: Option<DateTime<Utc>>,
}

/// The status of certificates, each named by its authority and its serial number; with an answer signed ahead that is still
/// good at `now`. One that is not here is left out.
///
/// # Errors
/// When the database fails.
pub async fn list_statuses(
    conn: &mut PgConnection,
    authority_ids: &[Uuid],
    serial_numbers: &[Vec<u8>],
    now: DateTime<Utc>,
) -> Result<Vec<SerialStatus>, DbError> {
    let rows = sqlx::query_as!(
        SerialStatus,
        r#"SELECT asked.place AS "place!", c.revoked_at, c.revocation_reason, a.der AS "presigned?",
             a.next_update AS "next_update?"
         FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY AS asked (authority_id, serial_number, place)
         JOIN certificates c ON c.authority_id = asked.authority_id AND c.serial_number = asked.serial_number
         LEFT JOIN presigned_ocsp_answers a ON a.certificate_id = c.certificate_id AND a.next_update > $3
             AND a.revoked_at IS NOT DISTINCT FROM c.revoked_at
             AND a.revocation_reason IS NOT DISTINCT FROM c.revocation_reason"#,
        authority_ids,
        serial_numbers,
        now
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The same of serial numbers that no certificate is here for, if an imported list revoked them.
///
/// # Errors
/// When the database fails.
pub async fn list_revoked_alone(
    conn: &mut PgConnection,
    authority_ids: &[Uuid],
    serial_numbers: &[Vec<u8>],
) -> Result<Vec<SerialStatus>, DbError> {
    let rows = sqlx::query_as!(
        SerialStatus,
        r#"SELECT asked.place AS "place!", r.revocation_date AS revoked_at, r.reason AS revocation_reason,
             NULL::bytea AS presigned, NULL::timestamptz AS next_update
         FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY AS asked (authority_id, serial_number, place)
         JOIN certificate_revocations r ON r.authority_id = asked.authority_id AND r.serial_number = asked.serial_number
         WHERE r.certificate_id IS NULL"#,
        authority_ids,
        serial_numbers
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A certificate whose answer is to be signed ahead, or is there already.
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// Since when it is revoked or on hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Why.
    pub revocation_reason: Option<String>,
    /// Whether its answer is to be signed.
    pub due: bool,
}

/// Certificates of an authority that have not ended, in the order of their serial numbers after one; `due` are those whose
/// answer is missing, of another status, or good only until `fresh_until`.
///
/// # Errors
/// When the database fails.
pub async fn list_unanswered(
    conn: &mut PgConnection,
    authority_id: Uuid,
    after: &[u8],
    (now, fresh_until): (DateTime<Utc>, DateTime<Utc>),
    limit: i64,
) -> Result<Vec<Unanswered>, DbError> {
    let rows = sqlx::query_as!(
        Unanswered,
        r#"SELECT c.certificate_id, c.serial_number, c.revoked_at, c.revocation_reason,
             (a.id IS NULL OR a.next_update < $4 OR a.revoked_at IS DISTINCT FROM c.revoked_at
              OR a.revocation_reason IS DISTINCT FROM c.revocation_reason) AS "due!"
         FROM certificates c LEFT JOIN presigned_ocsp_answers a ON a.certificate_id = c.certificate_id
         WHERE c.authority_id = $1 AND c.serial_number > $2 AND c.not_after > $3 AND c.category <> 'responder'
         ORDER BY c.serial_number LIMIT $5"#,
        authority_id,
        after,
        now,
        fresh_until,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// An answer that was signed ahead.
#[derive(Debug, Clone)]
pub struct PresignedRow {
    /// Row id, if it is the first for its certificate.
    pub id: Uuid,
    /// Which certificate.
    pub certificate_id: Uuid,
    /// As it was signed.
    pub revoked_at: Option<DateTime<Utc>>,
    /// As it was signed.
    pub revocation_reason: Option<String>,
    /// OCSPResponse.
    pub der: Vec<u8>,
    /// Until when it may be relied on.
    pub next_update: DateTime<Utc>,
}

/// Stores answers, one per certificate.
///
/// # Errors
/// When the database fails.
pub async fn store_presigned(
    conn: &mut PgConnection,
    rows: &[PresignedRow],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO presigned_ocsp_answers AS old
             (id, certificate_id, revoked_at, revocation_reason, der, next_update, created_at, updated_at)
         SELECT id, certificate_id, revoked_at, revocation_reason, der, next_update, $7, $7
         FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::bytea[], $6::timestamptz[])
             AS new (id, certificate_id, revoked_at, revocation_reason, der, next_update)
         ON CONFLICT (certificate_id) DO UPDATE SET revoked_at = excluded.revoked_at,
             revocation_reason = excluded.revocation_reason, der = excluded.der, next_update = excluded.next_update,
             updated_at = excluded.updated_at, version = old.version + 1",
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.revoked_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.revocation_reason.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.der.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.next_update).collect::<Vec<_>>(),
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The certificate of a responder.
#[derive(Debug, Clone)]
pub struct ResponderRow {
    /// Public identity.
    pub certificate_id: Uuid,
    /// Its key.
    pub private_key_id: Uuid,
    /// DER.
    pub der_encoded_cert: Vec<u8>,
}

/// The responder of an authority whose certificate ends last, not revoked, and after `now`.
///
/// # Errors
/// When the database fails.
pub async fn find_responder(
    conn: &mut PgConnection,
    authority_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<ResponderRow>, DbError> {
    let row = sqlx::query_as!(
        ResponderRow,
        "SELECT c.certificate_id, k.id AS private_key_id, c.der_encoded_cert
         FROM certificates c JOIN private_keys k ON k.certificate_id = c.certificate_id AND k.destroyed_at IS NULL
         WHERE c.authority_id = $1 AND c.category = 'responder' AND c.not_after > $2 AND c.revoked_at IS NULL
         ORDER BY c.not_after DESC LIMIT 1",
        authority_id,
        now
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}
