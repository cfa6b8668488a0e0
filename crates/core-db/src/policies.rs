//! `policies`: one row per version; a version in force never changes but in its status.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One version of a policy.
#[derive(Debug, Clone)]
pub struct PolicyRow {
    /// This version.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The same in every version.
    pub policy_code: String,
    /// From 1.
    pub policy_version: i32,
    /// Name to show.
    pub policy_name: String,
    /// The typed document.
    pub policy_rules: Value,
    /// Controls of compliance frameworks.
    pub compliance_frameworks: Value,
    /// `draft`, `active`, `superseded`, `retired`.
    pub status: String,
    /// The workflow that decides issuance when the version was written.
    pub workflow_id: Option<Uuid>,
    /// Since when it is in force.
    pub effective_from: Option<Time>,
    /// The version before.
    pub supersedes_policy_id: Option<Uuid>,
    /// Who wrote it.
    pub created_by: Option<Uuid>,
    /// When.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// Adds a version of a certificate policy.
///
/// # Errors
/// `Conflict` when the version, or another active one of this code, exists.
pub async fn insert(conn: &mut PgConnection, row: &PolicyRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO policies (id, organization_id, policy_code, policy_version, policy_name, policy_type, policy_rules,
             compliance_frameworks, status, workflow_id, effective_from, supersedes_policy_id, created_by, created_at,
             updated_at)
         VALUES ($1, $2, $3, $4, $5, 'certificate', $6, $7, $8, $9, $10, $11, $12, $13, $13)",
        row.id,
        row.organization_id,
        row.policy_code,
        row.policy_version,
        row.policy_name,
        row.policy_rules,
        row.compliance_frameworks,
        row.status,
        row.workflow_id,
        row.effective_from,
        row.supersedes_policy_id,
        row.created_by,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds one version.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<PolicyRow>, DbError> {
    Ok(sqlx::query_as!(
        PolicyRow,
        "SELECT id, organization_id, policy_code, policy_version, policy_name, policy_rules, compliance_frameworks, status,
                workflow_id, effective_from, supersedes_policy_id, created_by, created_at, version
         FROM policies WHERE id = $1 AND deleted_at IS NULL",
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
) -> Result<Option<PolicyRow>, DbError> {
    Ok(sqlx::query_as!(
        PolicyRow,
        "SELECT id, organization_id, policy_code, policy_version, policy_name, policy_rules, compliance_frameworks, status,
                workflow_id, effective_from, supersedes_policy_id, created_by, created_at, version
         FROM policies
         WHERE organization_id = $1 AND policy_code = $2 AND status = 'active' AND deleted_at IS NULL",
        organization_id,
        code
    )
    .fetch_optional(conn)
    .await?)
}

/// Which policies to list.
#[derive(Debug, Clone, Default)]
pub struct PolicyFilter {
    /// Only versions of this code.
    pub code: Option<String>,
    /// Only with this status.
    pub status: Option<String>,
}

/// Versions, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    filter: &PolicyFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<PolicyRow>, DbError> {
    Ok(sqlx::query_as!(
        PolicyRow,
        "SELECT id, organization_id, policy_code, policy_version, policy_name, policy_rules, compliance_frameworks, status,
                workflow_id, effective_from, supersedes_policy_id, created_by, created_at, version
         FROM policies
         WHERE deleted_at IS NULL
           AND ($1::uuid IS NULL OR id < $1)
           AND ($2::text IS NULL OR policy_code = $2)
           AND ($3::text IS NULL OR status = $3)
         ORDER BY id DESC LIMIT $4",
        before,
        filter.code,
        filter.status,
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
        "UPDATE policies SET status = $3, updated_at = $4, version = version + 1
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

/// Points the active policies that a superseded workflow decided to its successor.
pub async fn move_workflow(
    conn: &mut PgConnection,
    from_workflow_id: Uuid,
    to_workflow_id: Uuid,
) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE policies SET workflow_id = $2 WHERE workflow_id = $1 AND status = 'active' AND deleted_at IS NULL",
        from_workflow_id,
        to_workflow_id
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
