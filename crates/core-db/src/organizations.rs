//! `organizations`: the tenants.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One organization.
#[derive(Debug, Clone)]
pub struct OrganizationRow {
    /// Identity.
    pub id: Uuid,
    /// Unique short name.
    pub org_code: String,
    /// Name to show.
    pub org_name: String,
    /// `active`, `suspended`, `closed`.
    pub status: String,
    /// What was subscribed to.
    pub subscription_plan: String,
    /// `trial`, `active`, `past_due`, `cancelled`, `expired`.
    pub subscription_status: String,
    /// Until when.
    pub subscription_expires_at: Option<Time>,
    /// Most active certificates; none: no limit.
    pub license_max_certificates: Option<i32>,
    /// Most members; none: no limit.
    pub license_max_users: Option<i32>,
    /// Most authorities; none: no limit.
    pub license_max_authorities: Option<i32>,
    /// Its settings.
    pub settings: Value,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// A new organization, active and without limits.
#[derive(Debug, Clone)]
pub struct NewOrganizationRow<'a> {
    /// Identity.
    pub id: Uuid,
    /// Unique short name.
    pub org_code: &'a str,
    /// Name to show.
    pub org_name: &'a str,
    /// When.
    pub created_at: Time,
}

/// Adds an organization.
///
/// # Errors
/// `Conflict` on the code.
pub async fn insert(conn: &mut PgConnection, row: &NewOrganizationRow<'_>) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO organizations (id, org_code, org_name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)",
        row.id,
        row.org_code,
        row.org_name,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds one.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<OrganizationRow>, DbError> {
    Ok(sqlx::query_as!(
        OrganizationRow,
        "SELECT id, org_code, org_name, status, subscription_plan, subscription_status, subscription_expires_at,
                license_max_certificates, license_max_users, license_max_authorities, settings, created_at, updated_at,
                version
         FROM organizations WHERE id = $1 AND deleted_at IS NULL",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// Locks an organization until the transaction ends: what its subscription limits is counted and added by one
/// transaction at a time. References to the organization do not wait for it.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<(), DbError> {
    sqlx::query!("SELECT id FROM organizations WHERE id = $1 FOR NO KEY UPDATE", id)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Organizations that the connection may see, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<OrganizationRow>, DbError> {
    Ok(sqlx::query_as!(
        OrganizationRow,
        "SELECT id, org_code, org_name, status, subscription_plan, subscription_status, subscription_expires_at,
                license_max_certificates, license_max_users, license_max_authorities, settings, created_at, updated_at,
                version
         FROM organizations
         WHERE deleted_at IS NULL AND ($1::uuid IS NULL OR id < $1)
         ORDER BY id DESC LIMIT $2",
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Changes name and settings.
///
/// # Errors
/// `RowCount` when it has changed since `version`.
pub async fn update(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    org_name: &str,
    settings: &Value,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE organizations SET org_name = $3, settings = $4, updated_at = $5, version = version + 1
         WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
        id,
        version,
        org_name,
        settings,
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
        "UPDATE organizations SET status = $3, updated_at = $4, version = version + 1
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

/// What an organization has subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow<'a> {
    /// What was bought.
    pub plan: &'a str,
    /// `trial`, `active`, `past_due`, `cancelled`, `expired`.
    pub status: &'a str,
    /// Until when.
    pub expires_at: Option<Time>,
    /// Most active certificates; none: no limit.
    pub max_certificates: Option<i32>,
    /// Most members; none: no limit.
    pub max_users: Option<i32>,
    /// Most authorities; none: no limit.
    pub max_authorities: Option<i32>,
}

/// Changes the subscription.
///
/// # Errors
/// `RowCount` when the organization has changed since `version`.
pub async fn set_subscription(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    row: &SubscriptionRow<'_>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE organizations SET subscription_plan = $3, subscription_status = $4, subscription_expires_at = $5,
             license_max_certificates = $6, license_max_users = $7, license_max_authorities = $8, updated_at = $9,
             version = version + 1
         WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
        id,
        version,
        row.plan,
        row.status,
        row.expires_at,
        row.max_certificates,
        row.max_users,
        row.max_authorities,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Whether there is any organization at all.
pub async fn exist(conn: &mut PgConnection) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM organizations) AS "exist!""#)
        .fetch_one(conn)
        .await?)
}

/// The id of the organization of this short name.
pub async fn find_id_by_code(conn: &mut PgConnection, code: &str) -> Result<Option<Uuid>, DbError> {
    Ok(sqlx::query_scalar!("SELECT id FROM organizations WHERE org_code = $1 AND deleted_at IS NULL", code)
        .fetch_optional(conn)
        .await?)
}
