//! Renewals: a certificate is replaced once.

use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// Holds a certificate until the transaction ends, so that renewals of it follow each other; then the
/// certificate that has replaced it.
pub async fn hold(conn: &mut PgConnection, certificate_id: Uuid) -> Result<Option<Uuid>, DbError> {
    let renewed_by = sqlx::query_scalar!(
        "SELECT renewed_by_certificate_id FROM certificate_metadata WHERE certificate_id = $1 FOR NO KEY UPDATE",
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(renewed_by.flatten())
}

/// The renewal of a certificate that waits or is being carried out.
pub async fn find_open(conn: &mut PgConnection, certificate_id: Uuid) -> Result<Option<Uuid>, DbError> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM workflow_instances
         WHERE status IN ('pending', 'executing') AND instance_type = 'renewal'
           AND context -> 'certificate' ->> 'renewal_of' = $1::uuid::text
         LIMIT 1",
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}
