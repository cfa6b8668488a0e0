//! What a request points to in Core: its organization and its owner.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// An organization and a person in it, as far as requests depend on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRow {
    /// `organizations.status`.
    pub organization_status: String,
    /// Most active certificates; none: no limit.
    pub license_max_certificates: Option<i32>,
    /// Most authorities; none: no limit.
    pub license_max_authorities: Option<i32>,
    /// `organizations.subscription_status`.
    pub subscription_status: String,
    /// When the subscription ends.
    pub subscription_expires_at: Option<Time>,
    /// `users.status` of the person, if they belong to the organization.
    pub user_status: Option<String>,
}

/// Looks up the organization that the transaction is in, and a user in it: an active member, or somebody with a role
/// for all organizations.
pub async fn find(
    conn: &mut PgConnection,
    organization_id: Uuid,
    user_id: Uuid,
    now: Time,
) -> Result<Option<ReferenceRow>, DbError> {
    let row = sqlx::query_as!(
        ReferenceRow,
        r#"SELECT o.status AS organization_status, o.license_max_certificates, o.license_max_authorities, o.subscription_status,
             o.subscription_expires_at,
             (SELECT u.status FROM users u
              WHERE u.id = $2 AND u.deleted_at IS NULL
                AND (EXISTS (SELECT FROM user_organizations uo
                        WHERE uo.user_id = u.id AND uo.organization_id = o.id AND uo.status = 'active')
                     OR EXISTS (SELECT FROM user_roles ur
                        WHERE ur.user_id = u.id AND ur.organization_id IS NULL AND ur.revoked_at IS NULL AND ur.valid_from <= $3
                          AND (ur.valid_until IS NULL OR $3 < ur.valid_until)))) AS user_status
         FROM organizations o WHERE o.id = $1 AND o.deleted_at IS NULL"#,
        organization_id,
        user_id,
        now
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Which of these users are active and belong to the organization that the transaction is in, as in [`find`].
pub async fn list_active_users(
    conn: &mut PgConnection,
    organization_id: Uuid,
    ids: &[Uuid],
    now: Time,
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT u.id FROM users u
         WHERE u.id = ANY ($2) AND u.status = 'active' AND u.deleted_at IS NULL
           AND (EXISTS (SELECT FROM user_organizations uo
                        WHERE uo.user_id = u.id AND uo.organization_id = $1 AND uo.status = 'active')
                OR EXISTS (SELECT FROM user_roles ur
                           WHERE ur.user_id = u.id AND ur.organization_id IS NULL AND ur.revoked_at IS NULL
                             AND ur.valid_from <= $3 AND (ur.valid_until IS NULL OR $3 < ur.valid_until)))",
        organization_id,
        ids,
        now
    )
    .fetch_all(conn)
    .await?)
}

/// The profile of the certificates of authorities that an organization can ask for.
pub const AUTHORITY_PROFILE: &str = "intermediate-ca";

/// How many certificates of an organization besides `old` are active, may become so again, or are about to be issued, counted up to
/// `most`. What is on hold past its end cannot become active, and is marked as expired some time later: its end is asked for.
pub async fn count_licensed(
    conn: &mut PgConnection,
    organization_id: Uuid,
    old: Option<Uuid>,
    now: Time,
    most: i64,
) -> Result<i64, DbError> {
    // What is executing becomes active in the very statement that completes it, so nothing is counted twice.
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'active' AND deleted_at IS NULL AND certificate_id IS DISTINCT FROM $4
               UNION ALL
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'on_hold' AND not_after >= $2 AND deleted_at IS NULL
                 AND certificate_id IS DISTINCT FROM $4
               UNION ALL
               SELECT 1 FROM workflow_instances
               WHERE organization_id = $1 AND status = 'executing' AND instance_type IN ('issuance', 'renewal')
               LIMIT $3) AS counted"#,
        organization_id,
        now,
        most,
        old
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// How many authorities an organization has, or is about to have: certificates with [`AUTHORITY_PROFILE`], counted as in
/// [`count_licensed`].
pub async fn count_authorities(
    conn: &mut PgConnection,
    organization_id: Uuid,
    old: Option<Uuid>,
    now: Time,
    most: i64,
) -> Result<i64, DbError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'active' AND profile = 'intermediate-ca' AND deleted_at IS NULL
                 AND certificate_id IS DISTINCT FROM $4
               UNION ALL
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'on_hold' AND profile = 'intermediate-ca' AND not_after >= $2
                 AND deleted_at IS NULL AND certificate_id IS DISTINCT FROM $4
               UNION ALL
               SELECT 1 FROM workflow_instances
               WHERE organization_id = $1 AND status = 'executing' AND instance_type IN ('issuance', 'renewal')
                 AND context #>> '{certificate,profile}' = 'intermediate-ca'
               LIMIT $3) AS counted"#,
        organization_id,
        now,
        most,
        old
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}
