//! The inventory as the integrity job compares it.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// One certificate of the inventory with what became of its references.
#[derive(Debug, Clone)]
pub struct InventoryReferenceRow {
    /// Public identity; rows come in its order.
    pub certificate_id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// Who answers for it.
    pub owner_user_id: Option<Uuid>,
    /// The policy that governed it.
    pub policy_id: Option<Uuid>,
    /// The operation that made it.
    pub operation_id: Option<Uuid>,
    /// State in Core.
    pub status: String,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<Time>,
    /// RFC 5280 reason of that.
    pub revocation_reason: Option<String>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// The certificate that replaces it.
    pub renewed_by_certificate_id: Option<Uuid>,
    /// When its metadata last changed.
    pub updated_at: Time,
    /// Whether the owner exists and is not deleted; true without an owner.
    pub owner_exists: bool,
    /// Whether the policy exists and is not deleted; true without a policy.
    pub policy_exists: bool,
    /// Whether the organization exists and is not deleted.
    pub organization_exists: bool,
}

/// A batch of the inventory after `after`, in the order of `certificate_id`.
pub async fn list_references(
    conn: &mut PgConnection,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<InventoryReferenceRow>, DbError> {
    let rows = sqlx::query_as!(
        InventoryReferenceRow,
        r#"SELECT m.certificate_id, m.organization_id, m.owner_user_id, m.policy_id, m.operation_id, m.status,
             m.revoked_at, m.revocation_reason, m.renewal_of_certificate_id, m.renewed_by_certificate_id, m.updated_at,
             (m.owner_user_id IS NULL OR (u.id IS NOT NULL AND u.deleted_at IS NULL)) AS "owner_exists!",
             (m.policy_id IS NULL OR (p.id IS NOT NULL AND p.deleted_at IS NULL)) AS "policy_exists!",
             (o.id IS NOT NULL AND o.deleted_at IS NULL) AS "organization_exists!"
         FROM (SELECT certificate_id, organization_id, owner_user_id, policy_id, operation_id, status, revoked_at,
                   revocation_reason, renewal_of_certificate_id, renewed_by_certificate_id, updated_at
               FROM certificate_metadata
               WHERE certificate_id > COALESCE($1, '00000000-0000-0000-0000-000000000000'::uuid)
               ORDER BY certificate_id LIMIT $2) m
         LEFT JOIN users u ON u.id = m.owner_user_id
         LEFT JOIN policies p ON p.id = m.policy_id
         LEFT JOIN organizations o ON o.id = m.organization_id
         ORDER BY m.certificate_id"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Ids that are no longer there, of users, policies and organizations.
#[derive(Debug, Clone, Default)]
pub struct MissingRow {
    /// Users that do not exist or are deleted.
    pub users: Vec<Uuid>,
    /// Policies that do not exist or are deleted.
    pub policies: Vec<Uuid>,
    /// Organizations that do not exist or are deleted.
    pub organizations: Vec<Uuid>,
}

/// Which of these ids lead nowhere.
pub async fn list_missing(
    conn: &mut PgConnection,
    users: &[Uuid],
    policies: &[Uuid],
    organizations: &[Uuid],
) -> Result<MissingRow, DbError> {
    let row = sqlx::query_as!(
        MissingRow,
        r#"SELECT
             COALESCE((SELECT array_agg(a.id) FROM unnest($1::uuid[]) AS a (id)
                WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = a.id AND u.deleted_at IS NULL)), '{}') AS "users!",
             COALESCE((SELECT array_agg(a.id) FROM unnest($2::uuid[]) AS a (id)
                WHERE NOT EXISTS (SELECT FROM policies p WHERE p.id = a.id AND p.deleted_at IS NULL)), '{}') AS "policies!",
             COALESCE((SELECT array_agg(a.id) FROM unnest($3::uuid[]) AS a (id)
                WHERE NOT EXISTS (SELECT FROM organizations o WHERE o.id = a.id AND o.deleted_at IS NULL)), '{}')
                AS "organizations!""#,
        users,
        policies,
        organizations
    )
    .fetch_one(conn)
    .await?;
    Ok(row)
}

/// A message that names a certificate.
#[derive(Debug, Clone)]
pub struct NamingRow {
    /// Its id; rows come in its order.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// The certificate that it names.
    pub certificate_id: Option<Uuid>,
    /// Whether that is not in the inventory.
    pub orphan: bool,
    /// When it was written.
    pub created_at: Time,
}

/// Of the next `limit` messages after `after`, those about a certificate that is not in the inventory, and the last one
/// whatever it is.
pub async fn list_orphaned_notifications(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<NamingRow>, DbError> {
    let rows = sqlx::query_as!(
        NamingRow,
        r#"WITH batch AS MATERIALIZED (
             SELECT id, organization_id, related_certificate_id, created_at FROM notifications
             WHERE id > $1 ORDER BY id LIMIT $2)
         SELECT b.id, b.organization_id, b.related_certificate_id AS certificate_id, b.created_at,
             (b.related_certificate_id IS NOT NULL AND m.id IS NULL) AS "orphan!"
         FROM batch b LEFT JOIN certificate_metadata m ON m.certificate_id = b.related_certificate_id
         WHERE (b.related_certificate_id IS NOT NULL AND m.id IS NULL)
            OR b.id = (SELECT id FROM batch ORDER BY id DESC LIMIT 1)
         ORDER BY b.id"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
