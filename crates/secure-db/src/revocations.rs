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
    /// Which certificate; none for one that only an imported list names.
    pub certificate_id: Option<Uuid>,
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
    /// Who asked; none for an imported one.
    pub requested_by_user_id: Option<Uuid>,
    /// Why, in words.
    pub comment: Option<String>,
}

/// Stores revocations. A certificate with an open one is a `Conflict`.
///
/// # Errors
/// `Conflict`, or when the database fails.
pub async fn insert_all(
    conn: &mut PgConnection,
    rows: &[RevocationRow],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO certificate_revocations (id, certificate_id, operation_id, authority_id, serial_number, reason_code,
             reason, revocation_date, invalidity_date, ocsp_status, requested_by_user_id, comment, crl_shard, not_after,
             created_at, updated_at)
         SELECT new.id, new.certificate_id, new.operation_id, new.authority_id, new.serial_number, new.reason_code, new.reason,
             new.revocation_date, new.invalidity_date, 'revoked', new.requested_by_user_id, new.comment, c.crl_shard,
             c.not_after, $12, $12
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bytea[], $6::smallint[], $7::text[],
             $8::timestamptz[], $9::timestamptz[], $10::uuid[], $11::text[])
         AS new (id, certificate_id, operation_id, authority_id, serial_number, reason_code, reason, revocation_date,
             invalidity_date, requested_by_user_id, comment)
         LEFT JOIN certificates c ON c.certificate_id = new.certificate_id",
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.operation_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.authority_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.serial_number.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.reason_code).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.reason.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.revocation_date).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.invalidity_date).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|r| r.requested_by_user_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.comment.clone()).collect::<Vec<_>>() as &[Option<String>],
        now,
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
    /// Unsigned big-endian.
    pub serial_number: Vec<u8>,
    /// When it was revoked.
    pub revocation_date: DateTime<Utc>,
    /// RFC 5280 CRLReason; 8 for a hold that has ended.
    pub reason_code: i16,
    /// Since when the key is suspected.
    pub invalidity_date: Option<DateTime<Utc>>,
}

/// The revocations of a scope that are in force, by serial number, streamed. One of a certificate that ended before
/// `previous_list` is dropped: one list after its end has named it (RFC 5280 §3.3).
pub fn stream_in_force(
    conn: &mut PgConnection,
    authority_id: Uuid,
    shard: i16,
    previous_list: DateTime<Utc>,
) -> BoxStream<'_, Result<CrlEntry, sqlx::Error>> {
    if shard == 0 {
        return sqlx::query_as!(
            CrlEntry,
            "SELECT serial_number, revocation_date, reason_code, invalidity_date FROM certificate_revocations
             WHERE authority_id = $1 AND hold_released_at IS NULL AND (not_after > $2 OR not_after IS NULL)
             ORDER BY serial_number",
            authority_id,
            previous_list
        )
        .fetch(conn);
    }
    sqlx::query_as!(
        CrlEntry,
        "SELECT serial_number, revocation_date, reason_code, invalidity_date FROM certificate_revocations
         WHERE authority_id = $1 AND coalesce(crl_shard, 0::smallint) = $2 AND crl_shard > 0 AND hold_released_at IS NULL
           AND not_after > $3
         ORDER BY serial_number",
        authority_id,
        shard,
        previous_list
    )
    .fetch(conn)
}

/// What changed in a scope after `since`, by serial number, streamed: revocations in force, and holds that ended.
pub fn stream_changed(
    conn: &mut PgConnection,
    authority_id: Uuid,
    shard: i16,
    since: DateTime<Utc>,
) -> BoxStream<'_, Result<CrlEntry, sqlx::Error>> {
    sqlx::query_as!(
        CrlEntry,
        r#"SELECT DISTINCT ON (serial_number) serial_number, revocation_date,
             CASE WHEN hold_released_at IS NULL THEN reason_code ELSE 8::smallint END AS "reason_code!",
             CASE WHEN hold_released_at IS NULL THEN invalidity_date END AS invalidity_date
         FROM certificate_revocations
         WHERE authority_id = $1 AND ($2 = 0::smallint OR coalesce(crl_shard, 0::smallint) = $2) AND updated_at > $3
         ORDER BY serial_number, hold_released_at IS NULL DESC, id DESC"#,
        authority_id,
        shard,
        since
    )
    .fetch(conn)
}

/// A revocation, or the end of a hold, that no list reflects, in the version that was read.
#[derive(Debug, Clone)]
pub struct Unreflected {
    /// Row id.
    pub id: Uuid,
    /// Its version.
    pub version: i64,
}

/// What no list of a scope reflects, streamed.
pub fn stream_unreflected(
    conn: &mut PgConnection,
    authority_id: Uuid,
    shard: i16,
) -> BoxStream<'_, Result<Unreflected, sqlx::Error>> {
    sqlx::query_as!(
        Unreflected,
        "SELECT id, version FROM certificate_revocations
         WHERE authority_id = $1 AND coalesce(crl_shard, 0::smallint) = $2 AND crl_number IS NULL",
        authority_id,
        shard
    )
    .fetch(conn)
}

/// Notes which list is the first to reflect these. What changed since it was read stays unreflected.
///
/// # Errors
/// When the database fails.
pub async fn mark_reflected(
    conn: &mut PgConnection,
    rows: &[Unreflected],
    crl_number: i64,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE certificate_revocations SET crl_number = $3
         FROM unnest($1::uuid[], $2::bigint[]) AS read (id, version)
         WHERE certificate_revocations.id = read.id AND certificate_revocations.version = read.version",
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
        crl_number
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The first of these serial numbers that a list may not drop: its certificate had not ended before `previous_list`, and no
/// hold of it was released.
///
/// # Errors
/// When the database fails.
pub async fn find_wrongly_dropped(
    conn: &mut PgConnection,
    authority_id: Uuid,
    serials: &[Vec<u8>],
    previous_list: DateTime<Utc>,
) -> Result<Option<Vec<u8>>, DbError> {
    let found = sqlx::query_scalar!(
        r#"SELECT dropped.serial AS "serial!" FROM unnest($2::bytea[]) AS dropped (serial)
         WHERE NOT EXISTS (
             SELECT FROM certificates c JOIN certificate_revocations r ON r.certificate_id = c.certificate_id
             WHERE c.authority_id = $1 AND c.serial_number = dropped.serial
               AND (r.not_after <= $3 OR r.hold_released_at IS NOT NULL))
         LIMIT 1"#,
        authority_id,
        serials,
        previous_list
    )
    .fetch_optional(conn)
    .await?;
    Ok(found)
}
