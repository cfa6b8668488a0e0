//! `audit_log`: who did what in Core. Rows are only ever added.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One entry as it is written.
#[derive(Debug, Clone)]
pub struct NewAuditRow {
    /// UUIDv7 of `occurred_at`'s month.
    pub id: Uuid,
    /// When.
    pub occurred_at: Time,
    /// The person, if one acted.
    pub actor_user_id: Option<Uuid>,
    /// `user`, `api_key`, `system`, `operator` or `anonymous`.
    pub actor_type: &'static str,
    /// The key that was used.
    pub api_key_id: Option<Uuid>,
    /// Whose data.
    pub organization_id: Option<Uuid>,
    /// Where the request came from.
    pub ip_address: Option<String>,
    /// The request.
    pub request_id: Option<Uuid>,
    /// The operation across both databases.
    pub operation_id: Option<Uuid>,
    /// `noun.verb`.
    pub action: String,
    /// What kind of object.
    pub object_type: String,
    /// Which object.
    pub object_id: Option<Uuid>,
    /// The object before; never a secret.
    pub before_state: Option<Value>,
    /// The object after; never a secret.
    pub after_state: Option<Value>,
    /// `allowed`, `refused` or `failed`.
    pub outcome: &'static str,
    /// Why, in words.
    pub detail: Option<String>,
}

/// Adds an entry.
pub async fn insert(conn: &mut PgConnection, row: &NewAuditRow) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO audit_log (id, occurred_at, actor_user_id, actor_type, api_key_id, organization_id, ip_address,
             request_id, operation_id, action, object_type, object_id, before_state, after_state, outcome, detail, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7::text::inet, $8, $9, $10, $11, $12, $13, $14, $15, $16, $2)",
        row.id,
        row.occurred_at,
        row.actor_user_id,
        row.actor_type,
        row.api_key_id,
        row.organization_id,
        row.ip_address,
        row.request_id,
        row.operation_id,
        row.action,
        row.object_type,
        row.object_id,
        row.before_state,
        row.after_state,
        row.outcome,
        row.detail
    )
    .execute(conn)
    .await?;
    Ok(())
}
