//! `crls` and `crl_scopes`: every list that was published, and which is the newest of each scope.

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
    /// Which of its certificates it is about; 0 for all.
    pub shard: i16,
    /// Strictly increasing per scope.
    pub crl_number: i64,
    /// Number of the full list that a delta adds to; none for a full list.
    pub base_crl_number: Option<i64>,
    /// When it was made.
    pub this_update: DateTime<Utc>,
    /// When it is to be replaced.
    pub next_update: DateTime<Utc>,
    /// Revoked certificates in it.
    pub entry_count: i64,
    /// Its length.
    pub octet_count: Option<i64>,
    /// Its SHA-256.
    pub sha256: Vec<u8>,
}

/// A scope with the state of its lists.
#[derive(Debug, Clone)]
pub struct ScopeRow {
    /// Whose.
    pub authority_id: Uuid,
    /// Which of its certificates; 0 for all.
    pub shard: i16,
    /// Number of the newest list.
    pub crl_number: i64,
    /// The newest full list.
    pub full_crl_id: Option<Uuid>,
    /// Its number.
    pub base_crl_number: Option<i64>,
    /// When it was made.
    pub last_crl_at: Option<DateTime<Utc>>,
    /// When it is to be replaced; none when it is to be made anew whatever it says.
    pub next_crl_at: Option<DateTime<Utc>>,
}

/// A scope whose lists are due.
#[derive(Debug, Clone)]
pub struct DueScope {
    /// Whose.
    pub authority_id: Uuid,
    /// Which of its certificates.
    pub shard: i16,
    /// Whether the full list is due, not only the delta.
    pub full: bool,
}

/// Makes the scopes of an authority that its envelope wants and that are not there.
///
/// # Errors
/// When the database fails.
pub async fn ensure_scopes(
    conn: &mut PgConnection,
    authority_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO crl_scopes (authority_id, shard, created_at, updated_at)
         SELECT id, generate_series(0, coalesce((envelope->>'crl_shards')::int, 0))::smallint, $2, $2
         FROM certificate_authorities WHERE id = $1
         ON CONFLICT DO NOTHING",
        authority_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The same for every authority: a program of the version before makes authorities without.
///
/// # Errors
/// When the database fails.
pub async fn ensure_all_scopes(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO crl_scopes (authority_id, shard, created_at, updated_at)
         SELECT id, generate_series(0, coalesce((envelope->>'crl_shards')::int, 0))::smallint, $1, $1
         FROM certificate_authorities
         ON CONFLICT DO NOTHING",
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores what is said of a list and points its scope to it.
///
/// # Errors
/// `RowCount` when the scope's number is not below this one, `Conflict`, or when the database fails.
pub async fn insert(conn: &mut PgConnection, row: &CrlRow) -> Result<(), DbError> {
    let kind = if row.base_crl_number.is_some() { "delta" } else { "full" };
    let stored = sqlx::query!(
        "INSERT INTO crls (id, authority_id, shard, crl_number, kind, base_crl_number, this_update, next_update, entry_count,
             octet_count, sha256, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $7)",
        row.id,
        row.authority_id,
        row.shard,
        row.crl_number,
        kind,
        row.base_crl_number,
        row.this_update,
        row.next_update,
        row.entry_count,
        row.octet_count,
        row.sha256
    )
    .execute(&mut *conn)
    .await?;
    expect_rows(&stored, 1)?;
    let pointed = if row.base_crl_number.is_some() {
        sqlx::query!(
            "UPDATE crl_scopes SET crl_number = $3, delta_crl_id = $4, updated_at = $5, version = version + 1
             WHERE authority_id = $1 AND shard = $2 AND crl_number < $3 AND base_crl_number = $6",
            row.authority_id,
            row.shard,
            row.crl_number,
            row.id,
            row.this_update,
            row.base_crl_number
        )
        .execute(conn)
        .await?
    } else {
        sqlx::query!(
            "UPDATE crl_scopes SET crl_number = $3, full_crl_id = $4, delta_crl_id = NULL, base_crl_number = $3,
                 last_crl_at = $5, next_crl_at = $6, updated_at = $5, version = version + 1
             WHERE authority_id = $1 AND shard = $2 AND crl_number < $3",
            row.authority_id,
            row.shard,
            row.crl_number,
            row.id,
            row.this_update,
            row.next_update
        )
        .execute(conn)
        .await?
    };
    expect_rows(&pointed, 1)
}

/// The newest full list of a scope, or the newest delta to it.
///
/// # Errors
/// When the database fails.
pub async fn find_newest(
    conn: &mut PgConnection,
    authority_id: Uuid,
    shard: i16,
    delta: bool,
) -> Result<Option<CrlRow>, DbError> {
    let row = sqlx::query_as!(
        CrlRow,
        "SELECT l.id, l.authority_id, l.shard, l.crl_number, l.base_crl_number, l.this_update, l.next_update, l.entry_count,
             l.octet_count, l.sha256
         FROM crl_scopes s JOIN crls l ON l.id = CASE WHEN $3 THEN s.delta_crl_id ELSE s.full_crl_id END
         WHERE s.authority_id = $1 AND s.shard = $2",
        authority_id,
        shard,
        delta
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A scope of an authority.
///
/// # Errors
/// When the database fails.
pub async fn find_scope(
    conn: &mut PgConnection,
    authority_id: Uuid,
    shard: i16,
) -> Result<Option<ScopeRow>, DbError> {
    let row = sqlx::query_as!(
        ScopeRow,
        // A program of the version before numbers lists without the scope.
        r#"SELECT authority_id, shard,
             greatest(crl_number, (SELECT max(l.crl_number) FROM crls l WHERE l.authority_id = $1 AND l.shard = $2))
                 AS "crl_number!",
             full_crl_id, base_crl_number, last_crl_at, next_crl_at
         FROM crl_scopes WHERE authority_id = $1 AND shard = $2"#,
        authority_id,
        shard
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Scopes whose lists are due, those with new revocations first: a list does not reflect some revocation, half of its life
/// is over, or a delta to it is missing.
///
/// # Errors
/// When the database fails.
pub async fn list_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<DueScope>, DbError> {
    let rows = sqlx::query_as!(
        DueScope,
        r#"SELECT s.authority_id, s.shard, (old OR NOT deltas) AS "full!"
         FROM crl_scopes s
         JOIN certificate_authorities a ON a.id = s.authority_id
         CROSS JOIN LATERAL (SELECT
             coalesce((a.envelope->>'delta_crls')::boolean, false) AS deltas,
             (s.next_crl_at IS NULL OR s.last_crl_at + (s.next_crl_at - s.last_crl_at) / 2 < $1) AS old,
             EXISTS (SELECT FROM certificate_revocations r
                     WHERE r.authority_id = s.authority_id AND coalesce(r.crl_shard, 0::smallint) = s.shard AND r.crl_number IS NULL)
                 AS changed) state
         WHERE a.status <> 'pending' AND (old OR changed OR (deltas AND s.delta_crl_id IS NULL))
         ORDER BY changed DESC, s.next_crl_at NULLS FIRST, s.authority_id, s.shard LIMIT 20000"#,
        now
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Keeps others from making a list of this scope until the transaction ends; false when somebody is at it.
///
/// The lock is an advisory one: the list is stored by other transactions while this one holds it.
///
/// # Errors
/// When the database fails.
pub async fn try_lock_scope(
    conn: &mut PgConnection,
    authority_id: Uuid,
    shard: i16,
) -> Result<bool, DbError> {
    let locked = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended(format('crl/%s/%s', $1::uuid, $2::smallint), 0)) AS "locked!""#,
        authority_id,
        shard
    )
    .fetch_one(conn)
    .await?;
    Ok(locked)
}
