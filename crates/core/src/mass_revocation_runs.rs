//! How a mass revocation is carried out: a batch at a time, by one process, taken over by another when that dies.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::mass_revocation_runs::{self as runs, OutcomeRow, RunRow, WaitingRow};
use clm_types::mass_revocation::LARGEST_BATCH;
use clm_types::{
    Approval, BatchedOutcome, BatchedRevocation, ErrorCode, OperationId, Refusal, RevocationBatch,
    RevocationReason, Time, canonical_json, ids,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::jobs::is_worth_another_try;
use crate::mandates::{self, Decided};
use crate::validation::Notice;
use crate::{Core, CoreError};

/// Another process takes over after this time without a batch. A batch that takes longer is ordered twice, to one effect.
const LEASE: TimeDelta = TimeDelta::seconds(5);
/// How many batches are in one's hands at a time.
const BATCHES_AT_ONCE: usize = 3;
/// How long it is waited when nothing is to be done, or when something is wrong.
const IDLE: Duration = Duration::from_secs(1);
const AFTER_TROUBLE: Duration = Duration::from_secs(2);

impl Core {
    /// Carries out mass revocations until told to stop. Every process may.
    pub async fn run_mass_revocations(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let wait = match self.revoke_next_batches().await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a mass revocation waits");
                    AFTER_TROUBLE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.mass_revocation_due.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Revokes the next few batches; false when nothing is to be done by this process.
    ///
    /// # Errors
    /// When Secure or the database cannot be reached: the same batches are tried again.
    pub async fn revoke_next_batches(&self) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let worker = &self.worker.name;
        let run = self
            .in_system("claim_mass_revocation", |mut tx| async move {
                let run = runs::claim(&mut tx, worker, now, now + LEASE).await?;
                Ok((tx, run))
            })
            .await?;
        let Some(run) = run else { return Ok(false) };
        let mut tx = clm_pg::begin(&self.system).await?;
        // The batches are the same whenever they are cut: others may have ordered some of them.
        let batches = if run.cancelled { 1 } else { BATCHES_AT_ONCE };
        let most = i64::try_from(batches * LARGEST_BATCH).unwrap_or(i64::MAX);
        let waiting = runs::list_waiting(&mut tx, run.id, most).await?;
        drop(tx);
        if run.cancelled && !self.was_done(&waiting).await? {
            self.release_mass_revocation(&run, now).await?;
            return Ok(true);
        }
        if waiting.is_empty() {
            self.complete_mass_revocation(&run, now).await?;
            return Ok(true);
        }
        self.revoke_batches(&run, &waiting, now).await?;
        Ok(true)
    }

    /// Has each batch revoked by Secure while what became of the one before is written down here.
    async fn revoke_batches(&self, run: &RunRow, waiting: &[WaitingRow], now: Time) -> Result<(), CoreError> {
        let mut ordered = Vec::new();
        for waiting in waiting.chunks(LARGEST_BATCH) {
            let batch = batch(run, waiting)?;
            let (applied, outcomes) =
                tokio::join!(self.apply_batch(run, &ordered), self.order_batch(run, &batch, now));
            applied?;
            ordered = match outcomes {
                Ok(outcomes) => outcomes,
                Err(error) if self.is_worth_another_batch(run, &error) => return Err(error),
                Err(error) => return self.fail_mass_revocation(run, &error.to_refusal()).await,
            };
            self.tries().remove(&run.id);
        }
        self.apply_batch(run, &ordered).await
    }

    /// Whether Secure has revoked these: a batch is revoked as a whole, so that its first certificate answers for it. Then
    /// ordering it again only tells what was done.
    async fn was_done(&self, waiting: &[WaitingRow]) -> Result<bool, CoreError> {
        match waiting.first() {
            Some(first) => Ok(self.secure.find_operation(first.operation_id.into()).await?.is_some()),
            None => Ok(false),
        }
    }

    /// As for jobs; but a lost race is tried for ever, for the next batch waits behind this one.
    fn is_worth_another_batch(&self, run: &RunRow, error: &CoreError) -> bool {
        if error.is_retryable() || error.code() == Some(ErrorCode::Conflict) {
            return true;
        }
        let mut tries = self.tries();
        let own = tries.entry(run.id).or_default();
        *own += 1;
        let again = is_worth_another_try(error, *own);
        if !again {
            tries.remove(&run.id);
        }
        again
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<Uuid, i32>> {
        self.mass_revocation_tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn release_mass_revocation(&self, run: &RunRow, now: Time) -> Result<(), CoreError> {
        self.in_system("release_mass_revocation", |mut tx| async move {
            runs::release(&mut tx, run.id, now).await?;
            Ok((tx, ()))
        })
        .await
    }

    async fn order_batch(
        &self,
        run: &RunRow,
        batch: &RevocationBatch,
        now: Time,
    ) -> Result<Vec<BatchedOutcome>, CoreError> {
        let decided = Decided {
            operation_id: operation_id(batch)?,
            instance_id: run.id.into(),
            organization_id: batch.organization_id,
            requester_user_id: batch.requested_by,
            approvals: vec![Approval {
                user_id: run.approver_user_id.into(),
                decided_at: run.decided_at,
                signature: None,
            }],
        };
        let mandate = mandates::to_revoke_batch(&decided, batch, now, &self.entropy)?;
        fail::fail_point!("core_mass_revocation_before_secure");
        let outcomes = self.secure.revoke_batch(batch, &mandate).await?;
        fail::fail_point!("core_mass_revocation_after_secure");
        Ok(outcomes)
    }

    async fn apply_batch(&self, run: &RunRow, outcomes: &[BatchedOutcome]) -> Result<(), CoreError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let rows: Vec<_> = outcomes.iter().map(|outcome| self.outcome_row(outcome, now)).collect();
        let rows = &rows;
        let applied = self
            .in_system("apply_mass_revocation", |mut tx| async move {
                runs::apply(&mut tx, run.id, &run.reason, rows, now).await?;
                Ok((tx, ()))
            })
            .await;
        // Even when the commit failed: Secure has revoked them.
        for outcome in outcomes {
            if let BatchedOutcome::Revoked(record) = outcome {
                self.validation.forget(&Notice::of_revocation(record));
            }
        }
        applied?;
        fail::fail_point!("core_mass_revocation_after_apply");
        tracing::info!(mass_revocation_id = %run.id, certificates = outcomes.len(), "carried out a batch");
        Ok(())
    }

    fn outcome_row(&self, outcome: &BatchedOutcome, now: Time) -> OutcomeRow {
        let audit_id = ids::new_uuid(now, &self.entropy);
        match outcome {
            BatchedOutcome::Revoked(record) => OutcomeRow {
                certificate_id: record.certificate_id.into(),
                status: Some(record.status.as_str()),
                revoked_at: Some(record.revoked_at),
                failure_code: None,
                audit_id,
                forget: Some(Notice::of_revocation(record).to_string()),
            },
            BatchedOutcome::Refused { certificate_id, code } => OutcomeRow {
                certificate_id: (*certificate_id).into(),
                status: None,
                revoked_at: None,
                failure_code: Some(code.as_str()),
                audit_id,
                forget: None,
            },
        }
    }

    async fn complete_mass_revocation(&self, run: &RunRow, now: Time) -> Result<(), CoreError> {
        let audit_id = ids::new_uuid(now, &self.entropy);
        self.in_system("complete_mass_revocation", |mut tx| async move {
            // It counts all certificates by their owners.
            clm_pg::lift_time_limits(&mut tx).await?;
            runs::complete(&mut tx, run.id, audit_id, now).await?;
            Ok((tx, ()))
        })
        .await?;
        tracing::info!(mass_revocation_id = %run.id, "completed a mass revocation");
        Ok(())
    }

    async fn fail_mass_revocation(&self, run: &RunRow, refusal: &Refusal) -> Result<(), CoreError> {
        let now = self.clock.now();
        let audit_id = ids::new_uuid(now, &self.entropy);
        tracing::error!(mass_revocation_id = %run.id, code = %refusal.code, "a mass revocation cannot go on");
        self.in_system("fail_mass_revocation", |mut tx| async move {
            let why = (refusal.code.as_str(), refusal.detail.as_str());
            runs::fail(&mut tx, run.id, why, audit_id, now).await?;
            Ok((tx, ()))
        })
        .await
    }
}

fn batch(run: &RunRow, waiting: &[WaitingRow]) -> Result<RevocationBatch, CoreError> {
    let first = waiting.first().ok_or_else(|| CoreError::defect("a batch of nothing"))?;
    let reason: RevocationReason = run
        .reason
        .parse()
        .map_err(|error| CoreError::defect_of("a stored revocation reason cannot be read", error))?;
    let one = |row: &WaitingRow| BatchedRevocation {
        certificate_id: row.certificate_id.into(),
        operation_id: row.operation_id.into(),
    };
    Ok(RevocationBatch {
        mass_revocation_id: run.id.into(),
        organization_id: run.organization_id.into(),
        authority_id: first.authority_id.into(),
        reason,
        invalidity_date: run.invalidity_date,
        requested_by: run.requester_user_id.into(),
        comment: run.comment.clone(),
        certificates: waiting.iter().map(one).collect(),
    })
}

/// The same batch is the same operation, whichever process orders it.
fn operation_id(batch: &RevocationBatch) -> Result<OperationId, CoreError> {
    let document = canonical_json(batch)
        .map_err(|error| CoreError::defect_of("a batch has no canonical form", error))?;
    Ok(OperationId::of_digest(clm_x509::sha256(document.as_bytes())))
}
