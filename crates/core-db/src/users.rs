//! `users` and `user_organizations`: people and programs, and where they belong.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// One user, without any credential.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// Identity.
    pub id: Uuid,
    /// Unique name to sign in with.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// `invited`, `active`, `locked`, `disabled`.
    pub status: String,
    /// When a password was last set; none: there is none.
    pub password_changed_at: Option<Time>,
    /// Whether a second factor is asked for.
    pub mfa_enabled: bool,
    /// Nobody signs in before.
    pub locked_until: Option<Time>,
    /// When last signed in.
    pub last_login_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// A new user.
pub struct NewUserRow<'a> {
    /// Identity.
    pub id: Uuid,
    /// Unique name to sign in with.
    pub username: &'a str,
    /// Address.
    pub email: &'a str,
    /// Name to show.
    pub display_name: &'a str,
    /// `active` or `invited`.
    pub status: &'a str,
    /// When.
    pub created_at: Time,
}

/// Adds a user.
///
/// # Errors
/// `Conflict` on username or e-mail address.
pub async fn insert(conn: &mut PgConnection, row: &NewUserRow<'_>) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO users (id, username, email, display_name, status, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
        row.id,
        row.username,
        row.email,
        row.display_name,
        row.status,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes a user a member of an organization; the first one is the primary one. Nothing happens
/// when the user is one already.
pub async fn insert_membership(
    conn: &mut PgConnection,
    id: Uuid,
    user_id: Uuid,
    organization_id: Uuid,
    invited_by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO user_organizations (id, user_id, organization_id, is_primary, status, joined_at, invited_by, created_at,
             updated_at)
         VALUES ($1, $2, $3, NOT EXISTS (SELECT FROM user_organizations WHERE user_id = $2 AND is_primary), 'active', $5, $4,
             $5, $5)
         ON CONFLICT (user_id, organization_id) DO NOTHING",
        id,
        user_id,
        organization_id,
        invited_by,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds a user of an organization: a member, whom an invitation alone does not make, or who holds a role everywhere.
pub async fn find_in_organization(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
    now: Time,
) -> Result<Option<UserRow>, DbError> {
    Ok(sqlx::query_as!(
        UserRow,
        "SELECT u.id, u.username, u.email, u.display_name, u.status, u.password_changed_at, u.mfa_enabled, u.locked_until,
                u.last_login_at, u.created_at, u.version
         FROM users u
         WHERE u.id = $1 AND u.deleted_at IS NULL AND (
             EXISTS (SELECT FROM user_organizations m
                     WHERE m.user_id = u.id AND m.organization_id = $2 AND m.status IN ('active', 'suspended'))
             OR EXISTS (SELECT FROM user_roles a
                        WHERE a.user_id = u.id AND a.organization_id IS NULL AND a.revoked_at IS NULL
                          AND a.valid_from <= $3 AND (a.valid_until IS NULL OR $3 < a.valid_until)))",
        id,
        organization_id,
        now
    )
    .fetch_optional(conn)
    .await?)
}

/// Members of an organization, newest first, below `before`.
pub async fn list_in_organization(
    conn: &mut PgConnection,
    organization_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<UserRow>, DbError> {
    Ok(sqlx::query_as!(
        UserRow,
        "SELECT u.id, u.username, u.email, u.display_name, u.status, u.password_changed_at, u.mfa_enabled, u.locked_until,
                u.last_login_at, u.created_at, u.version
         FROM user_organizations m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL
           AND ($2::uuid IS NULL OR m.user_id < $2)
         ORDER BY m.user_id DESC LIMIT $3",
        organization_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// How many members an organization has.
pub async fn count_in_organization(conn: &mut PgConnection, organization_id: Uuid) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM user_organizations m JOIN users u ON u.id = m.user_id
           WHERE m.organization_id = $1 AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL"#,
        organization_id
    )
    .fetch_one(conn)
    .await?)
}

/// Whether the user belongs to another organization or holds a role everywhere.
pub async fn reaches_beyond(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT (EXISTS (SELECT FROM user_organizations
                           WHERE user_id = $1 AND organization_id <> $2 AND status IN ('active', 'suspended'))
                   OR EXISTS (SELECT FROM user_roles
                              WHERE user_id = $1 AND revoked_at IS NULL
                                AND (organization_id IS NULL OR organization_id <> $2))) AS "reaches!""#,
        id,
        organization_id
    )
    .fetch_one(conn)
    .await?)
}

/// The organization that a user works in unless another is named: the primary one, or the only one.
pub async fn find_home(conn: &mut PgConnection, id: Uuid) -> Result<Option<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT organization_id FROM user_organizations WHERE user_id = $1 AND status = 'active'
         ORDER BY is_primary DESC, id LIMIT 1",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// The state of a user's membership (`invited`, `active`, `suspended`, `left`), if there is one.
pub async fn find_membership_status(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT status FROM user_organizations WHERE user_id = $1 AND organization_id = $2",
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Changes name and address.
///
/// # Errors
/// `RowCount` when it has changed since `version`; `Conflict` on the address.
pub async fn update(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    email: &str,
    display_name: &str,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE users SET email = $3, display_name = $4, updated_at = $5, version = version + 1
         WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
        id,
        version,
        email,
        display_name,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Changes the status.
///
/// # Errors
/// `RowCount` when it has changed since `version`.
pub async fn set_status(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    status: &str,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE users SET status = $3, updated_at = $4, version = version + 1
         WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
        id,
        version,
        status,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Deletes a user: the row stays, and its memberships, groups, roles and keys end. No provisioning client calls it anything
/// any more.
///
/// # Errors
/// `RowCount` when it has changed since `version`.
pub async fn delete(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "WITH deleted AS (
             UPDATE users SET deleted_at = $4, status = 'disabled', password_hash = NULL, password_salt = NULL,
                 mfa_enabled = false, mfa_secret_encrypted = NULL, updated_at = $4, version = version + 1
             WHERE id = $1 AND version = $2 AND deleted_at IS NULL
             RETURNING id
         ), memberships AS (
             UPDATE user_organizations m SET status = 'left', is_primary = false, updated_at = $4, version = version + 1
             FROM deleted WHERE m.user_id = deleted.id AND m.status <> 'left'
         ), roles AS (
             UPDATE user_roles r SET revoked_at = $4, revoked_by = $3, revocation_reason = 'the user was deleted', updated_at = $4,
                 version = version + 1
             FROM deleted WHERE r.user_id = deleted.id AND r.revoked_at IS NULL
         ), passkeys AS (
             UPDATE passkeys p SET revoked_at = $4, updated_at = $4
             FROM deleted WHERE p.user_id = deleted.id AND p.revoked_at IS NULL
         ), identities AS (
             UPDATE external_identities e SET revoked_at = $4, updated_at = $4
             FROM deleted WHERE e.user_id = deleted.id AND e.revoked_at IS NULL
         ), left_groups AS (
             UPDATE group_members g SET left_at = $4, updated_at = $4
             FROM deleted WHERE g.user_id = deleted.id AND g.left_at IS NULL
             RETURNING g.group_id
         ), changed_groups AS (
             UPDATE groups SET updated_at = $4, version = version + 1 WHERE id IN (SELECT group_id FROM left_groups)
         ), provisioned AS (
             UPDATE provisioned_users p SET external_id = NULL, updated_at = $4, version = version + 1
             FROM deleted WHERE p.user_id = deleted.id AND p.external_id IS NOT NULL
         ), keys AS (
             UPDATE api_keys k SET revoked_at = $4, revoked_by = $3, updated_at = $4, version = version + 1
             FROM deleted WHERE k.user_id = deleted.id AND k.revoked_at IS NULL
         )
         SELECT id FROM deleted",
        id,
        version,
        by,
        now
    )
    .fetch_all(conn)
    .await?;
    match result.len() {
        1 => Ok(()),
        _ => Err(DbError::RowCount { expected: 1, got: 0 }),
    }
}

/// Users with the organization that each works in unless another is named; who has none is left out.
pub async fn list_homes(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, DbError> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (user_id) user_id, organization_id FROM user_organizations
         WHERE user_id = ANY($1) AND status = 'active' ORDER BY user_id, is_primary DESC, id",
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.organization_id)).collect())
}
