//! `certificate_revocations`.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use futures_core::stream::BoxStream;
use sqlx::PgConnection;
use uuid::Uuid;

/// One revocation or hold.
#[derive(Debug, Clone)]
pub struct RevocationRow {
    /// Row id.
    pub id: Uuid,
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The operation that did it.
    pub operation_id: Uuid,
    /// The certificate's issuer.
    pub authority_id: Uuid,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// RFC 5280 CRLReason.
    pub reason_code: i16,
    /// Its name.
    pub reason: String,
    /// When.
    pub revocation_date: DateTime<Utc>,
    /// Since when the key is suspected.
    pub invalidity_date: Option<DateTime<Utc>>,
    /// Who asked.
    pub requested_by_user_id: Uuid,
    /// Why, in words.
    pub comment: Option<String>,
}

/// Stores revocations. A certificate with an open one is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn insert_all(conn: &mut PgConnection, rows: &[RevocationRow]) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO certificate_revocations (id, certificate_id, operation_id, authority_id, serial_number, reason_code,
             reason, revocation_date, invalidity_date, ocsp_status, requested_by_user_id, comment, created_at, updated_at)
         SELECT id, certificate_id, operation_id, authority_id, serial_number, reason_code, reason, revocation_date,
             invalidity_date, 'revoked', requested_by_user_id, comment, revocation_date, revocation_date
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bytea[], $6::smallint[], $7::text[],
             $8::timestamptz[], $9::timestamptz[], $10::uuid[], $11::text[])
         AS new (id, certificate_id, operation_id, authority_id, serial_number, reason_code, reason, revocation_date,
             invalidity_date, requested_by_user_id, comment)",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.authority_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.serial_number.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.reason_code).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.reason.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.revocation_date).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.invalidity_date).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|r| r.requested_by_user_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.comment.clone()).collect::<Vec<_>>() as &[Option<String>],
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// The end of a hold: released, or followed by a revocation for good.
#[derive(Debug, Clone)]
pub struct HoldEnd {
    /// Whose hold.
    pub certificate_id: Uuid,
    /// The operation that ends it.
    pub operation_id: Uuid,
    /// `good` when released, `revoked` when followed by a revocation.
    pub ocsp_status: String,
}

/// Ends open holds.
///
/// # Errors
/// `RowCount` when one is not open, or when the database fails.
pub async fn end_holds(conn: &mut PgConnection, rows: &[HoldEnd], now: DateTime<Utc>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_revocations SET hold_released_at = $4, released_operation_id = new.operation_id,
             ocsp_status = new.ocsp_status, crl_number = NULL, updated_at = $4, version = version + 1
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS new (certificate_id, operation_id, ocsp_status)
         WHERE certificate_revocations.certificate_id = new.certificate_id AND hold_released_at IS NULL AND reason_code = 6",
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.ocsp_status.clone()).collect::<Vec<_>>(),
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}

/// A revocation as a CRL needs it.
#[derive(Debug, Clone)]
pub struct CrlEntry {
    /// Row id.
    pub id: Uuid,
    /// Row version.
    pub version: i64,
    /// Whether it is in force; an ended hold is only to be noted as reflected.
    pub in_force: bool,
    /// Whether some CRL reflects it already.
    pub reflected: bool,
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// When it was revoked.
    pub revocation_date: DateTime<Utc>,
    /// RFC 5280 CRLReason.
    pub reason_code: i16,
    /// Since when the key is suspected.
    pub invalidity_date: Option<DateTime<Utc>>,
}

/// The revocations of an authority that are in force or not yet reflected by a CRL, streamed. One of a certificate that
/// ended before `previous_list` is dropped, once a list reflects it: each is on one list at least (RFC 5280 §3.3).
pub fn stream_for_crl(
    conn: &mut PgConnection,
    authority_id: Uuid,
    previous_list: DateTime<Utc>,
) -> BoxStream<'_, Result<CrlEntry, sqlx::Error>> {
    sqlx::query_as!(
        CrlEntry,
        r#"SELECT r.id, r.version, (r.hold_released_at IS NULL) AS "in_force!",
             (r.crl_number IS NOT NULL) AS "reflected!", r.serial_number, r.revocation_date, r.reason_code, r.invalidity_date
         FROM certificate_revocations r JOIN certificates c ON c.certificate_id = r.certificate_id
         WHERE r.authority_id = $1 AND ((r.hold_released_at IS NULL AND c.not_after > $2) OR r.crl_number IS NULL)"#,
        authority_id,
        previous_list
    )
    .fetch(conn)
}
