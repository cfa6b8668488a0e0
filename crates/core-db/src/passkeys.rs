//! `passkeys` and `passkey_uses`: public keys of authenticators, and the answers of theirs that were taken.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// One passkey.
#[derive(Debug, Clone)]
pub struct PasskeyRow {
    /// Identity.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// The authenticator's name for it.
    pub credential_id: Vec<u8>,
    /// COSE_Key.
    pub public_key: Vec<u8>,
    /// What its owner calls it.
    pub name: String,
    /// How a browser reaches the authenticator.
    pub transports: Vec<String>,
    /// AAGUID.
    pub authenticator_model: Uuid,
    /// The authenticator's counter.
    pub sign_count: i64,
    /// Whether it may be copied to other devices.
    pub backup_eligible: bool,
    /// Whether it was when last used.
    pub backed_up: bool,
    /// When it was last used.
    pub last_used_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
}

/// Adds a passkey.
///
/// # Errors
/// A unique violation when there is one of this credential id.
pub async fn insert(conn: &mut PgConnection, row: &PasskeyRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, name, transports, authenticator_model, sign_count,
             backup_eligible, backed_up, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
        row.id,
        row.user_id,
        row.credential_id,
        row.public_key,
        row.name,
        &row.transports,
        row.authenticator_model,
        row.sign_count,
        row.backup_eligible,
        row.backed_up,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A user's passkeys, newest first; there are at most as many as one may have.
pub async fn list(conn: &mut PgConnection, user_id: Uuid, limit: i64) -> Result<Vec<PasskeyRow>, DbError> {
    Ok(sqlx::query_as!(
        PasskeyRow,
        "SELECT id, user_id, credential_id, public_key, name, transports, authenticator_model, sign_count, backup_eligible,
                backed_up, last_used_at, created_at
         FROM passkeys WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id DESC LIMIT $2",
        user_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Finds a passkey that is in use by the authenticator's name for it.
pub async fn find_by_credential(
    conn: &mut PgConnection,
    credential_id: &[u8],
) -> Result<Option<PasskeyRow>, DbError> {
    Ok(sqlx::query_as!(
        PasskeyRow,
        "SELECT id, user_id, credential_id, public_key, name, transports, authenticator_model, sign_count, backup_eligible,
                backed_up, last_used_at, created_at
         FROM passkeys WHERE credential_id = $1 AND revoked_at IS NULL",
        credential_id
    )
    .fetch_optional(conn)
    .await?)
}

/// An answer of a passkey.
#[derive(Debug, Clone, Copy)]
pub struct PasskeyUse<'a> {
    /// Which passkey.
    pub id: Uuid,
    /// SHA-256 of the challenge.
    pub challenge_hash: &'a [u8],
    /// The authenticator's counter from now on.
    pub sign_count: i64,
    /// Whether the passkey is copied to other devices.
    pub backed_up: bool,
    /// When.
    pub now: Time,
}

/// Takes an answer, unless its challenge was answered before, the passkey was removed, or the authenticator's counter has not
/// risen (section 7.2 of the standard: perhaps there is a copy). Whether it was taken.
pub async fn take_use(conn: &mut PgConnection, taken: &PasskeyUse<'_>) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "WITH used AS (
             INSERT INTO passkey_uses (passkey_id, challenge_hash, created_at)
             VALUES ($1, $2, $5)
             ON CONFLICT (challenge_hash) DO NOTHING
             RETURNING passkey_id
         )
         UPDATE passkeys p SET sign_count = $3, backed_up = $4, last_used_at = $5, updated_at = $5
         FROM used
         WHERE p.id = used.passkey_id AND p.revoked_at IS NULL AND (p.sign_count < $3 OR (p.sign_count = 0 AND $3 = 0))",
        taken.id,
        taken.challenge_hash,
        taken.sign_count,
        taken.backed_up,
        taken.now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Removes a passkey of a user.
///
/// # Errors
/// `RowCount` when the user has none of this identity.
pub async fn revoke(conn: &mut PgConnection, user_id: Uuid, id: Uuid, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE passkeys SET revoked_at = $3, updated_at = $3 WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL",
        user_id,
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
