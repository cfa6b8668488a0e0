//! Runs of the integrity job that somebody ordered: what the audit log says of them.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// The kind of object that a run is in the audit log.
pub const OBJECT_TYPE: &str = "integrity_run";

/// One entry about a run: that it began, or how it ended.
#[derive(Debug, Clone)]
pub struct RunEntryRow {
    /// When.
    pub occurred_at: Time,
    /// `noun.verb`.
    pub action: String,
    /// What the run found.
    pub after_state: Option<Value>,
    /// `allowed` or `failed`.
    pub outcome: String,
    /// Why it failed.
    pub detail: Option<String>,
}

/// The entries about a run, oldest first.
pub async fn list_entries(
    conn: &mut PgConnection,
    run_id: Uuid,
    limit: i64,
) -> Result<Vec<RunEntryRow>, DbError> {
    Ok(sqlx::query_as!(
        RunEntryRow,
        "SELECT occurred_at, action, after_state, outcome, detail FROM audit_log
         WHERE object_id = $1 AND object_type = $2 AND organization_id IS NULL ORDER BY id LIMIT $3",
        run_id,
        OBJECT_TYPE,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Whether any run is under way, in whichever process: whether the lock of [`crate::integrity::lock_run`] is held.
pub async fn is_any_running(conn: &mut PgConnection) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_locks
                          WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                            AND (classid::bigint << 32 | objid::bigint) = hashtextextended('clm.integrity', 0))
                  AS "running!""#
    )
    .fetch_one(conn)
    .await?)
}
