//! `mass_revocations` and `mass_revocation_items`, as people see and decide on them.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// Which certificates of an organization; those that are active or on hold, and have not ended.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only of this authority.
    pub authority_id: Option<Uuid>,
    /// Only of this profile.
    pub profile: Option<String>,
    /// Only of this owner.
    pub owner_user_id: Option<Uuid>,
    /// Only those issued at this moment or after.
    pub issued_after: Option<Time>,
    /// Only those issued before this moment.
    pub issued_before: Option<Time>,
    /// Only those that end before this moment.
    pub expires_before: Option<Time>,
    /// Only with this name (typed text).
    pub san: Option<String>,
    /// Only with all these tags (a JSON object).
    pub tags: Option<Value>,
    /// Only with a tag of this name.
    pub tag_name: Option<String>,
    /// Only those whose common name or serial number begins so.
    pub prefix: Option<String>,
    /// Only these.
    pub certificate_ids: Option<Vec<Uuid>>,
    /// The moment of all this.
    pub now: Time,
}

/// How many selected certificates there are of one kind; of all of them when no field is set.
#[derive(Debug, Clone)]
pub struct ImpactRow {
    /// What they are counted by: `all`, `authority`, `profile`, `owner`.
    pub by: String,
    /// Which authority, profile or owner's username; none when that is unknown.
    pub name: Option<String>,
    /// How many.
    pub certificates: i64,
}

/// The last character in the order of code points: what sorts after everything that begins like a prefix.
const LAST_CHARACTER: char = '\u{10FFFF}';

/// Runs a statement over the selected rows `m` of `certificate_metadata`, whose parameters go from $1 to $13.
macro_rules! selected {
    ($query:ident, $row:tt, $conn:expr, $selection:expr, $before:tt, $after:tt $(, $more:expr)*) => {{
        let selection: &Selection = $selection;
        let prefix_end = selection.prefix.as_ref().map(|prefix| format!("{prefix}{LAST_CHARACTER}"));
        selected!(@ $query $row, $before + r#" FROM certificate_metadata m LEFT JOIN users u ON u.id = m.owner_user_id
            WHERE m.deleted_at IS NULL AND m.status IN ('active', 'on_hold') AND m.not_after >= $1 AND m.authority_id IS NOT NULL
              AND ($2::uuid IS NULL OR m.authority_id = $2)
              AND ($3::text IS NULL OR m.profile = $3)
              AND ($4::uuid IS NULL OR m.owner_user_id = $4)
              AND ($5::timestamptz IS NULL OR m.created_at >= $5)
              AND ($6::timestamptz IS NULL OR m.created_at < $6)
              AND ($7::timestamptz IS NULL OR m.not_after < $7)
              AND ($8::text IS NULL OR m.sans @> ARRAY[$8])
              AND ($9::jsonb IS NULL OR m.tags @> $9)
              AND ($10::text IS NULL OR m.tag_names @> ARRAY[$10])
              AND ($11::text IS NULL OR (m.common_name >= $11 AND m.common_name < $12)
                                     OR (m.serial_number >= $11 AND m.serial_number < $12))
              AND ($13::uuid[] IS NULL OR m.certificate_id = ANY ($13))"# + $after,
            selection.now,
            selection.authority_id,
            selection.profile,
            selection.owner_user_id,
            selection.issued_after,
            selection.issued_before,
            selection.expires_before,
            selection.san,
            selection.tags,
            selection.tag_name,
            selection.prefix,
            prefix_end,
            selection.certificate_ids.as_deref() $(, $more)*)
    }};
    (@ query_as $row:tt, $($rest:tt)*) => { sqlx::query_as!($row, $($rest)*) };
    (@ query $row:tt, $($rest:tt)*) => { sqlx::query!($($rest)*) };
}

/// How many certificates a selection names: in all, then of the 50 largest authorities, profiles and owners.
pub async fn count_selected(
    conn: &mut PgConnection,
    selection: &Selection,
) -> Result<Vec<ImpactRow>, DbError> {
    let rows = selected!(
        query_as,
        ImpactRow,
        conn,
        selection,
        r#"SELECT by AS "by!", name, certificates AS "certificates!" FROM (
             SELECT counted.*, row_number() OVER (PARTITION BY by ORDER BY certificates DESC, name) AS place FROM (
                 SELECT CASE GROUPING(m.authority_id, m.profile, u.username)
                            WHEN 7 THEN 'all' WHEN 3 THEN 'authority' WHEN 5 THEN 'profile' ELSE 'owner' END AS by,
                     COALESCE(m.authority_id::text, m.profile, u.username) AS name, count(*) AS certificates"#,
        r#" GROUP BY GROUPING SETS ((), (m.authority_id), (m.profile), (u.username))) counted) ranked
           WHERE place <= 50 ORDER BY by, place"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Writes down the selected certificates, each with the operation that shall revoke it.
///
/// # Errors
/// When the database fails.
pub async fn insert_items(
    conn: &mut PgConnection,
    mass_revocation_id: Uuid,
    selection: &Selection,
) -> Result<(), DbError> {
    selected!(
        query,
        (),
        conn,
        selection,
        "INSERT INTO mass_revocation_items (organization_id, mass_revocation_id, certificate_id, authority_id, operation_id,
             status, created_at, updated_at)
         SELECT m.organization_id, $14, m.certificate_id, m.authority_id, gen_random_uuid(), 'waiting', $1, $1",
        " ORDER BY m.authority_id, m.certificate_id",
        mass_revocation_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A mass revocation.
#[derive(Debug, Clone)]
pub struct MassRevocationRow {
    /// Row id.
    pub id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// Who selected the certificates.
    pub requester_user_id: Uuid,
    /// Who approved it.
    pub approver_user_id: Option<Uuid>,
    /// By what they were selected.
    pub selection: Value,
    /// How many there are of each kind.
    pub impact: Value,
    /// RFC 5280 name.
    pub reason: String,
    /// Since when the keys are suspected.
    pub invalidity_date: Option<Time>,
    /// Why.
    pub comment: Option<String>,
    /// `pending`, `running`, `completed`, `cancelled`, `failed`.
    pub status: String,
    /// Certificates selected.
    pub certificate_count: i64,
    /// Certificates revoked.
    pub revoked_count: i64,
    /// Certificates that could not be revoked.
    pub refused_count: i64,
    /// What ended it early.
    pub failure_code: Option<String>,
    /// The same in words.
    pub failure_detail: Option<String>,
    /// When it was approved or cancelled.
    pub decided_at: Option<Time>,
    /// When nothing was left to do.
    pub completed_at: Option<Time>,
    /// When.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
}

/// Adds a mass revocation that waits for approval.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, row: &MassRevocationRow) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO mass_revocations (id, organization_id, requester_user_id, selection, impact, reason, invalidity_date,
             comment, status, certificate_count, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9, $10, $10)",
        row.id,
        row.organization_id,
        row.requester_user_id,
        row.selection,
        row.impact,
        row.reason,
        row.invalidity_date,
        row.comment,
        row.certificate_count,
        row.created_at
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// One mass revocation.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<MassRevocationRow>, DbError> {
    let row = sqlx::query_as!(
        MassRevocationRow,
        "SELECT id, organization_id, requester_user_id, approver_user_id, selection, impact, reason, invalidity_date, comment,
             status, certificate_count, revoked_count, refused_count, failure_code, failure_detail, decided_at, completed_at,
             created_at, version
         FROM mass_revocations WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A page, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<MassRevocationRow>, DbError> {
    let rows = sqlx::query_as!(
        MassRevocationRow,
        "SELECT id, organization_id, requester_user_id, approver_user_id, selection, impact, reason, invalidity_date, comment,
             status, certificate_count, revoked_count, refused_count, failure_code, failure_detail, decided_at, completed_at,
             created_at, version
         FROM mass_revocations WHERE $1::uuid IS NULL OR id < $1
         ORDER BY organization_id DESC, id DESC LIMIT $2",
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Lets one that waits be carried out.
///
/// # Errors
/// `RowCount` when it does not wait, or when the database fails.
pub async fn approve(
    conn: &mut PgConnection,
    id: Uuid,
    approver_user_id: Uuid,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE mass_revocations SET status = 'running', approver_user_id = $2, decided_at = $3, updated_at = $3,
             version = version + 1
         WHERE id = $1 AND status = 'pending'",
        id,
        approver_user_id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Stops one that waits or runs; what it revoked stays revoked.
///
/// # Errors
/// `RowCount` when it has ended, or when the database fails.
pub async fn cancel(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE mass_revocations SET status = 'cancelled', decided_at = $2, updated_at = $2, version = version + 1
         WHERE id = $1 AND status IN ('pending', 'running')",
        id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// A certificate of a mass revocation.
#[derive(Debug, Clone)]
pub struct ItemRow {
    /// Row id.
    pub id: Uuid,
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The operation that revokes it.
    pub operation_id: Uuid,
    /// First common name.
    pub common_name: Option<String>,
    /// Lower-case hexadecimal.
    pub serial_number: Option<String>,
    /// `waiting`, `revoked`, `refused`.
    pub status: String,
    /// Why it was refused.
    pub failure_code: Option<String>,
}

/// A page of the certificates of a mass revocation, the last of them first.
///
/// # Errors
/// When the database fails.
pub async fn list_items(
    conn: &mut PgConnection,
    mass_revocation_id: Uuid,
    status: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ItemRow>, DbError> {
    let rows = sqlx::query_as!(
        ItemRow,
        r#"SELECT i.id, i.certificate_id, i.operation_id, m.common_name AS "common_name?", m.serial_number AS "serial_number?",
             i.status, i.failure_code
         FROM mass_revocation_items i LEFT JOIN certificate_metadata m ON m.certificate_id = i.certificate_id
         WHERE i.mass_revocation_id = $1 AND ($2::text IS NULL OR i.status = $2) AND ($3::uuid IS NULL OR i.id < $3)
         ORDER BY i.organization_id DESC, i.mass_revocation_id DESC, i.id DESC LIMIT $4"#,
        mass_revocation_id,
        status,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
