//! `crls`: every list that was published.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// A published CRL.
#[derive(Debug, Clone)]
pub struct CrlRow {
    /// Row id.
    pub id: Uuid,
    /// Whose.
    pub authority_id: Uuid,
    /// Strictly increasing per authority.
    pub crl_number: i64,
    /// When it was made.
    pub this_update: DateTime<Utc>,
    /// When it is to be replaced.
    pub next_update: DateTime<Utc>,
    /// Revoked certificates in it.
    pub entry_count: i64,
    /// The CRL.
    pub der: Vec<u8>,
    /// Its SHA-256.
    pub sha256: Vec<u8>,
}

/// Stores a full CRL and points its authority to it.
///
/// # Errors
/// `RowCount` when the authority's number is not below this one, `Conflict`, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &CrlRow) -> Result<(), DbError> {
    let stored = sqlx::query!(
        "INSERT INTO crls (id, authority_id, crl_number, kind, this_update, next_update, entry_count, der, sha256, created_at)
         VALUES ($1, $2, $3, 'full', $4, $5, $6, $7, $8, $4)",
        row.id,
        row.authority_id,
        row.crl_number,
        row.this_update,
        row.next_update,
        row.entry_count,
        row.der,
        row.sha256
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&stored, 1)?;
    let pointed = sqlx::query!(
        "UPDATE certificate_authorities SET crl_number = $2, last_crl_at = $3, next_crl_at = $4, updated_at = $3,
             version = version + 1
         WHERE id = $1 AND crl_number < $2",
        row.authority_id,
        row.crl_number,
        row.this_update,
        row.next_update
    )
    .execute(conn)
    .await?;
    expect_rows(&pointed, 1)
}

/// The newest full CRL of an authority.
///
/// # Errors
/// When the database fails.
pub async fn find_newest(conn: &mut PgConnection, authority_id: Uuid) -> Result<Option<CrlRow>, DbError> {
    let row = sqlx::query_as!(
        CrlRow,
        "SELECT id, authority_id, crl_number, this_update, next_update, entry_count, der, sha256
         FROM crls WHERE authority_id = $1 AND kind = 'full' ORDER BY crl_number DESC LIMIT 1",
        authority_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Authorities whose list is due: revocations came after it, or it ends before `renew_before`.
///
/// # Errors
/// When the database fails.
pub async fn list_due(conn: &mut PgConnection, renew_before: DateTime<Utc>) -> Result<Vec<Uuid>, DbError> {
    let rows = sqlx::query_scalar!(
        "SELECT id FROM certificate_authorities a
         WHERE status IN ('active', 'suspended')
           AND (next_crl_at IS NULL OR next_crl_at < $1
                OR EXISTS (SELECT FROM certificate_revocations r WHERE r.authority_id = a.id AND r.updated_at >= a.last_crl_at))
         ORDER BY id LIMIT 1000",
        renew_before
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Takes the next CRL number of an authority for this transaction; none when somebody else is at it.
///
/// # Errors
/// When the database fails.
pub async fn lock_next_number(conn: &mut PgConnection, authority_id: Uuid) -> Result<Option<i64>, DbError> {
    let number = sqlx::query_scalar!(
        r#"SELECT crl_number + 1 AS "next!" FROM certificate_authorities WHERE id = $1 FOR UPDATE SKIP LOCKED"#,
        authority_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(number)
}
