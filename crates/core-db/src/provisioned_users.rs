//! `provisioned_users`: the members of an organization as its provisioning client sees them.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A member of an organization. Only members are there: neither who was invited, nor who holds a role everywhere.
#[derive(Debug, Clone)]
pub struct ProvisionedUserRow {
    /// The user.
    pub id: Uuid,
    /// Its name.
    pub username: String,
    /// Its address.
    pub email: String,
    /// Its name to show.
    pub display_name: String,
    /// What the provisioning client calls it.
    pub external_id: Option<String>,
    /// Whether the membership is active, and the user not disabled.
    pub active: bool,
    /// `active`, `suspended`: of the membership alone.
    pub membership_status: String,
    /// When the membership was made.
    pub created_at: Time,
    /// When something of it last changed.
    pub updated_at: Time,
    /// Counts the changes of all of it.
    pub version: i64,
}

/// Which members to list: all that is named must fit.
#[derive(Debug, Clone, Default)]
pub struct ProvisionedUserFilter {
    /// This one.
    pub id: Option<Uuid>,
    /// Of this name, whatever the case.
    pub username: Option<String>,
    /// With this address, whatever the case.
    pub email: Option<String>,
    /// With this name to show, whatever the case.
    pub display_name: Option<String>,
    /// Called this by the provisioning client.
    pub external_id: Option<String>,
}

/// Members that fit, oldest first, above `after`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &ProvisionedUserFilter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ProvisionedUserRow>, DbError> {
    Ok(sqlx::query_as!(
        ProvisionedUserRow,
        r#"SELECT u.id, u.username, u.email, u.display_name, p.external_id,
                  (m.status = 'active' AND u.status <> 'disabled') AS "active!", m.status AS membership_status,
                  m.created_at, GREATEST(u.updated_at, m.updated_at, p.updated_at) AS "updated_at!",
                  (u.version + m.version + COALESCE(p.version, 0)) AS "version!"
           FROM user_organizations m
           JOIN users u ON u.id = m.user_id
           LEFT JOIN provisioned_users p ON p.organization_id = m.organization_id AND p.user_id = m.user_id
           WHERE m.organization_id = $1 AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL
             AND ($2::uuid IS NULL OR m.user_id > $2) AND ($3::uuid IS NULL OR m.user_id = $3)
             AND ($4::text IS NULL OR lower(u.username) = lower($4)) AND ($5::text IS NULL OR lower(u.email) = lower($5))
             AND ($6::text IS NULL OR lower(u.display_name) = lower($6)) AND ($7::text IS NULL OR p.external_id = $7)
           ORDER BY m.user_id LIMIT $8"#,
        organization_id,
        after,
        filter.id,
        filter.username,
        filter.email,
        filter.display_name,
        filter.external_id,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// How many members fit.
pub async fn count(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &ProvisionedUserFilter,
) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
           FROM user_organizations m
           JOIN users u ON u.id = m.user_id
           LEFT JOIN provisioned_users p ON p.organization_id = m.organization_id AND p.user_id = m.user_id
           WHERE m.organization_id = $1 AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL
             AND ($2::uuid IS NULL OR m.user_id = $2)
             AND ($3::text IS NULL OR lower(u.username) = lower($3)) AND ($4::text IS NULL OR lower(u.email) = lower($4))
             AND ($5::text IS NULL OR lower(u.display_name) = lower($5)) AND ($6::text IS NULL OR p.external_id = $6)"#,
        organization_id,
        filter.id,
        filter.username,
        filter.email,
        filter.display_name,
        filter.external_id
    )
    .fetch_one(conn)
    .await?)
}

/// The last of the first `count` members that fit, oldest first.
pub async fn find_nth(
    conn: &mut PgConnection,
    organization_id: Uuid,
    filter: &ProvisionedUserFilter,
    count: i64,
) -> Result<Option<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT user_id FROM (
             SELECT m.user_id
             FROM user_organizations m
             JOIN users u ON u.id = m.user_id
             LEFT JOIN provisioned_users p ON p.organization_id = m.organization_id AND p.user_id = m.user_id
             WHERE m.organization_id = $1 AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL
               AND ($2::uuid IS NULL OR m.user_id = $2)
               AND ($3::text IS NULL OR lower(u.username) = lower($3)) AND ($4::text IS NULL OR lower(u.email) = lower($4))
               AND ($5::text IS NULL OR lower(u.display_name) = lower($5)) AND ($6::text IS NULL OR p.external_id = $6)
             ORDER BY m.user_id LIMIT $7) AS first
         ORDER BY user_id DESC LIMIT 1",
        organization_id,
        filter.id,
        filter.username,
        filter.email,
        filter.display_name,
        filter.external_id,
        count
    )
    .fetch_optional(conn)
    .await?)
}

/// Lets nobody else change a member's user or membership until the transaction ends. Whether it is one.
pub async fn lock(conn: &mut PgConnection, organization_id: Uuid, id: Uuid) -> Result<bool, DbError> {
    let locked = sqlx::query_scalar!(
        "SELECT u.id FROM user_organizations m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND m.user_id = $2 AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL
         FOR UPDATE",
        organization_id,
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(locked.is_some())
}

/// Notes what the provisioning client calls a member, or that it calls it nothing.
///
/// # Errors
/// `Conflict` when it calls another one so.
pub async fn set_external_id(
    conn: &mut PgConnection,
    id: Uuid,
    (organization_id, user_id): (Uuid, Uuid),
    external_id: Option<&str>,
    now: Time,
) -> Result<(), DbError> {
    // Whoever has left keeps nobody from the name.
    sqlx::query!(
        "UPDATE provisioned_users p SET external_id = NULL, updated_at = $3, version = version + 1
         WHERE p.organization_id = $1 AND p.external_id = $2
           AND NOT EXISTS (SELECT FROM user_organizations m
                           WHERE m.organization_id = $1 AND m.user_id = p.user_id AND m.status IN ('active', 'suspended'))",
        organization_id,
        external_id,
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO provisioned_users (id, organization_id, user_id, external_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5)
         ON CONFLICT (organization_id, user_id) DO UPDATE
         SET external_id = $4, updated_at = $5, version = provisioned_users.version + 1",
        id,
        organization_id,
        user_id,
        external_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}
