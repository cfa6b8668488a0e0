//! `workflows`: definitions, one row per version; a version in force never changes but in its status.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One version of a workflow definition.
#[derive(Debug, Clone)]
pub struct WorkflowRow {
    /// This version.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The same in every version.
    pub workflow_code: String,
    /// From 1.
    pub workflow_version: i32,
    /// Name to show.
    pub workflow_name: String,
    /// `issuance`, `renewal`, `revocation`.
    pub workflow_type: String,
    /// The chain of steps.
    pub definition: Value,
    /// When nobody need approve.
    pub auto_approval_conditions: Value,
    /// `draft`, `active`, `superseded`, `retired`.
    pub status: String,
    /// Who wrote it.
    pub created_by: Option<Uuid>,
    /// When.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// Adds a version.
///
/// # Errors
/// `Conflict` when the version, or another active one of this code, exists.
pub async fn insert(conn: &mut PgConnection, row: &WorkflowRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO workflows (id, organization_id, workflow_code, workflow_version, workflow_name, workflow_type,
             definition, auto_approval_conditions, status, created_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
        row.id,
        row.organization_id,
        row.workflow_code,
        row.workflow_version,
        row.workflow_name,
        row.workflow_type,
        row.definition,
        row.auto_approval_conditions,
        row.status,
        row.created_by,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds one version.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<WorkflowRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkflowRow,
        "SELECT id, organization_id, workflow_code, workflow_version, workflow_name, workflow_type, definition,
                auto_approval_conditions, status, created_by, created_at, version
         FROM workflows WHERE id = $1 AND deleted_at IS NULL",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// Finds the version of a code that is in force.
pub async fn find_active(
    conn: &mut PgConnection,
    organization_id: Uuid,
    code: &str,
) -> Result<Option<WorkflowRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkflowRow,
        "SELECT id, organization_id, workflow_code, workflow_version, workflow_name, workflow_type, definition,
                auto_approval_conditions, status, created_by, created_at, version
         FROM workflows
         WHERE organization_id = $1 AND workflow_code = $2 AND status = 'active' AND deleted_at IS NULL",
        organization_id,
        code
    )
    .fetch_optional(conn)
    .await?)
}

/// Which workflows to list.
#[derive(Debug, Clone, Default)]
pub struct WorkflowFilter {
    /// Only versions of this code.
    pub code: Option<String>,
    /// Only with this status.
    pub status: Option<String>,
    /// Only of this type.
    pub workflow_type: Option<String>,
}

/// Versions, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    filter: &WorkflowFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<WorkflowRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkflowRow,
        "SELECT id, organization_id, workflow_code, workflow_version, workflow_name, workflow_type, definition,
                auto_approval_conditions, status, created_by, created_at, version
         FROM workflows
         WHERE deleted_at IS NULL
           AND ($1::uuid IS NULL OR id < $1)
           AND ($2::text IS NULL OR workflow_code = $2)
           AND ($3::text IS NULL OR status = $3)
           AND ($4::text IS NULL OR workflow_type = $4)
         ORDER BY id DESC LIMIT $5",
        before,
        filter.code,
        filter.status,
        filter.workflow_type,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Ends an active version: `superseded` or `retired`.
///
/// # Errors
/// `RowCount` when it is no longer active or has changed since `version`.
pub async fn close(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    status: &str,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE workflows SET status = $3, updated_at = $4, version = version + 1
         WHERE id = $1 AND version = $2 AND status = 'active' AND deleted_at IS NULL",
        id,
        version,
        status,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
