//! `roles`: named sets of permissions.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One role.
#[derive(Debug, Clone)]
pub struct RoleRow {
    /// Identity.
    pub id: Uuid,
    /// Short name.
    pub role_code: String,
    /// Name to show.
    pub role_name: String,
    /// What it is for.
    pub description: String,
    /// The role whose permissions it has too.
    pub parent_role_id: Option<Uuid>,
    /// Array of `noun:verb` texts.
    pub permissions: Value,
    /// Built in: cannot be changed.
    pub is_system: bool,
    /// Whose; none: everybody's.
    pub organization_id: Option<Uuid>,
    /// When it was made.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// Adds a role of an organization; it is never built in.
///
/// # Errors
/// `Conflict` on the code.
pub async fn insert(conn: &mut PgConnection, row: &RoleRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO roles (id, role_code, role_name, description, parent_role_id, permissions, organization_id, created_at,
             updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        row.id,
        row.role_code,
        row.role_name,
        row.description,
        row.parent_role_id,
        row.permissions,
        row.organization_id,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds a role that an organization can use: its own or a built-in one.
pub async fn find(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<RoleRow>, DbError> {
    Ok(sqlx::query_as!(
        RoleRow,
        "SELECT id, role_code, role_name, description, parent_role_id, permissions, is_system, organization_id, created_at,
                version
         FROM roles
         WHERE id = $1 AND (organization_id IS NULL OR organization_id = $2) AND deleted_at IS NULL",
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Roles that an organization can use, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<RoleRow>, DbError> {
    Ok(sqlx::query_as!(
        RoleRow,
        "SELECT id, role_code, role_name, description, parent_role_id, permissions, is_system, organization_id, created_at,
                version
         FROM roles
         WHERE (organization_id IS NULL OR organization_id = $1) AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
        organization_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// The permission arrays of a role and of all its parents.
pub async fn list_permissions(conn: &mut PgConnection, id: Uuid) -> Result<Vec<Value>, DbError> {
    Ok(sqlx::query_scalar!(
        r#"WITH RECURSIVE line AS (
               SELECT r.id, r.parent_role_id, r.permissions FROM roles r WHERE r.id = $1 AND r.deleted_at IS NULL
               UNION
               SELECT r.id, r.parent_role_id, r.permissions FROM roles r JOIN line ON r.id = line.parent_role_id
               WHERE r.deleted_at IS NULL
           )
           SELECT permissions AS "permissions!" FROM line"#,
        id
    )
    .fetch_all(conn)
    .await?)
}

/// Changes a role that is not built in.
///
/// # Errors
/// `RowCount` when it has changed since `version`, or is built in.
pub async fn update(conn: &mut PgConnection, row: &RoleRow, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE roles SET role_name = $3, description = $4, permissions = $5, updated_at = $6, version = version + 1
         WHERE id = $1 AND version = $2 AND NOT is_system AND deleted_at IS NULL",
        row.id,
        row.version,
        row.role_name,
        row.description,
        row.permissions,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
