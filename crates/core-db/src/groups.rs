//! `groups` and `group_roles`: groups of an organization, and the roles that their members hold.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One group.
#[derive(Debug, Clone)]
pub struct GroupRow {
    /// Identity.
    pub id: Uuid,
    /// Name to show, unique in its organization.
    pub display_name: String,
    /// What the provisioning client calls it.
    pub external_id: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Counts its changes and those of its members.
    pub version: i64,
}

/// A role that a group gives.
#[derive(Debug, Clone)]
pub struct GroupRoleRow {
    /// Identity of the gift.
    pub id: Uuid,
    /// The role.
    pub role_id: Uuid,
    /// Its code.
    pub role_code: String,
    /// Its name.
    pub role_name: String,
    /// Since when.
    pub created_at: Time,
}

/// Which groups to list: all that is named must fit.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    /// This one.
    pub id: Option<Uuid>,
    /// Of this name, whatever the case.
    pub display_name: Option<String>,
    /// Called this by the provisioning client.
    pub external_id: Option<String>,
}

/// Adds a group.
///
/// # Errors
/// `Conflict` on the name or the external id.
pub async fn insert(conn: &mut PgConnection, organization_id: Uuid, row: &GroupRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO groups (id, organization_id, display_name, external_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5)",
        row.id,
        organization_id,
        row.display_name,
        row.external_id,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds a group of an organization.
pub async fn find(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<GroupRow>, DbError> {
    Ok(sqlx::query_as!(
        GroupRow,
        "SELECT id, display_name, external_id, created_at, updated_at, version FROM groups
         WHERE id = $1 AND organization_id = $2 AND deleted_at IS NULL",
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// As [`find`], and lets nobody else change the group, its members or its roles until the transaction ends.
pub async fn lock(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<GroupRow>, DbError> {
    Ok(sqlx::query_as!(
        GroupRow,
        "SELECT id, display_name, external_id, created_at, updated_at, version FROM groups
         WHERE id = $1 AND organization_id = $2 AND deleted_at IS NULL
         FOR UPDATE",
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Groups of an organization, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<GroupRow>, DbError> {
    Ok(sqlx::query_as!(
        GroupRow,
        "SELECT id, display_name, external_id, created_at, updated_at, version FROM groups
         WHERE organization_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
        organization_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Groups that fit, oldest first, above `after`.
pub async fn list_fitting(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &GroupFilter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<GroupRow>, DbError> {
    Ok(sqlx::query_as!(
        GroupRow,
        "SELECT id, display_name, external_id, created_at, updated_at, version FROM groups
         WHERE organization_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id > $2)
           AND ($3::uuid IS NULL OR id = $3) AND ($4::text IS NULL OR lower(display_name) = lower($4))
           AND ($5::text IS NULL OR external_id = $5)
         ORDER BY id LIMIT $6",
        organization_id,
        after,
        filter.id,
        filter.display_name,
        filter.external_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// How many groups fit.
pub async fn count_fitting(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &GroupFilter,
) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM groups
           WHERE organization_id = $1 AND deleted_at IS NULL
             AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR lower(display_name) = lower($3))
             AND ($4::text IS NULL OR external_id = $4)"#,
        organization_id,
        filter.id,
        filter.display_name,
        filter.external_id
    )
    .fetch_one(conn)
    .await?)
}

/// The last of the first `count` groups that fit, oldest first.
pub async fn find_nth(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &GroupFilter,
    count: i64,
) -> Result<Option<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT id FROM (
             SELECT id FROM groups
             WHERE organization_id = $1 AND deleted_at IS NULL
               AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR lower(display_name) = lower($3))
               AND ($4::text IS NULL OR external_id = $4)
             ORDER BY id LIMIT $5) AS first
         ORDER BY id DESC LIMIT 1",
        organization_id,
        filter.id,
        filter.display_name,
        filter.external_id,
        count
    )
    .fetch_optional(conn)
    .await?)
}

/// Changes a group, or only counts that its members changed.
///
/// # Errors
/// `RowCount` when it is gone; `Conflict` on the name or the external id.
pub async fn update(conn: &mut PgConnection, row: &GroupRow, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE groups SET display_name = $2, external_id = $3, updated_at = $4, version = version + 1
         WHERE id = $1 AND deleted_at IS NULL",
        row.id,
        row.display_name,
        row.external_id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Deletes a group: the row stays, its members leave, its roles are taken. What the members held by it ends by
/// [`crate::group_members::end_assignments`].
///
/// # Errors
/// `RowCount` when it is gone.
pub async fn delete(conn: &mut PgConnection, id: Uuid, by: Option<Uuid>, now: Time) -> Result<(), DbError> {
    let deleted = sqlx::query!(
        "WITH deleted AS (
             UPDATE groups SET deleted_at = $3, updated_at = $3, version = version + 1
             WHERE id = $1 AND deleted_at IS NULL
             RETURNING id
         ), members AS (
             UPDATE group_members m SET left_at = $3, updated_at = $3
             FROM deleted WHERE m.group_id = deleted.id AND m.left_at IS NULL
         ), roles AS (
             UPDATE group_roles r SET taken_at = $3, taken_by = $2, updated_at = $3
             FROM deleted WHERE r.group_id = deleted.id AND r.taken_at IS NULL
         )
         SELECT id FROM deleted",
        id,
        by,
        now
    )
    .fetch_all(conn)
    .await?;
    match deleted.len() {
        1 => Ok(()),
        _ => Err(DbError::RowCount { expected: 1, got: 0 }),
    }
}

/// Gives a role to a group.
///
/// # Errors
/// `Conflict` when the group has it.
pub async fn insert_role(
    conn: &mut PgConnection,
    id: Uuid,
    (organization_id, group_id, role_id): (Uuid, Uuid, Uuid),
    by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO group_roles (id, organization_id, group_id, role_id, given_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
        id,
        organization_id,
        group_id,
        role_id,
        by,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a role from a group.
///
/// # Errors
/// `RowCount` when the group does not have it.
pub async fn take_role(
    conn: &mut PgConnection,
    group_id: Uuid,
    role_id: Uuid,
    by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE group_roles SET taken_at = $4, taken_by = $3, updated_at = $4
         WHERE group_id = $1 AND role_id = $2 AND taken_at IS NULL",
        group_id,
        role_id,
        by,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// The roles of a group, newest first.
pub async fn list_roles(
    conn: &mut PgConnection,
    group_id: Uuid,
    limit: i64,
) -> Result<Vec<GroupRoleRow>, DbError> {
    Ok(sqlx::query_as!(
        GroupRoleRow,
        "SELECT g.id, g.role_id, r.role_code, r.role_name, g.created_at
         FROM group_roles g JOIN roles r ON r.id = g.role_id
         WHERE g.group_id = $1 AND g.taken_at IS NULL AND r.deleted_at IS NULL
         ORDER BY g.id DESC LIMIT $2",
        group_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// The permission arrays of all roles of a group, and of their parents.
pub async fn list_permissions(conn: &mut PgConnection, group_id: Uuid) -> Result<Vec<Value>, DbError> {
    Ok(sqlx::query_scalar!(
        r#"WITH RECURSIVE line AS (
               SELECT r.id, r.parent_role_id, r.permissions
               FROM group_roles g JOIN roles r ON r.id = g.role_id
               WHERE g.group_id = $1 AND g.taken_at IS NULL AND r.deleted_at IS NULL
               UNION
               SELECT r.id, r.parent_role_id, r.permissions FROM roles r JOIN line ON r.id = line.parent_role_id
               WHERE r.deleted_at IS NULL
           )
           SELECT permissions AS "permissions!" FROM line"#,
        group_id
    )
    .fetch_all(conn)
    .await?)
}
