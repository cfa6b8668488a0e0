//! Second factors: the secret of one-time codes in `users`, and `recovery_codes`.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// The one-time codes of a user.
pub struct TotpRow {
    /// The secret, sealed; none: not set up.
    pub mfa_secret_encrypted: Option<Vec<u8>>,
    /// Whether it has been confirmed.
    pub totp_enabled: bool,
    /// Whether the user has any second factor.
    pub mfa_enabled: bool,
}

/// Finds the one-time codes of a user.
pub async fn find_totp(conn: &mut PgConnection, user_id: Uuid) -> Result<Option<TotpRow>, DbError> {
    Ok(sqlx::query_as!(
        TotpRow,
        r#"SELECT mfa_secret_encrypted, mfa_configuration @> '{"totp": true}' AS "totp_enabled!", mfa_enabled
           FROM users WHERE id = $1 AND deleted_at IS NULL"#,
        user_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Stores a secret that is still to be confirmed.
///
/// # Errors
/// `RowCount` when one is in use.
pub async fn set_totp(
    conn: &mut PgConnection,
    user_id: Uuid,
    sealed: &[u8],
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        r#"UPDATE users SET mfa_secret_encrypted = $2, totp_last_step = NULL, updated_at = $3, version = version + 1
           WHERE id = $1 AND NOT mfa_configuration @> '{"totp": true}' AND deleted_at IS NULL"#,
        user_id,
        sealed,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Puts the confirmed secret to use.
///
/// # Errors
/// `RowCount` when it was in use already, or another one was made meanwhile.
pub async fn enable_totp(
    conn: &mut PgConnection,
    user_id: Uuid,
    sealed: &[u8],
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        r#"UPDATE users
           SET mfa_enabled = true, mfa_configuration = mfa_configuration || '{"totp": true}', updated_at = $3, version = version + 1
           WHERE id = $1 AND mfa_secret_encrypted = $2 AND NOT mfa_configuration @> '{"totp": true}' AND deleted_at IS NULL"#,
        user_id,
        sealed,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Takes a code of this time step, unless one of it or of a later one was taken before. Whether it was taken.
pub async fn take_step(conn: &mut PgConnection, user_id: Uuid, step: i64) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "UPDATE users SET totp_last_step = $2
         WHERE id = $1 AND (totp_last_step IS NULL OR totp_last_step < $2) AND deleted_at IS NULL",
        user_id,
        step
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Takes one-time codes from a user. Whether there were any.
pub async fn clear_totp(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "UPDATE users
         SET mfa_secret_encrypted = NULL, totp_last_step = NULL, mfa_configuration = mfa_configuration - 'totp', updated_at = $2,
             version = version + 1
         WHERE id = $1 AND mfa_secret_encrypted IS NOT NULL AND deleted_at IS NULL",
        user_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Takes all passkeys from a user. How many there were.
pub async fn clear_passkeys(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE passkeys SET revoked_at = $2, updated_at = $2 WHERE user_id = $1 AND revoked_at IS NULL",
        user_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// Writes down how many factors a user has, after one came or went. Whether there are any.
pub async fn recount(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        r#"UPDATE users u
           SET mfa_configuration = jsonb_set(u.mfa_configuration, '{passkeys}', to_jsonb(c.passkeys)),
               mfa_enabled = c.passkeys > 0 OR u.mfa_configuration @> '{"totp": true}', updated_at = $2, version = version + 1
           FROM (SELECT count(*) AS passkeys FROM passkeys WHERE user_id = $1 AND revoked_at IS NULL) c
           WHERE u.id = $1 AND u.deleted_at IS NULL
           RETURNING u.mfa_enabled"#,
        user_id,
        now
    )
    .fetch_optional(conn)
    .await?
    .unwrap_or(false))
}

/// Puts new recovery codes in the place of those that are left.
pub async fn replace_recovery_codes(
    conn: &mut PgConnection,
    user_id: Uuid,
    hashes: &[Vec<u8>],
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "WITH ended AS (
             UPDATE recovery_codes SET revoked_at = $3, updated_at = $3
             WHERE user_id = $1 AND used_at IS NULL AND revoked_at IS NULL
         )
         INSERT INTO recovery_codes (user_id, code_hash, created_at, updated_at)
         SELECT $1, hash, $3, $3 FROM unnest($2::bytea[]) AS hash",
        user_id,
        hashes,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a recovery code, once. Whether it was taken.
pub async fn take_recovery_code(
    conn: &mut PgConnection,
    user_id: Uuid,
    hash: &[u8],
    now: Time,
) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "UPDATE recovery_codes SET used_at = $3, updated_at = $3
         WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL AND revoked_at IS NULL",
        user_id,
        hash,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}
