//! `user_roles`: who has which role, when and where.

use chrono::TimeDelta;
use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// Later than anything begins.
const EVER: TimeDelta = TimeDelta::days(100 * 365);

/// That a user has a role.
#[derive(Debug, Clone)]
pub struct AssignmentRow {
    /// Identity.
    pub id: Uuid,
    /// Who has it.
    pub user_id: Uuid,
    /// The role.
    pub role_id: Uuid,
    /// Where; none: everywhere.
    pub organization_id: Option<Uuid>,
    /// The group whose members hold it; none: given to the user alone.
    pub group_id: Option<Uuid>,
    /// From when.
    pub valid_from: Time,
    /// Until before when.
    pub valid_until: Option<Time>,
    /// Who gave it.
    pub assigned_by: Option<Uuid>,
    /// Why.
    pub assignment_reason: Option<String>,
    /// When it was taken away.
    pub revoked_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// A role that holds now, by assignment or as the parent of one.
#[derive(Debug, Clone)]
pub struct HeldRoleRow {
    /// The role.
    pub role_id: Uuid,
    /// Its code.
    pub role_code: String,
    /// Where it holds; none: everywhere.
    pub organization_id: Option<Uuid>,
    /// From when.
    pub valid_from: Time,
    /// Until before when.
    pub valid_until: Option<Time>,
    /// Array of `noun:verb` texts.
    pub permissions: Value,
    /// Assigned itself, not only as a parent.
    pub assigned: bool,
}

impl HeldRoleRow {
    /// Whether it holds in this organization, there or everywhere.
    pub fn holds_in(&self, organization_id: Uuid) -> bool {
        self.organization_id.is_none_or(|id| id == organization_id)
    }
}

/// Gives a role to a user alone.
///
/// # Errors
/// `Conflict` when the user has it there already.
pub async fn insert(conn: &mut PgConnection, row: &AssignmentRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO user_roles (id, user_id, role_id, organization_id, valid_from, valid_until, assigned_by,
             assignment_reason, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        row.id,
        row.user_id,
        row.role_id,
        row.organization_id,
        row.valid_from,
        row.valid_until,
        row.assigned_by,
        row.assignment_reason,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds an assignment in an organization, or everywhere.
pub async fn find(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<AssignmentRow>, DbError> {
    Ok(sqlx::query_as!(
        AssignmentRow,
        "SELECT id, user_id, role_id, organization_id, group_id, valid_from, valid_until, assigned_by, assignment_reason,
                revoked_at, created_at, version
         FROM user_roles WHERE id = $1 AND (organization_id = $2 OR organization_id IS NULL)",
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Assignments in an organization (and those that hold everywhere), newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    user_id: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AssignmentRow>, DbError> {
    Ok(sqlx::query_as!(
        AssignmentRow,
        "SELECT id, user_id, role_id, organization_id, group_id, valid_from, valid_until, assigned_by, assignment_reason,
                revoked_at, created_at, version
         FROM user_roles
         WHERE (organization_id = $1 OR organization_id IS NULL) AND ($2::uuid IS NULL OR user_id = $2)
           AND ($3::uuid IS NULL OR id < $3)
         ORDER BY id DESC LIMIT $4",
        organization_id,
        user_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Takes a role away.
///
/// # Errors
/// `RowCount` when it was taken away before.
pub async fn revoke(
    conn: &mut PgConnection,
    id: Uuid,
    revoked_by: Option<Uuid>,
    reason: Option<&str>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE user_roles SET revoked_at = $4, revoked_by = $2, revocation_reason = $3, updated_at = $4,
             version = version + 1
         WHERE id = $1 AND revoked_at IS NULL",
        id,
        revoked_by,
        reason,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Every role that a user holds now, anywhere, with the parents of each.
pub async fn list_held(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: Time,
) -> Result<Vec<HeldRoleRow>, DbError> {
    list_held_within(conn, user_id, now, now).await
}

/// The same with those that begin later.
pub async fn list_held_from(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: Time,
) -> Result<Vec<HeldRoleRow>, DbError> {
    list_held_within(conn, user_id, now, now + EVER).await
}

/// Roles that begin until `latest` and have not ended `now`.
async fn list_held_within(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: Time,
    latest: Time,
) -> Result<Vec<HeldRoleRow>, DbError> {
    Ok(sqlx::query_as!(
        HeldRoleRow,
        r#"WITH RECURSIVE held AS (
               SELECT r.id, r.role_code, r.parent_role_id, ur.organization_id, ur.valid_from, ur.valid_until, r.permissions,
                      true AS assigned
               FROM users u
               JOIN user_roles ur ON u.id = ur.user_id
               JOIN roles r ON ur.role_id = r.id
               WHERE u.id = $1 AND ur.revoked_at IS NULL AND r.deleted_at IS NULL
                 AND ur.valid_from <= $3 AND (ur.valid_until IS NULL OR $2 < ur.valid_until)
               UNION
               SELECT r.id, r.role_code, r.parent_role_id, held.organization_id, held.valid_from, held.valid_until,
                      r.permissions, false
               FROM held JOIN roles r ON r.id = held.parent_role_id
               WHERE r.deleted_at IS NULL
           )
           SELECT id AS "role_id!", role_code AS "role_code!", organization_id, valid_from AS "valid_from!", valid_until,
                  permissions AS "permissions!", assigned AS "assigned!"
           FROM held"#,
        user_id,
        now,
        latest
    )
    .fetch_all(conn)
    .await?)
}

/// Lets only one transaction at a time change who administrates the installation.
pub async fn lock_administrators(conn: &mut PgConnection) -> Result<(), DbError> {
    // Any number that nothing else in this database locks.
    sqlx::query!("SELECT pg_advisory_xact_lock(7305001)").fetch_one(conn).await?;
    Ok(())
}

/// How many active users other than `except_user_id` hold a role everywhere, without an end.
pub async fn count_other_holders(
    conn: &mut PgConnection,
    role_id: Uuid,
    except_user_id: Uuid,
    now: Time,
) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(DISTINCT ur.user_id) AS "count!"
           FROM user_roles ur JOIN users u ON u.id = ur.user_id
           WHERE ur.role_id = $1 AND ur.organization_id IS NULL AND ur.revoked_at IS NULL
             AND ur.valid_from <= $3 AND ur.valid_until IS NULL
             AND u.id <> $2 AND u.status = 'active' AND u.deleted_at IS NULL"#,
        role_id,
        except_user_id,
        now
    )
    .fetch_one(conn)
    .await?)
}

/// An active user who holds a role everywhere.
#[derive(Debug, Clone)]
pub struct HolderRow {
    /// The user.
    pub user_id: Uuid,
    /// Its name.
    pub username: String,
}

/// The active user of this name who holds a role everywhere now.
pub async fn find_holder(
    conn: &mut PgConnection,
    role_id: Uuid,
    username: &str,
    now: Time,
) -> Result<Option<HolderRow>, DbError> {
    Ok(sqlx::query_as!(
        HolderRow,
        "SELECT u.id AS user_id, u.username
         FROM users u
         WHERE u.username = $2 AND u.status = 'active' AND u.deleted_at IS NULL
           AND EXISTS (SELECT FROM user_roles ur
                       WHERE ur.user_id = u.id AND ur.role_id = $1 AND ur.organization_id IS NULL
                         AND ur.revoked_at IS NULL AND ur.valid_from <= $3
                         AND (ur.valid_until IS NULL OR $3 < ur.valid_until))",
        role_id,
        username,
        now
    )
    .fetch_optional(conn)
    .await?)
}

/// The first active users, by name, who hold a role everywhere now.
pub async fn list_holders(
    conn: &mut PgConnection,
    role_id: Uuid,
    now: Time,
    limit: i64,
) -> Result<Vec<HolderRow>, DbError> {
    Ok(sqlx::query_as!(
        HolderRow,
        "SELECT DISTINCT u.id AS user_id, u.username
         FROM user_roles ur JOIN users u ON u.id = ur.user_id
         WHERE ur.role_id = $1 AND ur.organization_id IS NULL AND ur.revoked_at IS NULL
           AND ur.valid_from <= $2 AND (ur.valid_until IS NULL OR $2 < ur.valid_until)
           AND u.status = 'active' AND u.deleted_at IS NULL
         ORDER BY u.username LIMIT $3",
        role_id,
        now,
        limit
    )
    .fetch_all(conn)
    .await?)
}
