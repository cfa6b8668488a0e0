//! Operations as the integrity job compares them.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// An operation that Core ordered.
#[derive(Debug, Clone)]
pub struct OperationRow {
    /// Its id; rows come in its order.
    pub operation_id: Uuid,
    /// The instance.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// `issuance`, `renewal`, `revocation`.
    pub instance_type: String,
    /// Where it stands.
    pub status: String,
    /// The policy it was asked under.
    pub policy_id: Option<Uuid>,
    /// Who shall answer for the certificate.
    pub owner_user_id: Option<Uuid>,
    /// The certificate request in Secure.
    pub request_id: Option<Uuid>,
    /// The certificate made, or to be revoked.
    pub certificate_id: Option<Uuid>,
    /// RFC 5280 reason, of a revocation.
    pub reason: Option<String>,
    /// When it last changed.
    pub updated_at: Time,
    /// Whether its certificate is in the inventory; true without one.
    pub certificate_exists: bool,
}

/// A batch of operations that leave a row of their own in Secure, after `after`, in the order of `operation_id`.
pub async fn list_operations(
    conn: &mut PgConnection,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<OperationRow>, DbError> {
    let rows = sqlx::query_as!(
        OperationRow,
        r#"SELECT i.operation_id AS "operation_id!", i.id AS "id!", i.organization_id AS "organization_id!",
             i.instance_type AS "instance_type!", i.status AS "status!", i.policy_id, i.owner_user_id, i.request_id,
             i.certificate_id, i.reason, i.updated_at AS "updated_at!",
             (i.certificate_id IS NULL OR m.id IS NOT NULL) AS "certificate_exists!"
         FROM (SELECT operation_id, id, organization_id, instance_type, status, policy_id, owner_user_id, request_id,
                   certificate_id, updated_at,
                   CASE WHEN instance_type = 'revocation' THEN context -> 'revocation' ->> 'reason' END AS reason
               FROM workflow_instances
               WHERE operation_id > COALESCE($1, '00000000-0000-0000-0000-000000000000'::uuid)
                 AND instance_type IN ('issuance', 'renewal', 'revocation')
               UNION ALL
               SELECT t.operation_id, r.id, r.organization_id, 'revocation',
                   CASE WHEN t.status = 'revoked' THEN 'completed' ELSE 'executing' END, NULL, NULL, NULL, t.certificate_id,
                   greatest(r.updated_at, t.updated_at), r.reason
               FROM mass_revocation_items t JOIN mass_revocations r ON r.id = t.mass_revocation_id
               WHERE t.operation_id > COALESCE($1, '00000000-0000-0000-0000-000000000000'::uuid)
                 AND (t.status = 'revoked' OR (t.status = 'waiting' AND r.approver_user_id IS NOT NULL))
               ORDER BY operation_id LIMIT $2) i
         LEFT JOIN certificate_metadata m ON m.certificate_id = i.certificate_id
         ORDER BY i.operation_id"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// One operation.
pub async fn find_operation(
    conn: &mut PgConnection,
    operation_id: Uuid,
) -> Result<Option<OperationRow>, DbError> {
    // The first one after the id before: the same statement.
    let before = Uuid::from_u128(operation_id.as_u128().saturating_sub(1));
    let row = list_operations(conn, Some(before), 1).await?.pop();
    Ok(row.filter(|row| row.operation_id == operation_id))
}

/// An operation that should have ended long ago.
#[derive(Debug, Clone)]
pub struct StuckOperationRow {
    /// The instance.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The operation.
    pub operation_id: Uuid,
    /// `issuance`, `renewal`, `revocation`.
    pub instance_type: String,
    /// Since when it is being carried out.
    pub updated_at: Time,
}

/// Operations that are being carried out since before `since`, in the order of their ids from `after` on.
pub async fn list_stuck(
    conn: &mut PgConnection,
    since: Time,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<StuckOperationRow>, DbError> {
    let rows = sqlx::query_as!(
        StuckOperationRow,
        "SELECT id, organization_id, operation_id, instance_type, updated_at FROM workflow_instances
         WHERE status = 'executing' AND updated_at < $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
        since,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
