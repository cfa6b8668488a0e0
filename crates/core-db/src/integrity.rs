//! `integrity_findings`, and what the integrity job reads to compare the two databases.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// Lets one run at a time through, whichever process it is in: true if it is this one. The lock lasts
/// as long as the connection.
pub async fn lock_run(conn: &mut PgConnection) -> Result<bool, DbError> {
    let locked = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtextextended('clm.integrity', 0)) AS "locked!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(locked)
}

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
             (m.owner_user_id IS NULL OR (u.id IS NOT NULL AND u.deleted_at IS NULL)) AS "owner_exists!",
             (m.policy_id IS NULL OR (p.id IS NOT NULL AND p.deleted_at IS NULL)) AS "policy_exists!",
             (o.id IS NOT NULL AND o.deleted_at IS NULL) AS "organization_exists!"
         FROM (SELECT certificate_id, organization_id, owner_user_id, policy_id, operation_id, status
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

/// A difference, or a reference that leads nowhere.
#[derive(Debug, Clone)]
pub struct NewFindingRow {
    /// Identity, if it is new.
    pub id: Uuid,
    /// The run that saw it.
    pub run_id: Uuid,
    /// What is wrong.
    pub kind: &'static str,
    /// `core`, `secure`, `both`.
    pub side: &'static str,
    /// Kind of the object.
    pub object_type: &'static str,
    /// The object.
    pub object_id: Uuid,
    /// Whose, if that organization exists.
    pub organization_id: Option<Uuid>,
    /// Both sides' values.
    pub detail: Value,
    /// `open`, `repaired`, `alarm`.
    pub status: &'static str,
    /// When.
    pub found_at: Time,
}

/// Writes findings down; one that is known and not resolved is only seen again.
pub async fn upsert_findings(conn: &mut PgConnection, rows: &[NewFindingRow]) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO integrity_findings (id, run_id, kind, side, object_type, object_id, organization_id, detail, status,
             found_at, last_seen_at, resolved_at, created_at, updated_at)
         SELECT new.id, new.run_id, new.kind, new.side, new.object_type, new.object_id, o.id, new.detail, new.status,
             new.found_at, new.found_at, CASE WHEN new.status = 'repaired' THEN new.found_at END, new.found_at, new.found_at
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::jsonb[], $9::text[],
             $10::timestamptz[])
             AS new (id, run_id, kind, side, object_type, object_id, organization_id, detail, status, found_at)
         LEFT JOIN organizations o ON o.id = new.organization_id
         ON CONFLICT (kind, object_id) WHERE resolved_at IS NULL DO UPDATE
             SET run_id = EXCLUDED.run_id, detail = EXCLUDED.detail, status = EXCLUDED.status,
                 last_seen_at = EXCLUDED.last_seen_at, resolved_at = EXCLUDED.resolved_at, updated_at = EXCLUDED.updated_at",
        &rows.iter().map(|f| f.id).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.run_id).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.kind.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.side.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.object_type.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.object_id).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.organization_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|f| f.detail.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.status.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|f| f.found_at).collect::<Vec<_>>()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Resolves what a whole run did not see again; how many findings that were.
pub async fn resolve_unseen(conn: &mut PgConnection, run_id: Uuid, now: Time) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE integrity_findings SET status = 'resolved', resolved_at = $2, updated_at = $2
         WHERE resolved_at IS NULL AND run_id <> $1",
        run_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// A finding as it stands.
#[derive(Debug, Clone)]
pub struct FindingRow {
    /// Identity.
    pub id: Uuid,
    /// The run that last saw it.
    pub run_id: Uuid,
    /// What is wrong.
    pub kind: String,
    /// `core`, `secure`, `both`.
    pub side: String,
    /// Kind of the object.
    pub object_type: String,
    /// The object.
    pub object_id: Uuid,
    /// Whose.
    pub organization_id: Option<Uuid>,
    /// `open`, `repaired`, `alarm`, `resolved`.
    pub status: String,
    /// Both sides' values.
    pub detail: Value,
    /// When it was first seen.
    pub found_at: Time,
    /// When it was last seen.
    pub last_seen_at: Time,
    /// When it was gone.
    pub resolved_at: Option<Time>,
}

/// A page of findings, newest first.
pub async fn list_findings(
    conn: &mut PgConnection,
    status: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<FindingRow>, DbError> {
    let rows = sqlx::query_as!(
        FindingRow,
        "SELECT id, run_id, kind, side, object_type, object_id, organization_id, status, detail, found_at, last_seen_at,
             resolved_at
         FROM integrity_findings
         WHERE ($1::text IS NULL OR status = $1) AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
        status,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// What Secure says of a certificate that Core has otherwise.
#[derive(Debug, Clone)]
pub struct StatusRepairRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The state that Core had.
    pub from: &'static str,
    /// The state in Secure.
    pub to: &'static str,
    /// Since when, if it is revoked or on hold.
    pub revoked_at: Option<Time>,
    /// RFC 5280 reason of that.
    pub reason: Option<&'static str>,
    /// What the validation services of all processes must forget.
    pub forget: String,
    /// The audit entry's id.
    pub audit_id: Uuid,
    /// When.
    pub now: Time,
}

/// Sets the state that Secure says, with its audit entry. False, and nothing happens, when Core has
/// another state by now, or when the certificate is revoked: that is never taken back.
pub async fn repair_status(conn: &mut PgConnection, row: &StatusRepairRow) -> Result<bool, DbError> {
    let answer = sqlx::query!(
        r#"WITH repaired AS (
             UPDATE certificate_metadata SET status = $3, revoked_at = $4, revocation_reason = $5, updated_at = $8,
                 version = version + 1
             WHERE certificate_id = $1 AND status = $2 AND status <> 'revoked'
             RETURNING organization_id),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, action, object_type, object_id, before_state,
                 after_state, outcome, detail, created_at)
             SELECT $7, $8, 'system', r.organization_id, 'certificate.repair', 'certificate', $1,
                 jsonb_build_object('status', $2::text),
                 jsonb_build_object('status', $3::text, 'revoked_at', $4::timestamptz, 'reason', $5::text), 'allowed',
                 'set to what Secure says', $8
             FROM repaired r),
         told AS (SELECT pg_notify('clm_validation', $6)::text AS notified FROM repaired)
         SELECT EXISTS (SELECT FROM repaired) AS "repaired!", (SELECT notified FROM told) AS notified"#,
        row.certificate_id,
        row.from,
        row.to,
        row.revoked_at,
        row.reason,
        row.forget,
        row.audit_id,
        row.now
    )
    .fetch_one(conn)
    .await?;
    Ok(answer.repaired)
}
