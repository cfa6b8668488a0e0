//! `group_members`: who belongs to a group, and what they hold by it (`user_roles.group_id`).

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A member of a group.
#[derive(Debug, Clone)]
pub struct GroupMemberRow {
    /// Identity of the membership.
    pub id: Uuid,
    /// The group.
    pub group_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// Its name.
    pub username: String,
    /// Its name to show.
    pub display_name: String,
    /// Since when.
    pub created_at: Time,
}

/// What a change of members or roles is about.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The organization.
    pub organization_id: Uuid,
    /// The group.
    pub group_id: Uuid,
    /// Who changes.
    pub by: Option<Uuid>,
    /// Why, in words, for the assignments.
    pub reason: &'a str,
    /// When.
    pub now: Time,
}

/// Which of these users belong to the organization, held so that none of them leaves it meanwhile.
pub async fn lock_belonging(
    conn: &mut PgConnection,
    organization_id: Uuid,
    users: &[Uuid],
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT m.user_id
         FROM user_organizations m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND m.user_id = ANY($2) AND m.status IN ('active', 'suspended') AND u.deleted_at IS NULL
         ORDER BY m.user_id
         FOR SHARE OF m",
        organization_id,
        users
    )
    .fetch_all(conn)
    .await?)
}

/// Adds users, `ids` being those of the new rows; members stay. Who is new.
pub async fn add(
    conn: &mut PgConnection,
    change: Change<'_>,
    ids: &[Uuid],
    users: &[Uuid],
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO group_members (id, organization_id, group_id, user_id, added_by, created_at, updated_at)
         SELECT new.id, $3, $4, new.user_id, $5, $6, $6 FROM unnest($1::uuid[], $2::uuid[]) AS new (id, user_id)
         ON CONFLICT (group_id, user_id) WHERE left_at IS NULL DO NOTHING
         RETURNING user_id",
        ids,
        users,
        change.organization_id,
        change.group_id,
        change.by,
        change.now
    )
    .fetch_all(conn)
    .await?)
}

/// Takes users out; who is none stays so. Who was one.
pub async fn remove(
    conn: &mut PgConnection,
    change: Change<'_>,
    users: &[Uuid],
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "UPDATE group_members SET left_at = $3, updated_at = $3
         WHERE group_id = $1 AND user_id = ANY($2) AND left_at IS NULL
         RETURNING user_id",
        change.group_id,
        users,
        change.now
    )
    .fetch_all(conn)
    .await?)
}

/// Takes everybody out but these. Who was one.
pub async fn remove_others(
    conn: &mut PgConnection,
    change: Change<'_>,
    users: &[Uuid],
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "UPDATE group_members SET left_at = $3, updated_at = $3
         WHERE group_id = $1 AND user_id <> ALL($2) AND left_at IS NULL
         RETURNING user_id",
        change.group_id,
        users,
        change.now
    )
    .fetch_all(conn)
    .await?)
}

/// Assigns each member of a group each of its roles that it does not hold by the group: all of them, or only these users or
/// this role. Whoever got something.
pub async fn assign(
    conn: &mut PgConnection,
    change: Change<'_>,
    users: Option<&[Uuid]>,
    role: Option<Uuid>,
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO user_roles (user_id, role_id, organization_id, group_id, valid_from, assigned_by, assignment_reason, created_at,
             updated_at)
         SELECT m.user_id, r.role_id, m.organization_id, m.group_id, $6, $5, $7, $6, $6
         FROM group_members m JOIN group_roles r ON r.group_id = m.group_id AND r.taken_at IS NULL
         WHERE m.organization_id = $1 AND m.group_id = $2 AND m.left_at IS NULL
           AND ($3::uuid[] IS NULL OR m.user_id = ANY($3)) AND ($4::uuid IS NULL OR r.role_id = $4)
         ON CONFLICT (user_id, role_id, organization_id, group_id) WHERE revoked_at IS NULL DO NOTHING
         RETURNING user_id",
        change.organization_id,
        change.group_id,
        users,
        role,
        change.by,
        change.now,
        change.reason
    )
    .fetch_all(conn)
    .await?)
}

/// Takes away what users hold by a group: all of them, or only these users or this role.
pub async fn end_assignments(
    conn: &mut PgConnection,
    change: Change<'_>,
    users: Option<&[Uuid]>,
    role: Option<Uuid>,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE user_roles SET revoked_at = $5, revoked_by = $4, revocation_reason = $6, updated_at = $5, version = version + 1
         WHERE group_id = $1 AND revoked_at IS NULL
           AND ($2::uuid[] IS NULL OR user_id = ANY($2)) AND ($3::uuid IS NULL OR role_id = $3)",
        change.group_id,
        users,
        role,
        change.by,
        change.now,
        change.reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Members of a group, newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    group_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<GroupMemberRow>, DbError> {
    Ok(sqlx::query_as!(
        GroupMemberRow,
        "SELECT m.id, m.group_id, m.user_id, u.username, u.display_name, m.created_at
         FROM group_members m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND m.group_id = $2 AND m.left_at IS NULL AND ($3::uuid IS NULL OR m.id < $3)
         ORDER BY m.id DESC LIMIT $4",
        organization_id,
        group_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Group and user of every member of these groups, in the order in which they joined.
pub async fn list_of(
    conn: &mut PgConnection,
    organization_id: Uuid,
    groups: &[Uuid],
    limit: i64,
) -> Result<Vec<(Uuid, Uuid)>, DbError> {
    let rows = sqlx::query!(
        "SELECT group_id, user_id FROM group_members
         WHERE organization_id = $1 AND group_id = ANY($2) AND left_at IS NULL
         ORDER BY group_id, id LIMIT $3",
        organization_id,
        groups,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.group_id, row.user_id)).collect())
}

/// How many members a group has when these users, each named once, have joined it.
pub async fn count_with(conn: &mut PgConnection, group_id: Uuid, users: &[Uuid]) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM group_members WHERE group_id = $1 AND left_at IS NULL)
                  + (SELECT count(*) FROM unnest($2::uuid[]) AS new (user_id)
                     WHERE NOT EXISTS (SELECT FROM group_members m
                                       WHERE m.group_id = $1 AND m.user_id = new.user_id AND m.left_at IS NULL)) AS "count!""#,
        group_id,
        users
    )
    .fetch_one(conn)
    .await?)
}

/// One of several groups, and whether a user belongs to it.
#[derive(Debug, Clone)]
pub struct GovernedGroupRow {
    /// The group.
    pub id: Uuid,
    /// Its name.
    pub display_name: String,
    /// What the provisioning client calls it.
    pub external_id: Option<String>,
    /// Whether the user belongs to it.
    pub is_member: bool,
}

/// The groups of an organization of these names (in small letters), by id.
pub async fn list_governed(
    conn: &mut PgConnection,
    organization_id: Uuid,
    user_id: Uuid,
    names: &[String],
) -> Result<Vec<GovernedGroupRow>, DbError> {
    Ok(sqlx::query_as!(
        GovernedGroupRow,
        r#"SELECT g.id, g.display_name, g.external_id,
                  EXISTS (SELECT FROM group_members m
                          WHERE m.group_id = g.id AND m.user_id = $2 AND m.left_at IS NULL) AS "is_member!"
           FROM groups g
           WHERE g.organization_id = $1 AND g.deleted_at IS NULL AND lower(g.display_name) = ANY ($3)
           ORDER BY g.id"#,
        organization_id,
        user_id,
        names
    )
    .fetch_all(conn)
    .await?)
}
