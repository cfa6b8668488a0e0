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

/// A revocation that a CRL reflects, in the version that was read.
#[derive(Debug, Clone)]
pub struct Reflected {
    /// Row id of the revocation.
    pub id: Uuid,
    /// Its version.
    pub version: i64,
}

/// A CRL with the revocations that it is the first to reflect.
#[derive(Debug, Clone)]
pub struct NewCrl {
    /// The list.
    pub row: CrlRow,
    /// What it reflects first.
    pub reflected: Vec<Reflected>,
}

/// Stores a full CRL and points its authority to it. Revocations that changed meanwhile stay unreflected.
///
/// # Errors
/// `RowCount` when the authority's number is not below this one, `Conflict`, or when the database fails.
pub async fn insert(conn: &mut PgConnection, crl: &NewCrl) -> Result<(), DbError> {
    let row = &crl.row;
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
    .execute(&mut *conn)
    .await?;
    expect_rows(&pointed, 1)?;
    sqlx::query!(
        "UPDATE certificate_revocations SET crl_number = $3
         FROM unnest($1::uuid[], $2::bigint[]) AS read (id, version)
         WHERE certificate_revocations.id = read.id AND certificate_revocations.version = read.version",
        &crl.reflected.iter().map(|r| r.id).collect::<Vec<_>>(),
        &crl.reflected.iter().map(|r| r.version).collect::<Vec<_>>(),
        row.crl_number
    )
    .execute(conn)
    .await?;
    Ok(())
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

/// Authorities whose list is due: it does not reflect some revocation, or half of its life is over.
///
/// # Errors
/// When the database fails.
pub async fn list_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Uuid>, DbError> {
    let rows = sqlx::query_scalar!(
        "SELECT id FROM certificate_authorities a
         WHERE status <> 'pending'
           AND (next_crl_at IS NULL OR last_crl_at + (next_crl_at - last_crl_at) / 2 < $1
                OR EXISTS (SELECT FROM certificate_revocations r WHERE r.authority_id = a.id AND r.crl_number IS NULL))
         ORDER BY id LIMIT 1000",
        now
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Takes the next CRL number of an authority until the transaction ends; none when somebody else is at it.
///
/// The lock is an advisory one: the list is stored by another transaction while this one holds it.
///
/// # Errors
/// When the database fails.
pub async fn lock_next_number(conn: &mut PgConnection, authority_id: Uuid) -> Result<Option<i64>, DbError> {
    let locked = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended('crl/' || $1::uuid::text, 0)) AS "locked!""#,
        authority_id
    )
    .fetch_one(&mut *conn)
    .await?;
    if !locked {
        return Ok(None);
    }
    let number = sqlx::query_scalar!(
        r#"SELECT crl_number + 1 AS "next!" FROM certificate_authorities WHERE id = $1"#,
        authority_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(number)
}
