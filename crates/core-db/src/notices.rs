//! Messages to every process on the same database: what it may no longer believe from its caches.

use clm_pg::DbError;
use sqlx::PgConnection;

/// Users, roles, assignments, API keys or organizations have changed.
pub const IDENTITY: &str = "clm_identity";
/// Policies or workflows have changed.
pub const POLICY: &str = "clm_policy";

/// Sends a notice when the transaction commits.
pub async fn send(conn: &mut PgConnection, channel: &str) -> Result<(), DbError> {
    sqlx::query!("SELECT pg_notify($1, '')", channel).fetch_one(conn).await?;
    Ok(())
}
