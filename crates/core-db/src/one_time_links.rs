//! `one_time_links`: invitations and password resets.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A link in the making.
pub struct NewLinkRow<'a> {
    /// Identity.
    pub id: Uuid,
    /// For whom.
    pub user_id: Uuid,
    /// `invitation` or `password_reset`.
    pub purpose: &'a str,
    /// SHA-256 of its token.
    pub token_hash: &'a [u8; 32],
    /// Who makes it.
    pub made_by: Option<Uuid>,
    /// When it ends.
    pub expires_at: Time,
    /// When it is made.
    pub created_at: Time,
}

/// A link that can be used.
pub struct LinkRow {
    /// Identity.
    pub id: Uuid,
    /// For whom.
    pub user_id: Uuid,
    /// `invitation` or `password_reset`.
    pub purpose: String,
    /// Who made it; nobody if its user asked for it.
    pub made_by: Option<Uuid>,
}

/// Adds a link.
pub async fn insert(conn: &mut PgConnection, row: &NewLinkRow<'_>) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO one_time_links (id, user_id, purpose, token_hash, made_by, expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        row.id,
        row.user_id,
        row.purpose,
        row.token_hash,
        row.made_by,
        row.expires_at,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds a link that can be used now, whose maker is still active, and keeps others from using it until the transaction ends.
pub async fn find_usable(
    conn: &mut PgConnection,
    token_hash: &[u8; 32],
    now: Time,
) -> Result<Option<LinkRow>, DbError> {
    Ok(sqlx::query_as!(
        LinkRow,
        "SELECT l.id, l.user_id, l.purpose, l.made_by FROM one_time_links l
         WHERE l.token_hash = $1 AND l.used_at IS NULL AND l.revoked_at IS NULL AND $2 < l.expires_at
           AND (l.made_by IS NULL
                OR EXISTS (SELECT FROM users m WHERE m.id = l.made_by AND m.status = 'active' AND m.deleted_at IS NULL))
         FOR UPDATE OF l",
        token_hash,
        now
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes the use of a link.
pub async fn note_use(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!("UPDATE one_time_links SET used_at = $2, updated_at = $2 WHERE id = $1", id, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends all links of a user that were not used.
pub async fn revoke_all(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE one_time_links SET revoked_at = $2, updated_at = $2
         WHERE user_id = $1 AND used_at IS NULL AND revoked_at IS NULL",
        user_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the links that a user has asked for and not used; those that somebody else made stay.
pub async fn revoke_asked_for(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE one_time_links SET revoked_at = $2, updated_at = $2
         WHERE user_id = $1 AND purpose = 'password_reset' AND made_by IS NULL AND used_at IS NULL AND revoked_at IS NULL",
        user_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends all links of these users that were not used.
pub async fn revoke_all_of(conn: &mut PgConnection, users: &[Uuid], now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE one_time_links SET revoked_at = $2, updated_at = $2
         WHERE user_id = ANY($1) AND used_at IS NULL AND revoked_at IS NULL",
        users,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}
