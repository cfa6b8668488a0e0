//! What a job does: one call to Secure, then the reflection of its answer.
//!
//! Every step may die and be repeated: Secure answers a repeated operation id as it did before, and
//! applying an answer twice changes nothing.

use std::time::Duration;

use clm_core_db::{DbError, requests};
use clm_types::{Approval, ErrorCode, IssuedCertificate, OperationId, Refusal, WorkflowStatus};
use clm_x509::Profile;
use serde::Deserialize;

use crate::jobs::{Closing, HeldJob, JobKind, LONGEST_RUN, is_worth_another_try, took_too_long};
use crate::mandates::{self, Decided};
use crate::request_context::RequestContext;
use crate::request_view::stored;
use crate::{Core, CoreError};

/// An operation as its job carries it out.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) decided: Decided,
    pub(crate) status: WorkflowStatus,
    pub(crate) context: RequestContext,
}

/// What became of a try.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// A certificate was issued.
    Issued(Box<IssuedCertificate>),
    /// Done, with nothing to show.
    Done,
    /// It will be tried again.
    Later,
    /// It ended without effect.
    Failed(Refusal),
}

impl Core {
    /// The operation as stored.
    pub(crate) async fn find_operation(&self, operation_id: OperationId) -> Result<Operation, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let row = requests::find_for_execution(&mut conn, operation_id.into())
            .await?
            .ok_or_else(|| CoreError::defect(format!("a job of the unknown operation {operation_id}")))?;
        let approvals = Vec::<Approval>::deserialize(&row.approvals)
            .map_err(|error| CoreError::defect_of("stored approvals cannot be read", error))?;
        Ok(Operation {
            status: stored(&row.status)?,
            context: RequestContext::parse(&row.context)?,
            decided: Decided {
                operation_id,
                instance_id: row.id.into(),
                organization_id: row.organization_id.into(),
                requester_user_id: row.requester_user_id.into(),
                approvals,
            },
        })
    }

    /// Runs a job that this process holds, and settles it: done, given back, or failed.
    pub(crate) async fn run_held(&self, operation: &Operation, job: &HeldJob) -> Outcome {
        let run = async {
            match job.kind {
                JobKind::Submit => self.submit(operation, job).await,
                JobKind::Issue => self.issue(operation, job).await,
                JobKind::Revoke => self.revoke(operation, job).await,
                JobKind::Reject => self.reject(operation, job).await,
                JobKind::ExportKey => self.grant_key_export(operation, job).await,
                JobKind::Owner => Err(CoreError::defect("a change of owner is no workflow")),
            }
        };
        let error = match self.holding(job, run).await {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        match self.settle(job, error).await {
            Outcome::Failed(refusal) => self.fail(operation, job, refusal).await,
            outcome => outcome,
        }
    }

    async fn fail(&self, operation: &Operation, job: &HeldJob, refusal: Refusal) -> Outcome {
        let failed = self.apply_failed(operation.decided.operation_id, job.held(), &refusal);
        match failed.await {
            Ok(true) => {
                self.worker.wake.notify_one();
                return Outcome::Failed(refusal);
            }
            // Another try is under way, or the operation has ended otherwise.
            Ok(false) => {}
            Err(error) if is_worth_another_try(&error, job.attempts) => {
                self.retry(job, &error.to_string()).await;
            }
            Err(error) => self.bury(job.held(), &error).await,
        }
        Outcome::Later
    }

    async fn issue(&self, operation: &Operation, job: &HeldJob) -> Result<Outcome, CoreError> {
        // Applied by the follower meanwhile, or never approved: nothing is left to do.
        if operation.status != WorkflowStatus::Executing {
            self.finish(job).await?;
            return Ok(Outcome::Done);
        }
        let spec = operation
            .context
            .certificate
            .as_ref()
            .ok_or_else(|| CoreError::defect("an issuance without a certificate to issue"))?;
        let profile = Profile::built_in(&spec.profile).ok_or_else(|| {
            Refusal::new(ErrorCode::ProfileNotFound, format!("there is no profile `{}`", spec.profile))
        })?;
        let now = self.clock.now();
        let mandate =
            mandates::to_issue(&operation.decided, spec, profile.version_hash(), now, &self.entropy)?;
        fail::fail_point!("core_issue_before_secure");
        let issued = within(LONGEST_RUN, self.secure.issue(spec, &mandate)).await?;
        fail::fail_point!("core_issue_after_secure");
        self.apply_issued(&issued.record).await?;
        fail::fail_point!("core_issue_after_apply");
        Ok(Outcome::Issued(Box::new(issued)))
    }

    async fn revoke(&self, operation: &Operation, job: &HeldJob) -> Result<Outcome, CoreError> {
        if operation.status != WorkflowStatus::Executing {
            self.finish(job).await?;
            return Ok(Outcome::Done);
        }
        let context = &operation.context;
        let spec = context
            .revocation
            .as_ref()
            .ok_or_else(|| CoreError::defect("a revocation without a certificate to revoke"))?;
        let now = self.clock.now();
        let mandate =
            mandates::to_revoke(&operation.decided, spec, context.authority_id, now, &self.entropy)?;
        fail::fail_point!("core_revoke_before_secure");
        let record = within(LONGEST_RUN, self.secure.revoke(spec, &mandate)).await?;
        fail::fail_point!("core_revoke_after_secure");
        self.apply_revoked(&record).await?;
        fail::fail_point!("core_revoke_after_apply");
        Ok(Outcome::Done)
    }

    /// Has Secure let a private key be fetched.
    async fn grant_key_export(&self, operation: &Operation, job: &HeldJob) -> Result<Outcome, CoreError> {
        if operation.status != WorkflowStatus::Executing {
            self.finish(job).await?;
            return Ok(Outcome::Done);
        }
        let context = &operation.context;
        let spec = context
            .key_export
            .as_ref()
            .ok_or_else(|| CoreError::defect("an export without a private key to export"))?;
        let now = self.clock.now();
        let mandate =
            mandates::to_export_key(&operation.decided, spec, context.authority_id, now, &self.entropy)?;
        fail::fail_point!("core_export_before_secure");
        let grant = within(LONGEST_RUN, self.secure.grant_key_export(spec, &mandate)).await?;
        fail::fail_point!("core_export_after_secure");
        self.apply_granted(job, &grant).await?;
        fail::fail_point!("core_export_after_apply");
        Ok(Outcome::Done)
    }

    /// Records a waiting request in Secure.
    async fn submit(&self, operation: &Operation, job: &HeldJob) -> Result<Outcome, CoreError> {
        if operation.status == WorkflowStatus::Pending {
            let spec = operation
                .context
                .certificate
                .as_ref()
                .ok_or_else(|| CoreError::defect("a request without a certificate"))?;
            fail::fail_point!("core_submit_before_secure");
            let submitted =
                within(LONGEST_RUN, self.secure.submit_request(operation.decided.operation_id, spec));
            match submitted.await {
                // Decided meanwhile: issuing or rejecting has recorded it.
                Err(refusal) if refusal.code == ErrorCode::RequestNotPending => {}
                outcome => outcome?,
            }
            fail::fail_point!("core_submit_after_secure");
        }
        self.finish(job).await?;
        Ok(Outcome::Done)
    }

    /// Records in Secure that a request ended without a certificate.
    async fn reject(&self, operation: &Operation, job: &HeldJob) -> Result<Outcome, CoreError> {
        let closing = Closing::parse(&job.payload)?;
        fail::fail_point!("core_reject_before_secure");
        let mut rejected = self.call_reject(operation, &closing).await;
        if matches!(&rejected, Err(refusal) if refusal.code == ErrorCode::RequestNotFound)
            && let Some(spec) = &operation.context.certificate
        {
            // Decided before Secure had heard of it: it shall have the whole story.
            let id = operation.decided.operation_id;
            within(LONGEST_RUN, self.secure.submit_request(id, spec)).await?;
            rejected = self.call_reject(operation, &closing).await;
        }
        match rejected {
            // Secure closed it by itself; or it was never taken.
            Err(refusal)
                if matches!(
                    refusal.code,
                    ErrorCode::RequestNotPending | ErrorCode::RequestNotFound | ErrorCode::OperationIdReused
                ) => {}
            outcome => outcome?,
        }
        fail::fail_point!("core_reject_after_secure");
        self.finish(job).await?;
        Ok(Outcome::Done)
    }

    async fn call_reject(&self, operation: &Operation, closing: &Closing) -> Result<(), Refusal> {
        let Some(spec) = &operation.context.certificate else {
            return Ok(());
        };
        let decided = &operation.decided;
        let call = self.secure.reject_request(
            decided.operation_id,
            spec.request_id,
            decided.organization_id,
            closing.decided_by,
            &closing.reason,
        );
        within(LONGEST_RUN, call).await
    }
}

pub(crate) async fn within<T>(
    longest: Duration,
    call: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::time::timeout(longest, call).await.unwrap_or_else(|_| Err(took_too_long()))
}
