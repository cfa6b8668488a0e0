//! `integrity_findings`, and what the integrity job reads and mends.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub mod certificates;
pub mod operations;
pub mod repairs;

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

/// Lets the next run through at once, which the end of a connection does only when PostgreSQL has noticed it.
pub async fn unlock_run(conn: &mut PgConnection) -> Result<(), DbError> {
    sqlx::query_scalar!("SELECT pg_advisory_unlock(hashtextextended('clm.integrity', 0))")
        .fetch_one(conn)
        .await?;
    Ok(())
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

/// Writes findings down; one that is known and not resolved is only seen again. Of several of one kind about one object
/// the first counts.
pub async fn upsert_findings(conn: &mut PgConnection, rows: &[NewFindingRow]) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO integrity_findings (id, run_id, kind, side, object_type, object_id, organization_id, detail, status,
             found_at, last_seen_at, resolved_at, created_at, updated_at)
         SELECT DISTINCT ON (new.kind, new.object_id) new.id, new.run_id, new.kind, new.side, new.object_type, new.object_id, o.id, new.detail, new.status,
             new.found_at, new.found_at, CASE WHEN new.status = 'repaired' THEN new.found_at END, new.found_at, new.found_at
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::jsonb[], $9::text[],
             $10::timestamptz[])
             WITH ORDINALITY
             AS new (id, run_id, kind, side, object_type, object_id, organization_id, detail, status, found_at, place)
         LEFT JOIN organizations o ON o.id = new.organization_id
         ORDER BY new.kind, new.object_id, new.place
         ON CONFLICT (kind, object_id) WHERE resolved_at IS NULL DO UPDATE
             SET run_id = EXCLUDED.run_id, side = EXCLUDED.side, detail = EXCLUDED.detail, status = EXCLUDED.status,
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

/// Resolves what a whole run did not see again; how many findings that were. That nobody approved a certificate cannot be
/// seen again: it stays until the certificate is revoked or has ended.
pub async fn resolve_unseen(conn: &mut PgConnection, run_id: Uuid, now: Time) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE integrity_findings SET status = 'resolved', resolved_at = $2, updated_at = $2
         WHERE resolved_at IS NULL AND run_id <> $1
           AND NOT (kind = 'issued_without_approval' AND EXISTS (
               SELECT FROM certificate_metadata m
               WHERE m.certificate_id = object_id AND m.status <> 'revoked' AND m.not_after >= $2))",
        run_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// How many alarms stand that a whole run did not see again.
pub async fn count_standing_alarms(conn: &mut PgConnection, run_id: Uuid) -> Result<u64, DbError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM integrity_findings
         WHERE resolved_at IS NULL AND run_id <> $1 AND status = 'alarm'"#,
        run_id
    )
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
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
