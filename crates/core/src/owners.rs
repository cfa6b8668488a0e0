//! A certificate's owner is Core's to decide, and Secure's to write down: a change goes there as a job of its own.

use clm_core_db::DbError;
use clm_core_db::jobs::{self, NewJobRow};
use clm_types::{CertificateId, ErrorCode, OperationId, OrganizationId, OwnerChange, Time, UserId};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::jobs::{HeldJob, JobKind, LONGEST_RUN, is_worth_another_try};
use crate::operations::within;
use crate::{Core, CoreError, Ctx};

impl Core {
    /// The job that tells Secure of a new owner; enqueued in the commit that decides it.
    pub(crate) fn owner_job(
        &self,
        ctx: &Ctx,
        certificate_id: CertificateId,
        to: UserId,
        version: i64,
    ) -> NewJobRow {
        let change = OwnerChange {
            certificate_id,
            organization_id: ctx.organization_id,
            to,
            version,
            changed_by: ctx.user_id().unwrap_or(UserId(Uuid::nil())),
        };
        self.queued_job(JobKind::Owner, json!(change), ctx.now)
    }

    /// Runs a job that this process holds, and settles it.
    pub(crate) async fn carry_owner(&self, operation_id: OperationId, job: &HeldJob) {
        let Err(error) = self.holding(job, self.tell_owner(operation_id, job)).await else {
            return;
        };
        if is_worth_another_try(&error, job.attempts) {
            self.retry(job, &error.to_string()).await;
        } else {
            // The integrity job will find what this leaves different.
            self.bury(job.held(), &error).await;
        }
    }

    async fn tell_owner(&self, operation_id: OperationId, job: &HeldJob) -> Result<(), CoreError> {
        let change = OwnerChange::deserialize(&job.payload)
            .map_err(|error| CoreError::defect_of("a job's payload cannot be read", error))?;
        fail::fail_point!("core_owner_before_secure");
        within(LONGEST_RUN, self.secure.change_owner(operation_id, &change)).await?;
        fail::fail_point!("core_owner_after_secure");
        self.finish(job).await
    }

    /// Makes Secure's owner Core's, as both are now. None when they agree by now, or a change was decided after `since`
    /// or is on its way; false when Secure knows of a later decision than Core, or Core of no owner.
    pub(crate) async fn repair_owner(
        &self,
        id: CertificateId,
        since: Time,
    ) -> Result<Option<bool>, CoreError> {
        let Some(row) = self.inventory_row(id.into()).await? else {
            return Ok(None);
        };
        let Some(issued) = self.secure.find_certificate(id).await? else {
            return Ok(None);
        };
        if issued.record.owner_user_id.map(Uuid::from) == row.owner_user_id {
            return Ok(None);
        }
        // Asked after the row was read: what was decided meanwhile has its job by now.
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        if row.updated_at > since || jobs::is_owner_on_its_way(&mut conn, id.into()).await? {
            return Ok(None);
        }
        drop(conn);
        let Some(to) = row.owner_user_id else {
            return Ok(Some(false));
        };
        let change = OwnerChange {
            certificate_id: id,
            organization_id: OrganizationId(row.organization_id),
            to: UserId(to),
            version: row.version,
            changed_by: UserId(Uuid::nil()),
        };
        let operation_id = OperationId::generate(self.clock.now(), &self.entropy);
        match self.secure.change_owner(operation_id, &change).await {
            // Another change is under way, or the certificate is another organization's there, which is found apart.
            Err(refusal) if matches!(refusal.code, ErrorCode::Conflict | ErrorCode::CertificateNotFound) => {
                Ok(None)
            }
            outcome => Ok(Some(outcome?)),
        }
    }
}
