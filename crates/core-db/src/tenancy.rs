//! Which organization a transaction of `clm_core_app` sees.

use clm_pg::DbError;
use clm_types::OrganizationId;
use sqlx::PgConnection;

/// Shows the rows of one organization to the rest of this transaction, and of no other.
pub async fn enter(conn: &mut PgConnection, organization_id: OrganizationId) -> Result<(), DbError> {
    sqlx::query!("SELECT set_config('clm.org_id', $1, true)", organization_id.to_string())
        .fetch_one(conn)
        .await?;
    Ok(())
}
