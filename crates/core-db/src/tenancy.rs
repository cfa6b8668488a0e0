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

/// The same, for lists with filters: the rest of the transaction plans each statement for its values. A plan for any filter
/// uses the index of none, and reads everything that the organization has.
pub async fn enter_to_search(
    conn: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<(), DbError> {
    sqlx::query!(
        "SELECT set_config('clm.org_id', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true) AS plans",
        organization_id.to_string()
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Plans as [`enter_to_search`] does, on a connection that sees every organization.
pub async fn search_everywhere(conn: &mut PgConnection) -> Result<(), DbError> {
    sqlx::query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)").fetch_one(conn).await?;
    Ok(())
}
