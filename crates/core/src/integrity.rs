//! The integrity job: both databases side by side, in the order of certificate ids, in batches.
//!
//! What has one right answer is repaired, what has none raises an alarm. Differences that are
//! younger than a moment are operations on their way, and are left to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::DbError;
use clm_core_db::integrity::{
    self, FindingRow, InventoryReferenceRow, MissingRow, NewFindingRow, StuckOperationRow,
};
use clm_types::{CertificateReference, CertificateStatus, ErrorCode, Permission, Refusal, Time, ids};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::merge::{Pair, Side, pair_up};
use crate::page::{Page, PageRequest};
use crate::request_view::stored;
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

/// One certificate on both sides, and what of its references is missing.
type Compared = Pair<InventoryReferenceRow, CertificateReference>;

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
            match self.compare_databases().await {
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
        let started_at = self.clock.now();
        let mut run = Run::new(run_id, started_at);
        self.compare_certificates(&mut run).await?;
        self.find_stuck(&mut run).await?;
        self.flush(&mut run).await?;
        let finished_at = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        run.report.resolved = integrity::resolve_unseen(&mut conn, run.report.run_id, finished_at).await?;
        run.report.finished_at = finished_at;
        let report = &run.report;
        tracing::info!(run_id = %report.run_id, compared = report.compared, open = report.open,
            repaired = report.repaired, alarms = report.alarms, resolved = report.resolved, "compared both databases");
        Ok(run.report)
    }

    /// The merge join: Secure's stream against batches of the inventory.
    async fn compare_certificates(&self, run: &mut Run) -> Result<(), CoreError> {
        let mut stream = self.secure.stream_references(None).await?;
        let mut core = Side::new(|row: &InventoryReferenceRow| row.certificate_id);
        let mut secure = Side::new(|row: &CertificateReference| row.certificate_id.0);
        loop {
            if core.needs_more() {
                core.push(self.inventory_after(core.last()).await?, BATCH);
            }
            if secure.needs_more() {
                match stream.next_batch().await? {
                    Some(batch) => secure.push_some(batch),
                    None => secure.end(),
                }
            }
            let pairs = pair_up(&mut core, &mut secure);
            if pairs.is_empty() && core.is_done() && secure.is_done() {
                return Ok(());
            }
            self.judge(run, pairs).await?;
        }
    }

    async fn inventory_after(&self, after: Option<Uuid>) -> Result<Vec<InventoryReferenceRow>, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(integrity::list_references(&mut conn, after, BATCH).await?)
    }

    async fn judge(&self, run: &mut Run, pairs: Vec<Compared>) -> Result<(), CoreError> {
        let missing = self.find_missing(&pairs).await?;
        for pair in pairs {
            run.report.compared += 1;
            for finding in dangling(&pair, &missing) {
                run.add(self.finding(run, &pair, finding));
            }
            self.judge_existence(run, &pair).await?;
            if run.held.len() >= MOST_HELD {
                self.flush(run).await?;
            }
        }
        Ok(())
    }

    async fn judge_existence(&self, run: &mut Run, pair: &Compared) -> Result<(), CoreError> {
        let id = pair.key();
        let young = created_at(id).is_none_or(|at| at > run.report.started_at - GRACE);
        match (&pair.left, &pair.right) {
            (None, Some(reference)) if reference.organization_id.is_some() && !young => {
                self.judge_missing_metadata(run, pair, reference).await
            }
            (Some(_), None) if !young => {
                run.add(self.finding(run, pair, Found::alarm("metadata_without_certificate", "core")));
                Ok(())
            }
            (Some(row), Some(reference)) if !same_status(stored(&row.status)?, reference.status) => {
                self.judge_status(run, pair).await
            }
            _ => Ok(()),
        }
    }

    /// A certificate that Core ordered goes back into the inventory; one that nobody ordered is an incident.
    async fn judge_missing_metadata(
        &self,
        run: &mut Run,
        pair: &Compared,
        reference: &CertificateReference,
    ) -> Result<(), CoreError> {
        let mut found = Found::alarm("certificate_without_metadata", "secure");
        if let Some(operation_id) = reference.operation_id {
            match self.restore_metadata(reference.certificate_id, operation_id.into()).await {
                Ok(true) => found.status = "repaired",
                Ok(false) => {}
                Err(error) if error.is_retryable() => return Err(error),
                // What cannot be put back must not hide what comes after it.
                Err(error) => tracing::error!(certificate_id = %reference.certificate_id,
                    error = &error as &dyn std::error::Error, "a certificate cannot be put back into the inventory"),
            }
        }
        if found.status == "alarm" {
            tracing::error!(certificate_id = %reference.certificate_id,
                "Secure holds a certificate that Core does not know and that could not be put back");
        }
        run.add(self.finding(run, pair, found));
        Ok(())
    }

    /// Secure is right about the status. Both sides are read again, for they may have changed since
    /// they were listed: Core first, so that what Secure says is never older than what it replaces.
    async fn judge_status(&self, run: &mut Run, pair: &Compared) -> Result<(), CoreError> {
        let id = pair.key();
        let Some(listed) = self.status_in_core(id).await? else {
            return Ok(());
        };
        let Some(issued) = self.secure.find_certificate(id.into()).await? else {
            return Ok(());
        };
        let record = &issued.record;
        if same_status(listed, record.status) {
            return Ok(());
        }
        let mut found = Found::alarm("status_differs", "core");
        if listed == CertificateStatus::Revoked {
            tracing::error!(certificate_id = %id, secure = %record.status,
                "Core has a certificate as revoked that Secure has not: nothing is taken back");
        } else if self.repair_status(listed, record).await? {
            found.status = "repaired";
        } else {
            // Changed meanwhile: the next run will see what it is then.
            return Ok(());
        }
        run.add(self.finding(run, pair, found));
        Ok(())
    }

    async fn find_missing(&self, pairs: &[Compared]) -> Result<MissingIds, CoreError> {
        let of_secure = || pairs.iter().filter_map(|pair| pair.right.as_ref());
        let users = distinct(of_secure().filter_map(|row| row.owner_user_id.map(Into::into)));
        let policies = distinct(of_secure().filter_map(|row| row.policy_id.map(Into::into)));
        let organizations = distinct(of_secure().filter_map(|row| row.organization_id.map(Into::into)));
        if users.is_empty() && policies.is_empty() && organizations.is_empty() {
            return Ok(MissingIds::default());
        }
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let missing = integrity::list_missing(&mut conn, &users, &policies, &organizations).await?;
        Ok(MissingIds::of(missing))
    }

    async fn find_stuck(&self, run: &mut Run) -> Result<(), CoreError> {
        let since = run.report.started_at - STUCK_AFTER;
        let mut after = None;
        loop {
            let mut conn = self.system.acquire().await.map_err(DbError::from)?;
            let rows = integrity::list_stuck(&mut conn, since, after, BATCH).await?;
            drop(conn);
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for row in &rows {
                run.add(self.stuck(run, row));
            }
            self.flush(run).await?;
        }
    }

    fn stuck(&self, run: &Run, row: &StuckOperationRow) -> NewFindingRow {
        NewFindingRow {
            id: ids::new_uuid(run.report.started_at, &self.entropy),
            run_id: run.report.run_id,
            kind: "operation_stuck",
            side: "core",
            object_type: "request",
            object_id: row.id,
            organization_id: Some(row.organization_id),
            detail: json!({"operation_id": row.operation_id, "kind": row.instance_type, "since": row.updated_at}),
            status: "open",
            found_at: run.report.started_at,
        }
    }

    async fn flush(&self, run: &mut Run) -> Result<(), CoreError> {
        if !run.held.is_empty() {
            let mut conn = self.system.acquire().await.map_err(DbError::from)?;
            integrity::upsert_findings(&mut conn, &run.held).await?;
            run.held.clear();
        }
        Ok(())
    }

    fn finding(&self, run: &Run, pair: &Compared, found: Found) -> NewFindingRow {
        NewFindingRow {
            id: ids::new_uuid(run.report.started_at, &self.entropy),
            run_id: run.report.run_id,
            kind: found.kind,
            side: found.side,
            object_type: "certificate",
            object_id: pair.key(),
            organization_id: organization_of(pair),
            detail: both_sides(pair),
            status: found.status,
            found_at: run.report.started_at,
        }
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
}

/// `conflict`: one run at a time.
pub(crate) fn running_already() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "the integrity job is running already")
        .hint("read its findings when it has ended")
}

/// What is wrong with a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    kind: &'static str,
    side: &'static str,
    status: &'static str,
}

impl Found {
    const fn alarm(kind: &'static str, side: &'static str) -> Self {
        Self { kind, side, status: "alarm" }
    }
}

/// References of Secure that lead nowhere in Core.
#[derive(Debug, Default)]
struct MissingIds {
    users: HashSet<Uuid>,
    policies: HashSet<Uuid>,
    organizations: HashSet<Uuid>,
}

impl MissingIds {
    fn of(row: MissingRow) -> Self {
        Self {
            users: row.users.into_iter().collect(),
            policies: row.policies.into_iter().collect(),
            organizations: row.organizations.into_iter().collect(),
        }
    }
}

/// References that lead nowhere, each with the side that holds it: for people to mend.
fn dangling(pair: &Compared, missing: &MissingIds) -> Vec<Found> {
    let core = pair.left.as_ref();
    let secure = pair.right.as_ref();
    let checks = [
        (
            "owner_missing",
            core.is_some_and(|row| !row.owner_exists),
            secure.and_then(|row| row.owner_user_id).map(|id| missing.users.contains(&id.0)),
        ),
        (
            "policy_missing",
            core.is_some_and(|row| !row.policy_exists),
            secure.and_then(|row| row.policy_id).map(|id| missing.policies.contains(&id.0)),
        ),
        (
            "organization_missing",
            core.is_some_and(|row| !row.organization_exists),
            secure.and_then(|row| row.organization_id).map(|id| missing.organizations.contains(&id.0)),
        ),
    ];
    let found = checks.into_iter().filter_map(|(kind, in_core, in_secure)| {
        let side = match (in_core, in_secure.unwrap_or(false)) {
            (true, true) => "both",
            (true, false) => "core",
            (false, true) => "secure",
            (false, false) => return None,
        };
        Some(Found { kind, side, status: "open" })
    });
    found.collect()
}

/// Expiry follows from the dates; each side writes it down in its own time.
fn same_status(core: CertificateStatus, secure: CertificateStatus) -> bool {
    use CertificateStatus::{Active, Expired};
    core == secure || matches!((core, secure), (Active, Expired) | (Expired, Active))
}

/// When a UUIDv7 was made.
fn created_at(id: Uuid) -> Option<Time> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Time::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

fn organization_of(pair: &Compared) -> Option<Uuid> {
    let of_secure = || pair.right.as_ref().and_then(|row| row.organization_id);
    pair.left.as_ref().map(|row| row.organization_id).or_else(|| of_secure().map(Into::into))
}

fn both_sides(pair: &Compared) -> Value {
    let core = pair.left.as_ref().map(|row| {
        json!({"status": row.status, "organization_id": row.organization_id, "owner_user_id": row.owner_user_id,
            "policy_id": row.policy_id, "operation_id": row.operation_id})
    });
    json!({"core": core, "secure": pair.right})
}

fn distinct(ids: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    ids.collect::<HashSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::{CertificateId, OrganizationId, UserId};

    fn core_row(id: u128) -> InventoryReferenceRow {
        InventoryReferenceRow {
            certificate_id: Uuid::from_u128(id),
            organization_id: Uuid::from_u128(1),
            owner_user_id: Some(Uuid::from_u128(2)),
            policy_id: None,
            operation_id: None,
            status: "active".to_owned(),
            owner_exists: true,
            policy_exists: true,
            organization_exists: true,
        }
    }

    fn secure_row(id: u128) -> CertificateReference {
        CertificateReference {
            certificate_id: CertificateId(Uuid::from_u128(id)),
            organization_id: Some(OrganizationId(Uuid::from_u128(1))),
            owner_user_id: Some(UserId(Uuid::from_u128(2))),
            policy_id: None,
            operation_id: None,
            status: CertificateStatus::Active,
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_found_on_its_side() {
        let pair = |core, secure| Compared::new(Uuid::from_u128(9), core, secure);
        let missing = MissingIds { users: HashSet::from([Uuid::from_u128(2)]), ..MissingIds::default() };
        let deleted = InventoryReferenceRow { owner_exists: false, ..core_row(9) };
        let sides = |pair: &Compared, missing: &MissingIds| {
            let found = dangling(pair, missing);
            found.into_iter().map(|it| (it.kind, it.side)).collect::<Vec<_>>()
        };
        let good = pair(Some(core_row(9)), Some(secure_row(9)));
        assert!(sides(&good, &MissingIds::default()).is_empty());
        assert_eq!(sides(&good, &missing), [("owner_missing", "secure")]);
        let both = pair(Some(deleted.clone()), Some(secure_row(9)));
        assert_eq!(sides(&both, &missing), [("owner_missing", "both")]);
        let core = pair(Some(deleted), None);
        assert_eq!(sides(&core, &missing), [("owner_missing", "core")]);
    }

    #[test]
    fn a_certificate_past_its_end_differs_from_none_that_says_so() {
        use CertificateStatus::{Active, Expired, OnHold, Revoked};
        assert!(same_status(Active, Expired) && same_status(Expired, Active));
        assert!(!same_status(Active, Revoked) && !same_status(Revoked, OnHold));
    }

    #[test]
    fn the_age_of_a_certificate_is_in_its_id() {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let id = CertificateId::generate(now, &clm_types::Entropy::seeded(1));
        assert_eq!(created_at(id.0), Some(now));
        assert_eq!(created_at(Uuid::nil()), None);
    }
}
