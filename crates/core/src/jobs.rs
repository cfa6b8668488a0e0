//! The queue of work in Secure: what a request began is carried on until it is done or refused for
//! good, whatever dies in between.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::DbError;
use clm_core_db::jobs::{self, ClaimedJobRow, Held, NewJobRow};
use clm_types::{Entropy, ErrorCode, Refusal, Time, UserId, ids};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::operations::Outcome;
use crate::request_context::RequestContext;
use crate::{Core, CoreError};

/// A job is free for others after this time: a process that died holds nothing up for longer.
const LEASE: TimeDelta = TimeDelta::seconds(4);
/// How often the lease of a running job is renewed, so that it never runs twice at once.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// So long before the end of a lease that could not be renewed its work is dropped.
const LEASE_MARGIN: TimeDelta = TimeDelta::seconds(1);
/// What Secure may take for a job.
pub(crate) const LONGEST_RUN: Duration = Duration::from_secs(8);
/// How long the queue is left alone when it is empty.
const IDLE: Duration = Duration::from_millis(500);
/// Jobs that run at once.
const MOST_AT_ONCE: usize = 16;
/// Longest wait between two tries.
const LONGEST_BACKOFF_MILLIS: u64 = 2_000;
/// Tries of what looks like a defect, before it is taken for one.
const MOST_TRIES: i32 = 10;

/// What a job does in Secure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// Records a request that waits for approval.
    Submit,
    /// Issues.
    Issue,
    /// Revokes, holds, releases.
    Revoke,
    /// Records that a request was refused, withdrawn, or failed.
    Reject,
    /// Writes down a certificate's new owner.
    Owner,
    /// Lets a private key be fetched.
    ExportKey,
}

impl JobKind {
    const ALL: [Self; 6] =
        [Self::Submit, Self::Issue, Self::Revoke, Self::Reject, Self::Owner, Self::ExportKey];

    /// `jobs.kind`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Issue => "issue",
            Self::Revoke => "revoke",
            Self::Reject => "reject",
            Self::Owner => "owner",
            Self::ExportKey => "export_key",
        }
    }

    fn parse(text: &str) -> Result<Self, CoreError> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| CoreError::defect(format!("there is no job of kind `{text}`")))
    }

    /// What carries out an approved operation.
    pub(crate) const fn carries(context: &RequestContext) -> Self {
        match (&context.revocation, &context.key_export) {
            (Some(_), _) => Self::Revoke,
            (None, Some(_)) => Self::ExportKey,
            (None, None) => Self::Issue,
        }
    }
}

/// How a request ended without a certificate: payload of [`JobKind::Reject`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closing {
    /// Who refused or withdrew it; the nil id is the service itself.
    pub(crate) decided_by: UserId,
    /// Why.
    pub(crate) reason: String,
}

impl Closing {
    pub(crate) fn to_json(&self) -> Value {
        serde_json::json!({"decided_by": self.decided_by, "reason": self.reason})
    }

    pub(crate) fn parse(payload: &Value) -> Result<Self, CoreError> {
        Self::deserialize(payload)
            .map_err(|error| CoreError::defect_of("a job's payload cannot be read", error))
    }
}

/// This process as a worker on the queue.
pub(crate) struct Worker {
    /// Unlike every other process, also an earlier one of the same machine.
    pub(crate) name: String,
    /// Wakes the runner when something was enqueued here.
    pub(crate) wake: Notify,
}

impl Worker {
    pub(crate) fn new(now: Time, entropy: &Entropy) -> Self {
        Self { name: ids::new_uuid(now, entropy).to_string(), wake: Notify::new() }
    }
}

/// A job in this process's hands.
#[derive(Debug, Clone)]
pub(crate) struct HeldJob {
    pub(crate) id: Uuid,
    pub(crate) kind: JobKind,
    /// Which try this is: what others began since then is theirs.
    pub(crate) attempts: i32,
    pub(crate) payload: Value,
    /// The end of its first lease.
    pub(crate) locked_until: Time,
}

impl HeldJob {
    pub(crate) const fn held(&self) -> Held {
        Held { id: self.id, attempts: self.attempts }
    }
}

impl Core {
    /// A job that this process runs at once, and that others may take over when its lease ends.
    pub(crate) fn held_job(&self, kind: JobKind, payload: Value, now: Time) -> (NewJobRow, HeldJob) {
        let id = ids::new_uuid(now, &self.entropy);
        let locked_until = self.clock.now() + LEASE;
        let row = NewJobRow {
            id,
            kind: kind.as_str(),
            payload: payload.clone(),
            locked_by: Some(self.worker.name.clone()),
            locked_until: Some(locked_until),
        };
        let held = HeldJob { id, kind, attempts: 1, payload, locked_until };
        (row, held)
    }

    /// A job for the runner of any process.
    pub(crate) fn queued_job(&self, kind: JobKind, payload: Value, now: Time) -> NewJobRow {
        NewJobRow {
            id: ids::new_uuid(now, &self.entropy),
            kind: kind.as_str(),
            payload,
            locked_by: None,
            locked_until: None,
        }
    }

    /// Runs what is due until told to stop; then finishes what it has begun. A job that takes long
    /// holds up no other.
    pub async fn run_jobs(self: Arc<Self>, shutdown: CancellationToken) {
        let mut running = JoinSet::new();
        while !shutdown.is_cancelled() {
            while running.try_join_next().is_some() {}
            let free = MOST_AT_ONCE.saturating_sub(running.len());
            let locked_until = self.clock.now() + LEASE;
            let claimed = self.claim_jobs(free, locked_until).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the job queue cannot be read");
                Vec::new()
            });
            let all_taken = claimed.len() == free;
            for row in claimed {
                let core = Arc::clone(&self);
                running.spawn(async move { Box::pin(core.run_claimed(row, locked_until)).await });
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = running.join_next(), if all_taken => {}
                () = self.worker.wake.notified(), if !all_taken => {}
                () = tokio::time::sleep(IDLE), if !all_taken => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn claim_jobs(&self, most: usize, locked_until: Time) -> Result<Vec<ClaimedJobRow>, DbError> {
        let mut conn = self.system.acquire().await?;
        let (now, most) = (self.clock.now(), i64::try_from(most).unwrap_or(1));
        jobs::claim(&mut conn, &self.worker.name, now, locked_until, most).await
    }

    async fn run_claimed(&self, row: ClaimedJobRow, locked_until: Time) {
        let (id, attempts) = (row.id, row.attempts);
        let held = match JobKind::parse(&row.kind) {
            Ok(kind) => HeldJob { id, kind, attempts, payload: row.payload, locked_until },
            Err(error) => return self.bury(Held { id, attempts }, &error).await,
        };
        if held.kind == JobKind::Owner {
            return self.carry_owner(row.operation_id.into(), &held).await;
        }
        match self.holding(&held, self.find_operation(row.operation_id.into())).await {
            Ok(operation) => {
                self.run_held(&operation, &held).await;
            }
            Err(error) if error.is_retryable() => self.retry(&held, &error.to_string()).await,
            Err(error) => self.bury(held.held(), &error).await,
        }
    }

    /// Does the work of a job for as long as this process holds it: nobody else runs it meanwhile.
    ///
    /// # Errors
    /// Those of the work; `unavailable` when it was dropped because the job was lost.
    pub(crate) async fn holding<T>(
        &self,
        job: &HeldJob,
        work: impl Future<Output = Result<T, CoreError>>,
    ) -> Result<T, CoreError> {
        tokio::select! {
            outcome = work => outcome,
            () = self.keep_lease(job) => Err(Refusal::new(ErrorCode::Unavailable, "the job's lease has ended").into()),
        }
    }

    /// Renews the lease; returns when that did not succeed in time, or when the job is another one's.
    async fn keep_lease(&self, job: &HeldJob) {
        let mut locked_until = job.locked_until;
        loop {
            let left = locked_until - LEASE_MARGIN - self.clock.now();
            let renewed = async {
                tokio::time::sleep(RENEWED_EVERY).await;
                self.renew_lease(job).await
            };
            match tokio::time::timeout(left.to_std().unwrap_or_default(), renewed).await {
                Ok(Ok(Some(later))) => locked_until = later,
                Ok(Err(error)) => {
                    tracing::debug!(job_id = %job.id, error = &error as &dyn std::error::Error, "a lease could not be renewed");
                }
                Ok(Ok(None)) | Err(_) => return,
            }
        }
    }

    async fn renew_lease(&self, job: &HeldJob) -> Result<Option<Time>, DbError> {
        let mut conn = self.system.acquire().await?;
        let later = self.clock.now() + LEASE;
        Ok(jobs::renew(&mut conn, job.held(), later).await?.then_some(later))
    }

    /// What follows from an error of a job: another try, or the end.
    pub(crate) async fn settle(&self, job: &HeldJob, error: CoreError) -> Outcome {
        if is_worth_another_try(&error, job.attempts) {
            self.retry(job, &error.to_string()).await;
            return Outcome::Later;
        }
        tracing::info!(job_id = %job.id, kind = job.kind.as_str(), error = &error as &dyn std::error::Error,
            "an operation ended without effect");
        Outcome::Failed(error.to_refusal())
    }

    /// Gives a job back for another try after a wait. If even this fails, its lease ends.
    pub(crate) async fn retry(&self, job: &HeldJob, error: &str) {
        let now = self.clock.now();
        let run_at = now + backoff(job.attempts, &self.entropy);
        let given_back = async {
            let mut conn = self.system.acquire().await?;
            jobs::retry(&mut conn, job.held(), run_at, error, now).await
        };
        if let Err(error) = given_back.await {
            tracing::debug!(job_id = %job.id, error = &error as &dyn std::error::Error, "a job could not be given back");
        }
        tracing::info!(job_id = %job.id, kind = job.kind.as_str(), attempts = job.attempts, error,
            "a job will be tried again");
    }

    /// The job is done.
    pub(crate) async fn finish(&self, job: &HeldJob) -> Result<(), CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(jobs::delete(&mut conn, job.held()).await?)
    }

    pub(crate) async fn bury(&self, held: Held, error: &CoreError) {
        let now = self.clock.now();
        tracing::error!(job_id = %held.id, error = error as &dyn std::error::Error, "a job was given up: a person must look");
        let buried = async {
            let mut conn = self.system.acquire().await?;
            jobs::bury(&mut conn, held, &error.to_string(), now).await
        };
        if let Err(error) = buried.await {
            tracing::warn!(job_id = %held.id, error = &error as &dyn std::error::Error, "a job could not be given up");
        }
    }
}

/// Unreachable parts are tried for ever; what looks like a defect or a lost race a few times.
pub(crate) fn is_worth_another_try(error: &CoreError, attempts: i32) -> bool {
    let few = attempts < MOST_TRIES;
    error.is_retryable()
        || match error {
            CoreError::Refused(refusal) => {
                few && matches!(refusal.code, ErrorCode::Internal | ErrorCode::Conflict)
            }
            CoreError::Database(_) | CoreError::Defect { .. } => few,
        }
}

/// Doubles from half a second, with jitter so that what failed together does not come back together.
fn backoff(attempts: i32, entropy: &Entropy) -> TimeDelta {
    let doublings = u32::try_from(attempts.clamp(1, 8)).unwrap_or(1);
    let longest = (250_u64 << doublings).min(LONGEST_BACKOFF_MILLIS);
    let jitter = u64::from(u16::from_be_bytes(entropy.bytes())) * (longest / 2) / u64::from(u16::MAX);
    TimeDelta::milliseconds(i64::try_from(longest / 2 + jitter).unwrap_or(1_000))
}

/// The refusal for a call that took too long.
pub(crate) fn took_too_long() -> Refusal {
    Refusal::new(ErrorCode::Unavailable, "the Secure Service takes too long to answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_tries_grow_and_stay_bounded() {
        let entropy = Entropy::seeded(1);
        for attempts in [0, 1, 2, 5, 9, i32::MAX] {
            let wait = backoff(attempts, &entropy);
            assert!(wait >= TimeDelta::milliseconds(250), "{attempts}: {wait}");
            assert!(wait <= TimeDelta::milliseconds(2_000), "{attempts}: {wait}");
        }
    }

    #[test]
    fn what_is_unreachable_is_tried_for_ever_and_a_refusal_never_again() {
        let refused = |code| CoreError::from(Refusal::new(code, "x"));
        assert!(is_worth_another_try(&refused(ErrorCode::Unavailable), i32::MAX));
        assert!(is_worth_another_try(&refused(ErrorCode::Internal), 1));
        assert!(!is_worth_another_try(&refused(ErrorCode::Internal), MOST_TRIES));
        assert!(!is_worth_another_try(&refused(ErrorCode::LintFailed), 1));
        let defect = || CoreError::from(DbError::Schema("x".to_owned()));
        assert!(is_worth_another_try(&defect(), 1) && !is_worth_another_try(&defect(), MOST_TRIES));
    }

    #[test]
    fn every_kind_of_job_is_read_back_from_its_name() {
        for kind in JobKind::ALL {
            assert_eq!(JobKind::parse(kind.as_str()).unwrap(), kind);
        }
        assert!(JobKind::parse("fly").is_err());
    }
}
