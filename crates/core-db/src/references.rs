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

/// How many certificates of an organization are active, may become so again, or are about to be issued, counted up to
/// `most`. What is on hold past its end cannot become active, and is marked as expired some time later: its end is asked for.
pub async fn count_licensed(
    conn: &mut PgConnection,
    organization_id: Uuid,
    now: Time,
    most: i64,
) -> Result<i64, DbError> {
    // What is executing becomes active in the very statement that completes it, so nothing is counted twice.
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'active' AND deleted_at IS NULL
               UNION ALL
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'on_hold' AND not_after >= $2 AND deleted_at IS NULL
               UNION ALL
               SELECT 1 FROM workflow_instances
               WHERE organization_id = $1 AND status = 'executing' AND instance_type IN ('issuance', 'renewal')
               LIMIT $3) AS counted"#,
        organization_id,
        now,
        most
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// How many authorities an organization has, or is about to have: certificates with one of these profiles, counted as in
/// [`count_licensed`].
pub async fn count_authorities(
    conn: &mut PgConnection,
    organization_id: Uuid,
    profiles: &[String],
    now: Time,
    most: i64,
) -> Result<i64, DbError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'active' AND profile = ANY ($2) AND deleted_at IS NULL
               UNION ALL
               SELECT 1 FROM certificate_metadata
               WHERE organization_id = $1 AND status = 'on_hold' AND profile = ANY ($2) AND not_after >= $3 AND deleted_at IS NULL
               UNION ALL
               SELECT 1 FROM workflow_instances
               WHERE organization_id = $1 AND status = 'executing' AND instance_type IN ('issuance', 'renewal')
                 AND context #>> '{certificate,profile}' = ANY ($2)
               LIMIT $4) AS counted"#,
        organization_id,
        profiles,
        now,
        most
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}
