//! `follower_positions`: how far Secure's events are reflected in Core.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// Creates the position at 0 unless there is one.
pub async fn ensure_position(
    conn: &mut PgConnection,
    id: Uuid,
    source: &str,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO follower_positions (id, source, sequence, created_at, updated_at) VALUES ($1, $2, 0, $3, $3)
         ON CONFLICT (source) DO NOTHING",
        id,
        source,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The last sequence that is reflected.
pub async fn find_position(conn: &mut PgConnection, source: &str) -> Result<Option<i64>, DbError> {
    let sequence = sqlx::query_scalar!("SELECT sequence FROM follower_positions WHERE source = $1", source)
        .fetch_optional(conn)
        .await?;
    Ok(sequence)
}

/// The last sequence that is reflected, locked until the transaction ends; none when another process is at it.
pub async fn lock_position(conn: &mut PgConnection, source: &str) -> Result<Option<i64>, DbError> {
    let sequence = sqlx::query_scalar!(
        "SELECT sequence FROM follower_positions WHERE source = $1 FOR UPDATE SKIP LOCKED",
        source
    )
    .fetch_optional(conn)
    .await?;
    Ok(sequence)
}

/// Moves the position forward.
pub async fn advance(conn: &mut PgConnection, source: &str, sequence: i64, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE follower_positions SET sequence = $2, updated_at = $3 WHERE source = $1 AND sequence <= $2",
        source,
        sequence,
        now
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// Tells the validation services of all processes what to forget.
pub async fn announce(conn: &mut PgConnection, what: &str) -> Result<(), DbError> {
    sqlx::query!(r#"SELECT pg_notify('clm_validation', $1)::text AS notified"#, what).fetch_one(conn).await?;
    Ok(())
}
