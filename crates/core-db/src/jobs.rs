//! `jobs`: the queue of work in Secure, filled in the commit of what needs it. Done jobs are deleted.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// The job that carries an operation, leased by its maker if `locked_by` is given.
#[derive(Debug, Clone)]
pub struct NewJobRow {
    /// Identity.
    pub id: Uuid,
    /// What to do.
    pub kind: &'static str,
    /// What it needs to know; no secret.
    pub payload: Value,
    /// Who runs it already.
    pub locked_by: Option<String>,
    /// Until when.
    pub locked_until: Option<Time>,
}

/// A job that the caller holds.
#[derive(Debug, Clone)]
pub struct ClaimedJobRow {
    /// Identity.
    pub id: Uuid,
    /// What to do.
    pub kind: String,
    /// The operation it carries.
    pub operation_id: Uuid,
    /// For which organization.
    pub organization_id: Option<Uuid>,
    /// What it needs to know.
    pub payload: Value,
    /// How often it was tried, this time included.
    pub attempts: i32,
}

/// Enqueues a job, once per kind and operation.
pub async fn insert(
    conn: &mut PgConnection,
    job: &NewJobRow,
    operation_id: Uuid,
    organization_id: Uuid,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO jobs (id, kind, operation_id, organization_id, payload, status, run_at, attempts, locked_by,
             locked_until, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, CASE WHEN $6::text IS NULL THEN 'queued' ELSE 'running' END, $8,
             CASE WHEN $6::text IS NULL THEN 0 ELSE 1 END, $6, $7, $8, $8)
         ON CONFLICT (kind, operation_id) DO NOTHING",
        job.id,
        job.kind,
        operation_id,
        organization_id,
        job.payload,
        job.locked_by,
        job.locked_until,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes up to `limit` due jobs, and those whose holder let its lease run out, for `locked_by` until `locked_until`.
pub async fn claim(
    conn: &mut PgConnection,
    locked_by: &str,
    now: Time,
    locked_until: Time,
    limit: i64,
) -> Result<Vec<ClaimedJobRow>, DbError> {
    let rows = sqlx::query_as!(
        ClaimedJobRow,
        "WITH due AS MATERIALIZED (
             SELECT id FROM jobs
             WHERE (status = 'queued' AND run_at <= $2) OR (status = 'running' AND locked_until <= $2)
             ORDER BY run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
         UPDATE jobs j SET status = 'running', locked_by = $1, locked_until = $3, attempts = attempts + 1, updated_at = $2
         FROM due WHERE j.id = due.id
         RETURNING j.id, j.kind, j.operation_id, j.organization_id, j.payload, j.attempts",
        locked_by,
        now,
        locked_until,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Whether a job is to tell Secure of a certificate's owner.
pub async fn is_owner_on_its_way(conn: &mut PgConnection, certificate_id: Uuid) -> Result<bool, DbError> {
    let waits = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM jobs WHERE kind = 'owner' AND status IN ('queued', 'running')
             AND payload @> jsonb_build_object('certificate_id', $1::uuid)) AS "waits!""#,
        certificate_id
    )
    .fetch_one(conn)
    .await?;
    Ok(waits)
}

/// Which job, and which try of it: who lost it to another try can no longer change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The job.
    pub id: Uuid,
    /// `jobs.attempts` while it is held.
    pub attempts: i32,
}

/// Prolongs the lease of a job. False when the caller no longer holds it.
pub async fn renew(conn: &mut PgConnection, held: Held, locked_until: Time) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "UPDATE jobs SET locked_until = $3 WHERE id = $1 AND attempts = $2 AND status = 'running'",
        held.id,
        held.attempts,
        locked_until
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Gives a job back to be tried again at `run_at`, if the caller still holds it.
pub async fn retry(
    conn: &mut PgConnection,
    held: Held,
    run_at: Time,
    error: &str,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE jobs SET status = 'queued', run_at = $3, last_error = $4, locked_by = NULL, locked_until = NULL, updated_at = $5
         WHERE id = $1 AND attempts = $2 AND status = 'running'",
        held.id,
        held.attempts,
        run_at,
        error,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a job up, if the caller still holds it: a person must look.
pub async fn bury(conn: &mut PgConnection, held: Held, error: &str, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE jobs SET status = 'dead', last_error = $3, locked_by = NULL, locked_until = NULL, finished_at = $4,
             updated_at = $4
         WHERE id = $1 AND attempts = $2 AND status = 'running'",
        held.id,
        held.attempts,
        error,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The job is done; nothing happens when the caller no longer holds it.
pub async fn delete(conn: &mut PgConnection, held: Held) -> Result<(), DbError> {
    sqlx::query!(
        "DELETE FROM jobs WHERE id = $1 AND attempts = $2 AND status = 'running'",
        held.id,
        held.attempts
    )
    .execute(conn)
    .await?;
    Ok(())
}
