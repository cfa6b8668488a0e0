//! `user_organizations`: where users belong, and how that begins and ends.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::workload_rules;

/// A membership as its user sees it.
#[derive(Debug, Clone)]
pub struct MembershipRow {
    /// The organization.
    pub organization_id: Uuid,
    /// Its short code.
    pub org_code: String,
    /// Its name.
    pub org_name: String,
    /// `invited`, `active`, `suspended`.
    pub status: String,
    /// Whether it is the user's first choice.
    pub is_primary: bool,
    /// When the user last joined.
    pub joined_at: Option<Time>,
}

/// The memberships of a user that have not ended, the first choice first.
pub async fn list(conn: &mut PgConnection, user_id: Uuid, limit: i64) -> Result<Vec<MembershipRow>, DbError> {
    Ok(sqlx::query_as!(
        MembershipRow,
        "SELECT m.organization_id, o.org_code, o.org_name, m.status, m.is_primary, m.joined_at
         FROM user_organizations m JOIN organizations o ON o.id = m.organization_id
         WHERE m.user_id = $1 AND m.status <> 'left' AND o.deleted_at IS NULL
         ORDER BY m.is_primary DESC, m.id LIMIT $2",
        user_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Invites a user, who may have left before and is remembered as a former member then. Whether there was anything to do: a member stays one.
pub async fn invite(
    conn: &mut PgConnection,
    id: Uuid,
    user_id: Uuid,
    organization_id: Uuid,
    invited_by: Option<Uuid>,
    now: Time,
) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "INSERT INTO user_organizations (id, user_id, organization_id, status, invited_by, created_at, updated_at)
         VALUES ($1, $2, $3, 'invited', $4, $5, $5)
         ON CONFLICT (user_id, organization_id) DO UPDATE
         SET status = 'invited', updated_at = $5, version = user_organizations.version + 1
         WHERE user_organizations.status = 'left'",
        id,
        user_id,
        organization_id,
        invited_by,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Moves a membership from one state to another.
///
/// # Errors
/// `RowCount` when it is in none of the states in `from`.
pub async fn set_status(
    conn: &mut PgConnection,
    user_id: Uuid,
    organization_id: Uuid,
    from: &[String],
    to: &str,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE user_organizations
         SET status = $4, is_primary = is_primary AND $4 <> 'left', updated_at = $5, version = version + 1,
             joined_at = CASE WHEN $4 <> 'active' THEN joined_at
                              WHEN status = 'invited' THEN $5
                              ELSE COALESCE(joined_at, $5) END
         WHERE user_id = $1 AND organization_id = $2 AND status = ANY($3)",
        user_id,
        organization_id,
        from,
        to,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Makes an active membership the user's first choice.
///
/// # Errors
/// `RowCount` when it is not active.
pub async fn set_primary(
    conn: &mut PgConnection,
    user_id: Uuid,
    organization_id: Uuid,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE user_organizations SET is_primary = false, updated_at = $2, version = version + 1
         WHERE user_id = $1 AND is_primary",
        user_id,
        now
    )
    .execute(&mut *conn)
    .await?;
    let result = sqlx::query!(
        "UPDATE user_organizations SET is_primary = true, updated_at = $3, version = version + 1
         WHERE user_id = $1 AND organization_id = $2 AND status = 'active'",
        user_id,
        organization_id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Lets nobody else change the groups that a user belongs to, of one organization or of all, until the transaction ends. Groups are locked
/// before memberships, as by those who change groups.
pub async fn lock_groups(
    conn: &mut PgConnection,
    user_id: Uuid,
    organization_id: Option<Uuid>,
) -> Result<(), DbError> {
    sqlx::query!(
        "SELECT g.id FROM groups g JOIN group_members m ON m.group_id = g.id
         WHERE m.user_id = $1 AND ($2::uuid IS NULL OR m.organization_id = $2) AND m.left_at IS NULL
         ORDER BY g.id
         FOR UPDATE OF g",
        user_id,
        organization_id
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Ends what a user has in an organization: roles and groups there, workload rules that give their keys, and keys that work there
/// alone. The caller holds [`lock_groups`] and the membership.
pub async fn end_rights(
    conn: &mut PgConnection,
    user_id: Uuid,
    organization_id: Uuid,
    by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    // A statement sees what was there when it began: by then no group of theirs may be giving a role, not even one that they
    // joined since the caller's look.
    lock_groups(conn, user_id, Some(organization_id)).await?;
    workload_rules::disable_of_user(conn, user_id, Some(organization_id), now).await?;
    sqlx::query!(
        "WITH roles AS (
             UPDATE user_roles SET revoked_at = $4, revoked_by = $3, revocation_reason = 'the membership ended', updated_at = $4,
                 version = version + 1
             WHERE user_id = $1 AND organization_id = $2 AND revoked_at IS NULL
         ), left_groups AS (
             UPDATE group_members SET left_at = $4, updated_at = $4
             WHERE user_id = $1 AND organization_id = $2 AND left_at IS NULL
             RETURNING group_id
         ), changed_groups AS (
             UPDATE groups SET updated_at = $4, version = version + 1 WHERE id IN (SELECT group_id FROM left_groups)
         )
         UPDATE api_keys SET revoked_at = $4, revoked_by = $3, updated_at = $4, version = version + 1
         WHERE user_id = $1 AND organization_id = $2 AND revoked_at IS NULL",
        user_id,
        organization_id,
        by,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a user is an active member elsewhere.
pub async fn has_other(
    conn: &mut PgConnection,
    user_id: Uuid,
    organization_id: Uuid,
) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM user_organizations
                          WHERE user_id = $1 AND organization_id <> $2 AND status = 'active') AS "has!""#,
        user_id,
        organization_id
    )
    .fetch_one(conn)
    .await?)
}
