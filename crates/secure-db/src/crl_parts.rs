//! `crl_parts`: the octets of revocation lists.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// Stores a part of a list.
///
/// # Errors
/// `Conflict` when it is there, or when the database fails.
pub async fn insert(
    conn: &mut PgConnection,
    crl_id: Uuid,
    position: i32,
    octets: &[u8],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO crl_parts (crl_id, position, octets, created_at) VALUES ($1, $2, $3, $4)",
        crl_id,
        position,
        octets,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The first part after a place in the list, and its own place.
///
/// # Errors
/// When the database fails.
pub async fn find_next(
    conn: &mut PgConnection,
    crl_id: Uuid,
    after: i32,
) -> Result<Option<(i32, Vec<u8>)>, DbError> {
    let row = sqlx::query!(
        "SELECT position, octets FROM crl_parts WHERE crl_id = $1 AND position > $2 ORDER BY position LIMIT 1",
        crl_id,
        after
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.position, row.octets)))
}

/// Deletes the octets of lists that nobody needs: superseded `before`, and deltas, or not the last that was published on their
/// day, or older than `kept_since`; and of lists that were not finished. 10 lists at most; how many parts.
///
/// # Errors
/// When the database fails.
pub async fn delete_superseded(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    kept_since: DateTime<Utc>,
) -> Result<i64, DbError> {
    let deleted =
        sqlx::query_scalar!(r#"SELECT delete_superseded_crls($1, $2) AS "deleted!""#, before, kept_since)
            .fetch_one(conn)
            .await?;
    Ok(deleted)
}

/// Deletes the octets of a list that was not published.
///
/// # Errors
/// When the database fails.
pub async fn delete_unfinished(conn: &mut PgConnection, crl_id: Uuid) -> Result<(), DbError> {
    sqlx::query!("SELECT delete_unfinished_crl($1)", crl_id).execute(conn).await?;
    Ok(())
}
