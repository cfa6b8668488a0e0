//! `audit_log`: who did what in Core. Rows are only ever added.

use chrono::SubsecRound;
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
    /// The session that was used.
    pub session_id: Option<Uuid>,
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
             request_id, operation_id, action, object_type, object_id, before_state, after_state, outcome, detail, created_at,
             session_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7::text::inet, $8, $9, $10, $11, $12, $13, $14, $15, $16, $2, $17)",
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
        row.detail,
        row.session_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One entry as it is read.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Identity.
    pub id: Uuid,
    /// When.
    pub occurred_at: Time,
    /// The person, if one acted.
    pub actor_user_id: Option<Uuid>,
    /// `user`, `api_key`, `system`, `operator` or `anonymous`.
    pub actor_type: String,
    /// The key that was used.
    pub api_key_id: Option<Uuid>,
    /// The session that was used.
    pub session_id: Option<Uuid>,
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
    /// The object before.
    pub before_state: Option<Value>,
    /// The object after.
    pub after_state: Option<Value>,
    /// `allowed`, `refused` or `failed`.
    pub outcome: String,
    /// Why, in words.
    pub detail: Option<String>,
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only about this object.
    pub object_id: Option<Uuid>,
    /// Only about objects of this sort.
    pub object_type: Option<String>,
    /// Only of this operation.
    pub operation_id: Option<Uuid>,
    /// Only by this user.
    pub actor_user_id: Option<Uuid>,
    /// Only by this session.
    pub session_id: Option<Uuid>,
    /// Only by this API key.
    pub api_key_id: Option<Uuid>,
    /// Only from this address.
    pub ip_address: Option<String>,
    /// Only of this request.
    pub request_id: Option<Uuid>,
    /// Only this action.
    pub action: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only at this moment or after.
    pub since: Option<Time>,
    /// Only before this moment.
    pub until: Option<Time>,
    /// Only ids below this one.
    pub before: Option<Uuid>,
}

/// Entries of one organization, newest first.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &AuditFilter,
    limit: i64,
) -> Result<Vec<AuditRow>, DbError> {
    // The partitions are cut by id, and ids sort by time to the millisecond; the rest is exact.
    let from_id = filter.since.map(|since| clm_pg::id_floor(since.trunc_subsecs(3)));
    let until_id = filter.until.map(clm_pg::id_floor);
    let before_id = [until_id, filter.before].into_iter().flatten().min();
    Ok(sqlx::query_as!(
        AuditRow,
        "SELECT id, occurred_at, actor_user_id, actor_type, api_key_id, session_id, organization_id, host(ip_address) AS ip_address,
                request_id, operation_id, action, object_type, object_id, before_state, after_state, outcome, detail
         FROM audit_log
         WHERE organization_id = $1
           AND ($2::uuid IS NULL OR object_id = $2)
           AND ($3::uuid IS NULL OR operation_id = $3)
           AND ($4::uuid IS NULL OR actor_user_id = $4)
           AND ($5::text IS NULL OR action = $5)
           AND ($6::uuid IS NULL OR id >= $6)
           AND ($7::uuid IS NULL OR id < $7)
           AND ($8::timestamptz IS NULL OR occurred_at >= $8)
           AND ($9::timestamptz IS NULL OR occurred_at < $9)
           AND ($10::text IS NULL OR object_type = $10)
           AND ($11::text IS NULL OR outcome = $11)
           AND ($12::uuid IS NULL OR session_id = $12)
           AND ($13::uuid IS NULL OR api_key_id = $13)
           AND ($14::uuid IS NULL OR request_id = $14)
           AND ($15::text IS NULL OR ip_address = $15::text::inet)
         ORDER BY id DESC LIMIT $16",
        organization_id,
        filter.object_id,
        filter.operation_id,
        filter.actor_user_id,
        filter.action,
        from_id,
        before_id,
        filter.since,
        filter.until,
        filter.object_type,
        filter.outcome,
        filter.session_id,
        filter.api_key_id,
        filter.request_id,
        filter.ip_address,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Which entries to export.
#[derive(Debug, Clone, Copy)]
pub struct AuditRange {
    /// From this moment.
    pub since: Time,
    /// To before this moment.
    pub until: Time,
    /// Only ids above this one.
    pub after: Option<Uuid>,
}

impl AuditRange {
    /// The bounds on `id`, of which the first is outside.
    fn ids(&self) -> (Uuid, Uuid) {
        let floor = clm_pg::id_floor(self.since.trunc_subsecs(3));
        let below = Uuid::from_u128(floor.as_u128().saturating_sub(1));
        (self.after.unwrap_or(below), clm_pg::id_floor(self.until))
    }
}

/// Entries of one organization, oldest first.
pub async fn export(
    conn: &mut PgConnection,
    organization_id: Uuid,
    range: &AuditRange,
    limit: i64,
) -> Result<Vec<AuditRow>, DbError> {
    let (after, until) = range.ids();
    Ok(sqlx::query_as!(
        AuditRow,
        "SELECT id, occurred_at, actor_user_id, actor_type, api_key_id, session_id, organization_id, host(ip_address) AS ip_address,
                request_id, operation_id, action, object_type, object_id, before_state, after_state, outcome, detail
         FROM audit_log
         WHERE organization_id = $1 AND id > $2 AND id < $3 AND occurred_at >= $4 AND occurred_at < $5
         ORDER BY id LIMIT $6",
        organization_id,
        after,
        until,
        range.since,
        range.until,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Entries about the whole installation, oldest first; for the system role, which sees them.
pub async fn export_of_installation(
    conn: &mut PgConnection,
    range: &AuditRange,
    limit: i64,
) -> Result<Vec<AuditRow>, DbError> {
    let (after, until) = range.ids();
    Ok(sqlx::query_as!(
        AuditRow,
        "SELECT id, occurred_at, actor_user_id, actor_type, api_key_id, session_id, organization_id, host(ip_address) AS ip_address,
                request_id, operation_id, action, object_type, object_id, before_state, after_state, outcome, detail
         FROM audit_log
         WHERE organization_id IS NULL AND id > $1 AND id < $2 AND occurred_at >= $3 AND occurred_at < $4
         ORDER BY id LIMIT $5",
        after,
        until,
        range.since,
        range.until,
        limit
    )
    .fetch_all(conn)
    .await?)
}
