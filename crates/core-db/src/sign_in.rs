//! What `users` keeps for signing in: the password, failures, the second factor.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A user as signing in needs it.
pub struct SignInRow {
    /// Identity.
    pub id: Uuid,
    /// Unique name.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// Argon2id in PHC form; none: no sign-in by password.
    pub password_hash: Option<String>,
    /// When it was set; hashing the same one at another cost does not count.
    pub password_changed_at: Option<Time>,
    /// `users.status`.
    pub status: String,
    /// Nobody signs in before.
    pub locked_until: Option<Time>,
}

/// Finds a user by name, whatever the case.
pub async fn find(conn: &mut PgConnection, username: &str) -> Result<Option<SignInRow>, DbError> {
    Ok(sqlx::query_as!(
        SignInRow,
        "SELECT id, username, email, display_name, password_hash, password_changed_at, status, locked_until
         FROM users WHERE lower(username) = lower($1) AND deleted_at IS NULL",
        username
    )
    .fetch_optional(conn)
    .await?)
}

/// Finds a user by address, whatever the case.
pub async fn find_by_email(conn: &mut PgConnection, email: &str) -> Result<Option<SignInRow>, DbError> {
    Ok(sqlx::query_as!(
        SignInRow,
        "SELECT id, username, email, display_name, password_hash, password_changed_at, status, locked_until
         FROM users WHERE lower(email) = lower($1) AND deleted_at IS NULL",
        email
    )
    .fetch_optional(conn)
    .await?)
}

/// Finds a user by identity.
pub async fn find_by_id(conn: &mut PgConnection, id: Uuid) -> Result<Option<SignInRow>, DbError> {
    Ok(sqlx::query_as!(
        SignInRow,
        "SELECT id, username, email, display_name, password_hash, password_changed_at, status, locked_until
         FROM users WHERE id = $1 AND deleted_at IS NULL",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// These users, in the order of their identities.
pub async fn list(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<SignInRow>, DbError> {
    Ok(sqlx::query_as!(
        SignInRow,
        "SELECT id, username, email, display_name, password_hash, password_changed_at, status, locked_until
         FROM users WHERE id = ANY($1) AND deleted_at IS NULL ORDER BY id",
        ids
    )
    .fetch_all(conn)
    .await?)
}

/// Finds a user by identity, and keeps others from changing it until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<Option<SignInRow>, DbError> {
    Ok(sqlx::query_as!(
        SignInRow,
        "SELECT id, username, email, display_name, password_hash, password_changed_at, status, locked_until
         FROM users WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// As [`lock`], but none when another transaction has it: never waits.
pub async fn lock_if_free(conn: &mut PgConnection, id: Uuid) -> Result<Option<SignInRow>, DbError> {
    Ok(sqlx::query_as!(
        SignInRow,
        "SELECT id, username, email, display_name, password_hash, password_changed_at, status, locked_until
         FROM users WHERE id = $1 AND deleted_at IS NULL FOR UPDATE SKIP LOCKED",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// The most passes that a stored password takes.
pub async fn find_highest_cost(conn: &mut PgConnection) -> Result<Option<i32>, DbError> {
    Ok(sqlx::query_scalar!(
        r"SELECT max(substring(password_hash FROM '^\$argon2id\$v=19\$m=19456,t=(\d{1,2}),')::integer)
         FROM users WHERE password_hash IS NOT NULL"
    )
    .fetch_one(conn)
    .await?)
}

/// When a user is locked: after `most` failures since `window_start`, until `locked_until`.
pub struct Lockout {
    /// Failures that lock.
    pub most: i32,
    /// Older failures do not count.
    pub window_start: Time,
    /// Until when a lock that begins now lasts.
    pub locked_until: Time,
}

/// Notes a failure, which does not count while the user is locked. Whether it locked the user.
pub async fn note_failure(
    conn: &mut PgConnection,
    id: Uuid,
    lockout: &Lockout,
    now: Time,
) -> Result<bool, DbError> {
    let locked = sqlx::query_scalar!(
        r#"UPDATE users
           SET locked_until = CASE WHEN recent_failed_logins[$3 - 1] >= $4 THEN $5 ELSE locked_until END,
               recent_failed_logins = (array_prepend($2::timestamptz, recent_failed_logins))[1:$3],
               failed_login_attempts = failed_login_attempts + 1, last_failed_login_at = $2
           WHERE id = $1 AND (locked_until IS NULL OR locked_until <= $2)
           RETURNING COALESCE(locked_until > $2, false) AS "locked!""#,
        id,
        now,
        lockout.most,
        lockout.window_start,
        lockout.locked_until
    )
    .fetch_optional(conn)
    .await?;
    Ok(locked.unwrap_or(false))
}

/// Notes a whole sign-in and forgets failures.
pub async fn note_success(
    conn: &mut PgConnection,
    id: Uuid,
    address: Option<&str>,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE users
         SET recent_failed_logins = '{}', failed_login_attempts = 0, locked_until = NULL, last_login_at = $3,
             last_login_address = $2::text::inet
         WHERE id = $1",
        id,
        address,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a lock. Whether there was one.
pub async fn unlock(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "UPDATE users
         SET recent_failed_logins = '{}', failed_login_attempts = 0, locked_until = NULL, updated_at = $2, version = version + 1
         WHERE id = $1 AND locked_until > $2 AND deleted_at IS NULL",
        id,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Sets a password in place of the one that was read, keeps that one among the former ones, and makes an invited user active.
///
/// # Errors
/// `RowCount` when it has changed meanwhile.
pub async fn set_password(
    conn: &mut PgConnection,
    id: Uuid,
    old_hash: Option<&str>,
    (hash, salt): (&str, &str),
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "WITH former AS (
             INSERT INTO former_passwords (user_id, password_hash, created_at)
             SELECT $1, $2, $5 WHERE $2::text IS NOT NULL
         )
         UPDATE users
         SET password_hash = $3, password_salt = $4, password_changed_at = $5, updated_at = $5, version = version + 1,
             status = CASE WHEN status = 'invited' THEN 'active' ELSE status END
         WHERE id = $1 AND password_hash IS NOT DISTINCT FROM $2 AND deleted_at IS NULL",
        id,
        old_hash,
        hash,
        salt,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Writes the same password at another cost.
pub async fn rehash_password(
    conn: &mut PgConnection,
    id: Uuid,
    old_hash: &str,
    (hash, salt): (&str, &str),
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE users SET password_hash = $3, password_salt = $4 WHERE id = $1 AND password_hash = $2",
        id,
        old_hash,
        hash,
        salt
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The last passwords that a user had before the present one, newest first.
pub async fn list_former_passwords(
    conn: &mut PgConnection,
    user_id: Uuid,
    limit: i64,
) -> Result<Vec<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT password_hash FROM former_passwords WHERE user_id = $1 ORDER BY id DESC LIMIT $2",
        user_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}
