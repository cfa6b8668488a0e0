//! `bootstrap_tokens`: the one-time tokens of the first administrator. Only their hashes are stored.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// Adds a token.
pub async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    token_hash: &[u8; 32],
    expires_at: Time,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO bootstrap_tokens (id, token_hash, expires_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)",
        id,
        token_hash,
        expires_at,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses up a token that is still good; gives its id, or nothing.
pub async fn take(conn: &mut PgConnection, token_hash: &[u8], now: Time) -> Result<Option<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "UPDATE bootstrap_tokens SET used_at = $2, updated_at = $2
         WHERE token_hash = $1 AND used_at IS NULL AND $2 < expires_at
         RETURNING id",
        token_hash,
        now
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes who came of it.
pub async fn set_user(conn: &mut PgConnection, id: Uuid, user_id: Uuid) -> Result<(), DbError> {
    sqlx::query!("UPDATE bootstrap_tokens SET used_by = $2 WHERE id = $1", id, user_id).execute(conn).await?;
    Ok(())
}

/// Lets only one transaction at a time make the first organization.
pub async fn lock(conn: &mut PgConnection) -> Result<(), DbError> {
    // Any number that nothing else in this database locks.
    sqlx::query!("SELECT pg_advisory_xact_lock(7305002)").fetch_one(conn).await?;
    Ok(())
}
