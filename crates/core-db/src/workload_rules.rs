//! `workload_rules`: which workloads get an API key for the token of their provider.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadRuleRow {
    /// Identity.
    pub id: Uuid,
    /// The organization it belongs to.
    pub organization_id: Uuid,
    /// Name to show, unique in its organization.
    pub name: String,
    /// What the operator calls the provider.
    pub provider: String,
    /// Who that was when the rule was made or last changed (`iss`).
    pub issuer: String,
    /// Whom a token may be meant for.
    pub audiences: Vec<String>,
    /// What a token must say.
    pub required_claims: Value,
    /// On whose behalf the keys act.
    pub user_id: Uuid,
    /// Array of `noun:verb` texts that the keys are limited to.
    pub scopes: Value,
    /// How long a key lives.
    pub lifetime_seconds: i32,
    /// Networks that tokens are exchanged from and keys are used from; empty: any.
    pub allowed_addresses: Vec<String>,
    /// Whether tokens are exchanged now.
    pub enabled: bool,
    /// Who made it.
    pub created_by: Option<Uuid>,
    /// Who made it or last changed it, and answers for it.
    pub vouched_by: Uuid,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Counts its changes.
    pub version: i64,
}

/// Adds a rule.
///
/// # Errors
/// `Conflict` on the name.
pub async fn insert(conn: &mut PgConnection, row: &WorkloadRuleRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO workload_rules (id, organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes,
             lifetime_seconds, allowed_addresses, enabled, created_by, vouched_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text[]::inet[], $12, $13, $14, $15, $15)",
        row.id,
        row.organization_id,
        row.name,
        row.provider,
        row.issuer,
        &row.audiences,
        row.required_claims,
        row.user_id,
        row.scopes,
        row.lifetime_seconds,
        &row.allowed_addresses,
        row.enabled,
        row.created_by,
        row.vouched_by,
        row.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds a rule of an organization.
pub async fn find(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<WorkloadRuleRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkloadRuleRow,
        r#"SELECT id, organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes, lifetime_seconds,
                  allowed_addresses::text[] AS "allowed_addresses!", enabled, created_by, vouched_by, created_at, updated_at, version
           FROM workload_rules WHERE id = $1 AND organization_id = $2 AND deleted_at IS NULL"#,
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Finds a rule of any organization, be it disabled or deleted (then it is disabled too): for whoever names one without saying who
/// they are.
pub async fn find_anywhere(conn: &mut PgConnection, id: Uuid) -> Result<Option<WorkloadRuleRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkloadRuleRow,
        r#"SELECT id, organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes, lifetime_seconds,
                  allowed_addresses::text[] AS "allowed_addresses!", enabled, created_by, vouched_by, created_at, updated_at, version
           FROM workload_rules WHERE id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// As [`find`], and lets nobody else change the rule, or give a key by it, until the transaction ends.
pub async fn lock(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
) -> Result<Option<WorkloadRuleRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkloadRuleRow,
        r#"SELECT id, organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes, lifetime_seconds,
                  allowed_addresses::text[] AS "allowed_addresses!", enabled, created_by, vouched_by, created_at, updated_at, version
           FROM workload_rules WHERE id = $1 AND organization_id = $2 AND deleted_at IS NULL
           FOR NO KEY UPDATE"#,
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// The version of a rule that is in use, which nobody changes until the transaction ends. Others may hold it so as well.
pub async fn hold(conn: &mut PgConnection, id: Uuid, organization_id: Uuid) -> Result<Option<i64>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT version FROM workload_rules
         WHERE id = $1 AND organization_id = $2 AND enabled AND deleted_at IS NULL
         FOR SHARE",
        id,
        organization_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Rules of an organization, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<WorkloadRuleRow>, DbError> {
    Ok(sqlx::query_as!(
        WorkloadRuleRow,
        r#"SELECT id, organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes, lifetime_seconds,
                  allowed_addresses::text[] AS "allowed_addresses!", enabled, created_by, vouched_by, created_at, updated_at, version
           FROM workload_rules
           WHERE organization_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $3"#,
        organization_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// How many rules an organization has.
pub async fn count(conn: &mut PgConnection, organization_id: Uuid) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM workload_rules WHERE organization_id = $1 AND deleted_at IS NULL"#,
        organization_id
    )
    .fetch_one(conn)
    .await?)
}

/// Changes a locked rule; whose keys it gives stays.
///
/// # Errors
/// `RowCount` when it is gone; `Conflict` on the name.
pub async fn update(conn: &mut PgConnection, row: &WorkloadRuleRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE workload_rules
         SET name = $2, provider = $3, audiences = $4, required_claims = $5, scopes = $6, lifetime_seconds = $7,
             allowed_addresses = $8::text[]::inet[], enabled = $9, updated_at = $10, version = $11, issuer = $12, vouched_by = $13
         WHERE id = $1 AND deleted_at IS NULL",
        row.id,
        row.name,
        row.provider,
        &row.audiences,
        row.required_claims,
        row.scopes,
        row.lifetime_seconds,
        &row.allowed_addresses,
        row.enabled,
        row.updated_at,
        row.version,
        row.issuer,
        row.vouched_by
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Deletes a locked rule; the row stays.
///
/// # Errors
/// `RowCount` when it is gone.
pub async fn delete(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE workload_rules SET enabled = false, deleted_at = $2, updated_at = $2, version = version + 1
         WHERE id = $1 AND deleted_at IS NULL",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Disables the rules that give keys of a user, in one organization or in all. Rules come before the keys that they gave: whoever
/// revokes those afterwards finds all of them.
pub async fn disable_of_user(
    conn: &mut PgConnection,
    user_id: Uuid,
    organization_id: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE workload_rules SET enabled = false, updated_at = $3, version = version + 1
         WHERE user_id = $1 AND ($2::uuid IS NULL OR organization_id = $2) AND enabled AND deleted_at IS NULL",
        user_id,
        organization_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many keys that this rule gave since `since` have not ended by themselves, revoked or not.
pub async fn count_keys(
    conn: &mut PgConnection,
    organization_id: Uuid,
    id: Uuid,
    (since, now): (Time, Time),
) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM api_keys
           WHERE organization_id = $1 AND workload_rule_id = $2 AND $3 < expires_at AND $4 <= created_at"#,
        organization_id,
        id,
        now,
        since
    )
    .fetch_one(conn)
    .await?)
}

/// Ends all keys that this rule gave; how many.
pub async fn revoke_keys(
    conn: &mut PgConnection,
    (organization_id, id): (Uuid, Uuid),
    by: Option<Uuid>,
    now: Time,
) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE api_keys SET revoked_at = $4, revoked_by = $3, updated_at = $4, version = version + 1
         WHERE organization_id = $1 AND workload_rule_id = $2 AND revoked_at IS NULL AND $4 < expires_at",
        organization_id,
        id,
        by,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// Deletes keys of any rule that ended before `end`, `most` at most; what others delete meanwhile is passed over.
pub async fn delete_ended_keys(conn: &mut PgConnection, end: Time, most: i64) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "DELETE FROM api_keys WHERE id IN (
             SELECT id FROM api_keys WHERE workload_rule_id IS NOT NULL AND expires_at < $1
             ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        end,
        most
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
