//! The integrity job: both databases side by side, in the order of their ids, in batches.
//!
//! What has one right answer is repaired, what has none raises an alarm. Differences that are
//! younger than a moment are operations on their way, and are left to them.

mod audit_chain;
mod certificates;
mod differences;
mod operations;
mod orphans;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::DbError;
use clm_core_db::integrity::{self, FindingRow, NewFindingRow};
use clm_types::{ErrorCode, Permission, Refusal, Time, ids};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::page::{Page, PageRequest};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::integrity::FindingRow as Finding;

/// Rows of Core read at once.
const BATCH: i64 = 1_000;
/// Findings written at once.
const MOST_HELD: usize = 500;
/// Younger differences are operations on their way.
const GRACE: TimeDelta = TimeDelta::seconds(30);
/// An operation that is being carried out for longer is stuck.
const STUCK_AFTER: TimeDelta = TimeDelta::minutes(10);

/// What one run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrityReport {
    /// Identity of the run.
    pub run_id: Uuid,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Time,
    /// Certificates compared.
    pub compared: u64,
    /// Findings that somebody should look at.
    pub open: u64,
    /// Findings that were repaired.
    pub repaired: u64,
    /// Findings that somebody must look at.
    pub alarms: u64,
    /// Findings of earlier runs that are gone.
    pub resolved: u64,
}

/// A run under way.
struct Run {
    report: IntegrityReport,
    held: Vec<NewFindingRow>,
}

/// What is wrong, on which side, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    kind: &'static str,
    side: &'static str,
    status: &'static str,
}

/// What a finding is about.
struct Subject {
    object_type: &'static str,
    object_id: Uuid,
    organization_id: Option<Uuid>,
    detail: Value,
}

impl Core {
    /// Runs every `interval` until told to stop, and hands each report on.
    pub async fn run_integrity_every(
        self: Arc<Self>,
        interval: Duration,
        shutdown: CancellationToken,
        report: impl Fn(&IntegrityReport) + Send,
    ) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            // The lock of a run that is left goes with its connection.
            let Some(outcome) = shutdown.run_until_cancelled(self.compare_databases()).await else {
                return;
            };
            match outcome {
                Ok(found) => report(&found),
                // Another process is at it.
                Err(error) if error.code() == Some(ErrorCode::Conflict) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the databases could not be compared"
                    );
                }
            }
        }
    }

    /// A page of findings, newest first: all with a role for all organizations, else the organization's.
    ///
    /// # Errors
    /// `permission_denied`.
    pub async fn list_findings(
        &self,
        ctx: &Ctx,
        status: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<FindingRow>, CoreError> {
        ctx.require(Permission::IntegrityRun)?;
        let mut tx = if ctx.require_global(Permission::IntegrityRun).is_ok() {
            clm_pg::begin(&self.system).await?
        } else {
            self.tenant_tx(ctx.organization_id).await?
        };
        let rows = integrity::list_findings(&mut tx, status, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// One whole run.
    ///
    /// # Errors
    /// `conflict` while another run is under way, in whichever process; when a database cannot be reached.
    pub async fn compare_databases(&self) -> Result<IntegrityReport, CoreError> {
        self.carry_out_run(ids::new_uuid(self.clock.now(), &self.entropy)).await
    }

    /// [`Self::compare_databases`], under an id that is known before.
    pub(crate) async fn carry_out_run(&self, run_id: Uuid) -> Result<IntegrityReport, CoreError> {
        let mut lock = self.system.acquire().await.map_err(DbError::from)?;
        // The lock ends with its connection, also when the run is dropped half way.
        lock.close_on_drop();
        if !integrity::lock_run(&mut lock).await? {
            return Err(running_already().into());
        }
        let outcome = self.run_locked(run_id).await;
        integrity::unlock_run(&mut lock).await?;
        outcome
    }

    async fn run_locked(&self, run_id: Uuid) -> Result<IntegrityReport, CoreError> {
        let started_at = self.clock.now();
        let mut run = Run::new(run_id, started_at);
        self.compare_certificates(&mut run).await?;
        self.compare_operations(&mut run).await?;
        self.find_orphans(&mut run).await?;
        self.compare_audit_chain(&mut run).await?;
        self.flush(&mut run).await?;
        let finished_at = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        run.report.resolved = integrity::resolve_unseen(&mut conn, run.report.run_id, finished_at).await?;
        run.report.alarms += integrity::count_standing_alarms(&mut conn, run.report.run_id).await?;
        run.report.finished_at = finished_at;
        let report = &run.report;
        tracing::info!(run_id = %report.run_id, compared = report.compared, open = report.open,
            repaired = report.repaired, alarms = report.alarms, resolved = report.resolved, "compared both databases");
        Ok(run.report)
    }

    /// Writes a finding down, with the others when there are enough.
    async fn note(&self, run: &mut Run, found: Found, subject: Subject) -> Result<(), CoreError> {
        if found.status == "alarm" {
            tracing::error!(kind = found.kind, side = found.side, object_type = subject.object_type,
                object_id = %subject.object_id, "the databases differ: a person must look");
        }
        run.add(NewFindingRow {
            id: ids::new_uuid(run.report.started_at, &self.entropy),
            run_id: run.report.run_id,
            kind: found.kind,
            side: found.side,
            object_type: subject.object_type,
            object_id: subject.object_id,
            organization_id: subject.organization_id,
            detail: subject.detail,
            status: found.status,
            found_at: run.report.started_at,
        });
        if run.held.len() >= MOST_HELD { self.flush(run).await } else { Ok(()) }
    }

    async fn flush(&self, run: &mut Run) -> Result<(), CoreError> {
        if !run.held.is_empty() {
            let mut conn = self.system.acquire().await.map_err(DbError::from)?;
            integrity::upsert_findings(&mut conn, &run.held).await?;
            run.held.clear();
        }
        Ok(())
    }
}

impl Run {
    fn new(run_id: Uuid, started_at: Time) -> Self {
        Self {
            held: Vec::new(),
            report: IntegrityReport {
                run_id,
                started_at,
                finished_at: started_at,
                compared: 0,
                open: 0,
                repaired: 0,
                alarms: 0,
                resolved: 0,
            },
        }
    }

    fn add(&mut self, finding: NewFindingRow) {
        match finding.status {
            "repaired" => self.report.repaired += 1,
            "alarm" => self.report.alarms += 1,
            _ => self.report.open += 1,
        }
        self.held.push(finding);
    }

    /// Whether something that was done at `time` may still have been on its way when it was read: shortly before the
    /// run or during it, for the sides are not read at one moment. A time that is none, or lies in the future, hides
    /// nothing.
    fn is_young(&self, time: Option<Time>, now: Time) -> bool {
        time.is_some_and(|time| self.report.started_at - GRACE < time && time < now + GRACE)
    }

    /// Whether an operation that has not changed since `time` should have ended.
    fn is_overdue(&self, time: Time) -> bool {
        time < self.report.started_at - STUCK_AFTER
    }
}

impl Found {
    const fn alarm(kind: &'static str, side: &'static str) -> Self {
        Self { kind, side, status: "alarm" }
    }

    const fn open(kind: &'static str, side: &'static str) -> Self {
        Self { kind, side, status: "open" }
    }

    const fn repaired(kind: &'static str, side: &'static str) -> Self {
        Self { kind, side, status: "repaired" }
    }
}

/// `conflict`: one run at a time.
pub(crate) fn running_already() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "the integrity job is running already")
        .hint("read its findings when it has ended")
}

/// When a UUIDv7 was made.
fn created_at(id: Uuid) -> Option<Time> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Time::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::CertificateId;

    #[test]
    fn the_age_of_a_certificate_is_in_its_id() {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let id = CertificateId::generate(now, &clm_types::Entropy::seeded(1));
        assert_eq!(created_at(id.0), Some(now));
        assert_eq!(created_at(Uuid::nil()), None);
    }

    #[test]
    fn only_what_was_just_done_may_be_on_its_way() {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let run = Run::new(Uuid::nil(), now);
        let is_young = |seconds, took| {
            run.is_young(Some(now + TimeDelta::seconds(seconds)), now + TimeDelta::seconds(took))
        };
        for seconds in [-29, 0, 29] {
            assert!(is_young(seconds, 0), "{seconds}");
        }
        for seconds in [-31, 31, 1_000_000_000] {
            assert!(!is_young(seconds, 0), "{seconds}");
        }
        // However long the run takes.
        for seconds in [-29, 31, 599, 629] {
            assert!(is_young(seconds, 600), "{seconds}");
        }
        for seconds in [-31, 631] {
            assert!(!is_young(seconds, 600), "{seconds}");
        }
        assert!(!run.is_young(None, now));
    }
}
