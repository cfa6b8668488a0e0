//! `external_identities`: which user an OpenID provider means by a subject.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// One link between a user and a subject of a provider.
#[derive(Debug, Clone)]
pub struct ExternalIdentityRow {
    /// Identity.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// What the operator calls the provider.
    pub provider: String,
    /// The provider's own name.
    pub issuer: String,
    /// Whom it means.
    pub subject: String,
    /// Whether its user has made it in a session; else the provider's word alone did.
    pub confirmed: bool,
    /// When it last signed in.
    pub last_used_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
}

/// Adds a link.
///
/// # Errors
/// A unique violation when the subject is linked.
pub async fn insert(conn: &mut PgConnection, row: &ExternalIdentityRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO external_identities (id, user_id, provider, issuer, subject, confirmed, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        row.id,
        row.user_id,
        row.provider,
        row.issuer,
        row.subject,
        row.confirmed,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds the link of a subject.
pub async fn find(
    conn: &mut PgConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<ExternalIdentityRow>, DbError> {
    Ok(sqlx::query_as!(
        ExternalIdentityRow,
        "SELECT id, user_id, provider, issuer, subject, confirmed, last_used_at, created_at
         FROM external_identities WHERE issuer = $1 AND subject = $2 AND revoked_at IS NULL",
        issuer,
        subject
    )
    .fetch_optional(conn)
    .await?)
}

/// Whether a subject was linked to a user once, and no longer.
pub async fn was_revoked(conn: &mut PgConnection, issuer: &str, subject: &str) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM external_identities
                          WHERE issuer = $1 AND subject = $2 AND revoked_at IS NOT NULL) AS "was!""#,
        issuer,
        subject
    )
    .fetch_one(conn)
    .await?)
}

/// Links of a user, newest first; at most one to each provider.
pub async fn list(
    conn: &mut PgConnection,
    user_id: Uuid,
    limit: i64,
) -> Result<Vec<ExternalIdentityRow>, DbError> {
    Ok(sqlx::query_as!(
        ExternalIdentityRow,
        "SELECT id, user_id, provider, issuer, subject, confirmed, last_used_at, created_at
         FROM external_identities WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id DESC LIMIT $2",
        user_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Notes a sign-in.
pub async fn note_use(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!("UPDATE external_identities SET last_used_at = $2, updated_at = $2 WHERE id = $1", id, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes that the user has made the link too.
pub async fn confirm(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!("UPDATE external_identities SET confirmed = true, updated_at = $2 WHERE id = $1", id, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a link of a user.
///
/// # Errors
/// `RowCount` when the user has none of this identity.
pub async fn revoke(conn: &mut PgConnection, user_id: Uuid, id: Uuid, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE external_identities SET revoked_at = $3, updated_at = $3
         WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL",
        user_id,
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// By what a user is recognised who comes for the first time.
#[derive(Debug, Clone, Copy)]
pub enum Sign<'a> {
    /// The address.
    Email(&'a str),
    /// What the organization's provisioning client calls it.
    ExternalId(&'a str),
}

/// The user of an organization who is recognised so, belongs nowhere else, holds no role elsewhere or everywhere, and never had a
/// link to this issuer. Kept from changing until the transaction ends.
pub async fn find_newcomer(
    conn: &mut PgConnection,
    organization_id: Uuid,
    sign: Sign<'_>,
    issuer: &str,
) -> Result<Option<Uuid>, DbError> {
    let (email, external_id) = match sign {
        Sign::Email(email) => (Some(email), None),
        Sign::ExternalId(id) => (None, Some(id)),
    };
    Ok(sqlx::query_scalar!(
        "SELECT u.id FROM users u
         WHERE ($2::text IS NULL OR lower(u.email) = lower($2))
           AND ($3::text IS NULL OR u.id = (SELECT p.user_id FROM provisioned_users p
                                            WHERE p.organization_id = $1 AND p.external_id = $3))
           AND u.deleted_at IS NULL AND u.status = 'active'
           AND EXISTS (SELECT FROM user_organizations m
                       WHERE m.user_id = u.id AND m.organization_id = $1 AND m.status = 'active')
           AND NOT EXISTS (SELECT FROM user_organizations m
                           WHERE m.user_id = u.id AND m.organization_id <> $1 AND m.status <> 'left')
           AND NOT EXISTS (SELECT FROM user_roles r
                           WHERE r.user_id = u.id AND r.revoked_at IS NULL
                             AND (r.organization_id IS NULL OR r.organization_id <> $1))
           AND NOT EXISTS (SELECT FROM external_identities e
                           WHERE e.user_id = u.id AND e.issuer = $4)
         FOR UPDATE OF u",
        organization_id,
        email,
        external_id,
        issuer
    )
    .fetch_optional(conn)
    .await?)
}
