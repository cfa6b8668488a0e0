//! Runs of the integrity job that somebody orders. They go on behind the call that orders them; what became of them is
//! in the audit log.

use std::sync::Arc;

use chrono::TimeDelta;
use clm_core_db::integrity_runs::{self, OBJECT_TYPE, RunEntryRow};
use clm_core_db::{PgConnection, audit};
use clm_types::{ErrorCode, Permission, Refusal, Time, ids};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::integrity::{IntegrityReport, running_already};
use crate::{Core, CoreError, Ctx};

const START: &str = "integrity.start";
const END: &str = "integrity.end";
/// A run may be on its way to its lock for so long.
const SETTLED: TimeDelta = TimeDelta::seconds(10);

/// A run that somebody ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrityRun {
    /// Identity; findings name it.
    pub id: Uuid,
    /// When it began.
    pub started_at: Time,
    /// Where it stands.
    pub state: RunState,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// It is under way.
    Running,
    /// It compared everything.
    Completed(Time, RunCounts),
    /// It ended before, for this reason.
    Failed(Time, String),
    /// Its process ended before it did.
    Interrupted,
}

/// What a whole run counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
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

impl Core {
    /// Begins to compare both databases, for all organizations; see [`Self::show_integrity_run`].
    ///
    /// # Errors
    /// `permission_denied`; `conflict` while another run is under way.
    pub async fn start_integrity_run(self: &Arc<Self>, ctx: &Ctx) -> Result<IntegrityRun, CoreError> {
        ctx.require_global(Permission::IntegrityRun)?;
        let id = ids::new_uuid(ctx.now, &self.entropy);
        let mut tx = clm_pg::begin(&self.system).await?;
        if integrity_runs::is_any_running(&mut tx).await? {
            return Err(running_already().into());
        }
        let entry = AuditEntry::of(ctx, &self.entropy, START, OBJECT_TYPE).of_installation().object(id);
        audit::insert(&mut tx, entry.row()).await?;
        clm_pg::commit(tx).await?;
        tokio::spawn(Arc::clone(self).run_and_note(ctx.clone(), id));
        Ok(IntegrityRun { id, started_at: ctx.now, state: RunState::Running })
    }

    /// A run that somebody ordered.
    ///
    /// # Errors
    /// `permission_denied`, `not_found`.
    pub async fn show_integrity_run(&self, ctx: &Ctx, id: Uuid) -> Result<IntegrityRun, CoreError> {
        ctx.require_global(Permission::IntegrityRun)?;
        let mut tx = clm_pg::begin(&self.system).await?;
        let entries = integrity_runs::list_entries(&mut tx, id, 2).await?;
        let start = entries.iter().find(|entry| entry.action == START).ok_or_else(|| run_not_found(id))?;
        let state = match entries.iter().find(|entry| entry.action == END) {
            Some(end) => ended(end)?,
            None => unended(&mut tx, ctx, start).await?,
        };
        Ok(IntegrityRun { id, started_at: start.occurred_at, state })
    }

    async fn run_and_note(self: Arc<Self>, ctx: Ctx, id: Uuid) {
        let outcome = self.carry_out_run(id).await;
        if let Err(error) = &outcome {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, run_id = %id, "the databases could not be compared");
        }
        if let Err(error) = self.note_end(&ctx, id, outcome).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, run_id = %id, "the end of a comparison was not noted");
        }
    }

    async fn note_end(
        &self,
        ctx: &Ctx,
        id: Uuid,
        outcome: Result<IntegrityReport, CoreError>,
    ) -> Result<(), CoreError> {
        let ctx = Ctx { now: self.clock.now(), ..ctx.clone() };
        let entry = AuditEntry::of(&ctx, &self.entropy, END, OBJECT_TYPE).of_installation().object(id);
        let entry = match outcome {
            Ok(report) => entry.after(json!(RunCounts::of(&report))),
            Err(error) => entry.outcome("failed").detail(error.to_refusal().to_string()),
        };
        let entry = &entry;
        self.in_system("note_integrity_run", |mut tx| async move {
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await
    }
}

impl RunCounts {
    const fn of(report: &IntegrityReport) -> Self {
        Self {
            compared: report.compared,
            open: report.open,
            repaired: report.repaired,
            alarms: report.alarms,
            resolved: report.resolved,
        }
    }
}

fn run_not_found(id: Uuid) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("nobody ordered a run {id} of the integrity job"))
}

fn ended(end: &RunEntryRow) -> Result<RunState, CoreError> {
    if end.outcome == "failed" {
        return Ok(RunState::Failed(end.occurred_at, end.detail.clone().unwrap_or_default()));
    }
    let counts = RunCounts::deserialize(end.after_state.clone().unwrap_or_default())
        .map_err(|error| CoreError::defect_of("a stored integrity report cannot be read", error))?;
    Ok(RunState::Completed(end.occurred_at, counts))
}

async fn unended(conn: &mut PgConnection, ctx: &Ctx, start: &RunEntryRow) -> Result<RunState, CoreError> {
    let is_new = ctx.now < start.occurred_at + SETTLED;
    let is_running = is_new || integrity_runs::is_any_running(conn).await?;
    Ok(if is_running { RunState::Running } else { RunState::Interrupted })
}
