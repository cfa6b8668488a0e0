//! `email_messages`: e-mail on its way out, written in the commit of what it tells of.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A message in the making.
pub struct NewEmailRow<'a> {
    /// Identity.
    pub id: Uuid,
    /// To whom.
    pub user_id: Uuid,
    /// `noun.verb`.
    pub kind: &'a str,
    /// Where it goes.
    pub recipient: &'a str,
    /// Subject and text, sealed.
    pub content: &'a [u8],
    /// It is given up at this time.
    pub expires_at: Time,
    /// When it is made.
    pub created_at: Time,
}

/// A message that the caller holds.
pub struct ClaimedEmailRow {
    /// Identity.
    pub id: Uuid,
    /// `noun.verb`.
    pub kind: String,
    /// Where it goes.
    pub recipient: String,
    /// Subject and text, sealed.
    pub content: Option<Vec<u8>>,
    /// How often it was tried, this time included.
    pub attempts: i32,
    /// It is given up at this time.
    pub expires_at: Time,
    /// When it was made.
    pub created_at: Time,
}

impl ClaimedEmailRow {
    /// The caller's hold on it.
    pub const fn held(&self) -> HeldEmail {
        HeldEmail { id: self.id, attempts: self.attempts }
    }
}

/// Which message, and which try of it: who lost it to another try can no longer change it.
#[derive(Debug, Clone, Copy)]
pub struct HeldEmail {
    /// The message.
    pub id: Uuid,
    /// `email_messages.attempts` while it is held.
    pub attempts: i32,
}

/// Of one kind, what one user was written.
pub struct Written {
    /// Messages since a time.
    pub lately: i64,
    /// Whether one of them still waits.
    pub waits: bool,
}

/// Adds a message.
pub async fn insert(conn: &mut PgConnection, row: &NewEmailRow<'_>) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO email_messages (id, user_id, kind, recipient, content, send_at, expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $7, $6, $7, $7)",
        row.id,
        row.user_id,
        row.kind,
        row.recipient,
        row.content,
        row.expires_at,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a user was written of a kind since then.
pub async fn find_written(
    conn: &mut PgConnection,
    user_id: Uuid,
    kind: &str,
    since: Time,
) -> Result<Written, DbError> {
    Ok(sqlx::query_as!(
        Written,
        r#"SELECT count(*) AS "lately!", COALESCE(bool_or(status IN ('waiting', 'sending')), false) AS "waits!"
         FROM email_messages WHERE user_id = $1 AND kind = $2 AND created_at > $3"#,
        user_id,
        kind,
        since
    )
    .fetch_one(conn)
    .await?)
}

/// Takes up to `limit` due messages, and those whose worker let its lease run out, until `locked_until`.
pub async fn claim(
    conn: &mut PgConnection,
    now: Time,
    locked_until: Time,
    limit: i64,
) -> Result<Vec<ClaimedEmailRow>, DbError> {
    Ok(sqlx::query_as!(
        ClaimedEmailRow,
        "WITH due AS MATERIALIZED (
             SELECT id FROM email_messages
             WHERE (status = 'waiting' AND send_at <= $1) OR (status = 'sending' AND locked_until <= $1)
             ORDER BY send_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE email_messages m SET status = 'sending', locked_until = $2, attempts = attempts + 1, updated_at = $1
         FROM due WHERE m.id = due.id
         RETURNING m.id, m.kind, m.recipient, m.content, m.attempts, m.expires_at, m.created_at",
        now,
        locked_until,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// The mail server has taken it; what it said is erased.
pub async fn mark_sent(conn: &mut PgConnection, held: HeldEmail, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE email_messages
         SET status = 'sent', content = NULL, locked_until = NULL, last_error = NULL, finished_at = $3, updated_at = $3
         WHERE id = $1 AND attempts = $2 AND status = 'sending'",
        held.id,
        held.attempts,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives it back to be tried again at `send_at`.
pub async fn retry(
    conn: &mut PgConnection,
    held: HeldEmail,
    send_at: Time,
    error: &str,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE email_messages
         SET status = 'waiting', send_at = $3, locked_until = NULL, last_error = $4, updated_at = $5
         WHERE id = $1 AND attempts = $2 AND status = 'sending'",
        held.id,
        held.attempts,
        send_at,
        error,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives it up; what it said is erased.
pub async fn bury(conn: &mut PgConnection, held: HeldEmail, error: &str, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE email_messages
         SET status = 'dead', content = NULL, locked_until = NULL, last_error = $3, finished_at = $4, updated_at = $4
         WHERE id = $1 AND attempts = $2 AND status = 'sending'",
        held.id,
        held.attempts,
        error,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives up, with what they say, up to `limit` messages that were of no use before then and that no worker holds. How many.
pub async fn bury_expired(
    conn: &mut PgConnection,
    before: Time,
    error: &str,
    now: Time,
    limit: i64,
) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE email_messages
         SET status = 'dead', content = NULL, locked_until = NULL, last_error = $2, finished_at = $3, updated_at = $3
         WHERE id IN (
             SELECT id FROM email_messages
             WHERE expires_at <= $1 AND (status = 'waiting' OR (status = 'sending' AND locked_until <= $3))
             ORDER BY expires_at LIMIT $4 FOR UPDATE SKIP LOCKED)",
        before,
        error,
        now,
        limit
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// How many are not sent yet.
pub async fn count_waiting(conn: &mut PgConnection) -> Result<i64, DbError> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT count(*) AS "waiting!" FROM email_messages WHERE status IN ('waiting', 'sending')"#
    );
    Ok(waiting.fetch_one(conn).await?)
}

/// Deletes up to `limit` messages that were finished before then. How many.
pub async fn delete_finished(conn: &mut PgConnection, before: Time, limit: i64) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "DELETE FROM email_messages WHERE id IN (
             SELECT id FROM email_messages WHERE finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        limit
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
