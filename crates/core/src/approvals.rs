//! Decisions on requests: who may decide, when a step and a workflow are approved, what expires.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::approvals::{self, CurrentStepRow, NewDecisionRow};
use clm_core_db::notifications::{self, About};
use clm_core_db::requests::{self, InstanceRow};
use clm_core_db::{PgConnection, audit, jobs};
use clm_types::{
    ErrorCode, OperationId, Permission, Refusal, RequestId, StepStatus, Time, UserId, WorkflowKind,
    WorkflowStatus, ids,
};
use serde_json::json;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::intents::{due_at, refused};
use crate::jobs::{HeldJob, JobKind};
use crate::page::{Page, PageRequest};
use crate::request_context::{RequestContext, check_comment};
use crate::request_view::{Request, stored};
use crate::requests::request_not_found;
use crate::{Core, CoreError, Ctx, licenses, references};

pub use clm_core_db::approvals::PendingApprovalRow as PendingApproval;

/// Overdue requests that are closed at once.
const MOST_OVERDUE: i64 = 100;

/// What a decision led to.
enum Decided {
    /// More decisions are needed, or none any more.
    Noted,
    /// The last approval: the operation may be carried out.
    Approved(OperationId, HeldJob),
    /// The last approval of what may no longer be carried out: the operation has failed.
    Failed(Refusal),
}

impl Core {
    /// Approves a request's current step. With the last approval the operation is carried out at
    /// once, if it can be within `wait`.
    ///
    /// # Errors
    /// `permission_denied`, `request_not_found`, `workflow_not_pending`, `self_approval`,
    /// `not_an_approver`, `already_decided`; with the last approval `user_not_active`, `user_not_found`,
    /// `organization_not_active`, `license_limit_reached`, and what Secure refuses when it is asked at once.
    pub async fn approve_request(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: RequestId,
        comment: Option<&str>,
        wait: Duration,
    ) -> Result<Request, CoreError> {
        let decided = self.decide(ctx, id, true, comment).await?;
        fail::fail_point!("core_decide_after_commit");
        match decided {
            Decided::Noted => {}
            Decided::Approved(operation_id, job) => {
                let operation = self.find_operation(operation_id).await?;
                refused(self.run_within(operation, job, wait).await)?;
            }
            Decided::Failed(refusal) => {
                self.worker.wake.notify_one();
                return Err(refusal.into());
            }
        }
        self.read_stored_request(ctx, id).await
    }

    /// Refuses a request: one refusal is enough.
    ///
    /// # Errors
    /// As [`Self::approve_request`].
    pub async fn reject_request(
        &self,
        ctx: &Ctx,
        id: RequestId,
        comment: Option<&str>,
    ) -> Result<Request, CoreError> {
        self.decide(ctx, id, false, comment).await?;
        self.worker.wake.notify_one();
        self.read_stored_request(ctx, id).await
    }

    /// A page of what waits for the caller's decision, newest first.
    ///
    /// # Errors
    /// `permission_denied`.
    pub async fn list_pending_approvals(
        &self,
        ctx: &Ctx,
        page: PageRequest,
    ) -> Result<Page<PendingApproval>, CoreError> {
        ctx.require(Permission::RequestApprove)?;
        let user = ctx.user_id()?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = approvals::list_pending(&mut tx, user.into(), page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.step_id))
    }

    async fn decide(
        &self,
        ctx: &Ctx,
        id: RequestId,
        approve: bool,
        comment: Option<&str>,
    ) -> Result<Decided, CoreError> {
        ctx.require(Permission::RequestApprove)?;
        check_comment("/comment", comment)?;
        let user = ctx.user_id()?;
        self.in_tenant(ctx.organization_id, "decide_request", |mut tx| async move {
            // The lock makes decisions on one request follow each other; what is read after it holds.
            let row = requests::find_for_update(&mut tx, id.into()).await?.ok_or_else(request_not_found)?;
            let step = check_decision(&mut tx, &row, user, ctx.now).await?;
            let yes = u32::try_from(step.approved).unwrap_or(u32::MAX) + u32::from(approve);
            let quorum = u32::try_from(step.quorum).unwrap_or(u32::MAX);
            let status = stored::<StepStatus>(&step.status)?.decide(approve, yes, quorum)?;
            self.write_decision(&mut tx, ctx, &row, &step, (approve, status, comment)).await?;
            let decided = match status {
                StepStatus::Approved => self.after_approval(&mut tx, ctx, &row, &step).await?,
                StepStatus::Rejected => {
                    self.after_rejection(&mut tx, ctx, &row, comment).await?;
                    Decided::Noted
                }
                _ => Decided::Noted,
            };
            Ok((tx, decided))
        })
        .await
    }

    async fn write_decision(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        row: &InstanceRow,
        step: &CurrentStepRow,
        (approve, status, comment): (bool, StepStatus, Option<&str>),
    ) -> Result<(), CoreError> {
        let decision = NewDecisionRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            organization_id: row.organization_id,
            workflow_step_id: step.id,
            user_id: ctx.user_id()?.into(),
            decision: if approve { "approved" } else { "rejected" },
            comment: comment.map(str::to_owned),
            decided_at: ctx.now,
        };
        approvals::insert_decision(conn, &decision, status.as_str()).await?;
        let action = if approve { "request.approve" } else { "request.reject" };
        let mut entry = AuditEntry::of(ctx, &self.entropy, action, "request")
            .object(row.id)
            .operation(row.operation_id.into())
            .after(json!({"step": step.step_name, "step_number": step.step_number, "step_status": status}));
        if let Some(comment) = comment {
            entry = entry.detail(comment);
        }
        Ok(audit::insert(conn, entry.row()).await?)
    }

    /// The next step's turn, or the operation's: then its job is this process's.
    async fn after_approval(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        row: &InstanceRow,
        step: &CurrentStepRow,
    ) -> Result<Decided, CoreError> {
        if let Some(next) = step.next_step {
            let seconds = step.next_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            requests::begin_step(conn, row.id, next, due_at(ctx.now, seconds), ctx.now).await?;
            let assigned = approvals::find_assignment(conn, row.id, next).await?;
            let kind = stored::<WorkflowKind>(&row.instance_type)?;
            let told = self
                .tell_approvers(conn, ctx, assigned.unwrap_or_default(), row.requester_user_id, kind)
                .await?;
            notifications::insert_all(conn, &told, about(row), ctx.now).await?;
            return Ok(Decided::Noted);
        }
        if let Some(refusal) = references::recheck(conn, row, ctx.now).await? {
            self.close_as_failed(conn, ctx, row, &refusal).await?;
            return Ok(Decided::Failed(refusal));
        }
        let context = RequestContext::parse(&row.context)?;
        if stored::<WorkflowKind>(&row.instance_type)?.makes_certificate() {
            // There may be room again tomorrow: the approval is refused, the request goes on waiting.
            let spec = context.certificate.as_ref();
            let (profile, old) = (spec.map(|it| it.profile.as_str()), spec.and_then(|it| it.renewal_of));
            licenses::check_certificates(conn, row.organization_id.into(), profile, old, ctx.now).await?;
        }
        requests::begin_execution(conn, row.id, ctx.now).await?;
        let kind = JobKind::carries(&context);
        let (job_row, job) = self.held_job(kind, json!({}), ctx.now);
        jobs::insert(conn, &job_row, row.operation_id, row.organization_id, ctx.now).await?;
        Ok(Decided::Approved(row.operation_id.into(), job))
    }

    /// Ends an approved operation that may no longer be carried out, before it begins.
    async fn close_as_failed(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        row: &InstanceRow,
        refusal: &Refusal,
    ) -> Result<(), CoreError> {
        let code_and_detail = Some((refusal.code.as_str(), refusal.detail.as_str()));
        requests::close(conn, row.id, WorkflowStatus::Failed.as_str(), code_and_detail, ctx.now).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, "request.failed", "request")
            .object(row.id)
            .operation(row.operation_id.into())
            .outcome("failed")
            .detail(refusal.to_string());
        audit::insert(conn, entry.row()).await?;
        self.enqueue_closing(conn, ctx, row, &format!("failed: {refusal}")).await?;
        self.tell_requester(conn, ctx, row, ("request.failed", "A request failed", &refusal.detail)).await
    }

    async fn after_rejection(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        row: &InstanceRow,
        comment: Option<&str>,
    ) -> Result<(), CoreError> {
        let status = stored::<WorkflowStatus>(&row.status)?.reject()?;
        requests::close(conn, row.id, status.as_str(), None, ctx.now).await?;
        self.enqueue_closing(conn, ctx, row, comment.unwrap_or("refused by an approver")).await?;
        let body = comment.unwrap_or("An approver said no.");
        self.tell_requester(conn, ctx, row, ("request.rejected", "Your request was refused", body)).await
    }

    async fn tell_requester(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        row: &InstanceRow,
        (kind, title, body): (&'static str, &str, &str),
    ) -> Result<(), CoreError> {
        let message = notifications::NewNotificationRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            user_id: row.requester_user_id,
            kind,
            priority: "normal",
            title: title.to_owned(),
            body: body.to_owned(),
        };
        Ok(notifications::insert_all(conn, &[message], about(row), ctx.now).await?)
    }

    /// Closes requests whose deadline has passed, in every organization; how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_requests(&self) -> Result<usize, CoreError> {
        let now = self.clock.now();
        let closed = self
            .in_system("expire_requests", |mut tx| async move {
                let overdue = requests::list_overdue(&mut tx, now, MOST_OVERDUE).await?;
                for row in &overdue {
                    self.expire(&mut tx, row, now).await?;
                }
                let count = overdue.len();
                Ok((tx, count))
            })
            .await?;
        if closed > 0 {
            self.worker.wake.notify_one();
        }
        Ok(closed)
    }

    async fn expire(&self, conn: &mut PgConnection, row: &InstanceRow, now: Time) -> Result<(), CoreError> {
        let ctx = Ctx::system(row.organization_id.into(), now, &self.entropy);
        let status = stored::<WorkflowStatus>(&row.status)?.expire()?;
        let detail = "nobody decided in time";
        requests::close(conn, row.id, status.as_str(), None, now).await?;
        let entry = AuditEntry::of(&ctx, &self.entropy, "request.expire", "request")
            .object(row.id)
            .operation(row.operation_id.into())
            .detail(detail);
        audit::insert(conn, entry.row()).await?;
        self.enqueue_closing(conn, &ctx, row, detail).await?;
        self.tell_requester(
            conn,
            &ctx,
            row,
            ("request.expired", "Your request expired", "Nobody decided in time."),
        )
        .await
    }
}

/// The step whose turn it is, if this user may decide it now.
pub(crate) async fn check_decision(
    conn: &mut PgConnection,
    row: &InstanceRow,
    user: UserId,
    now: Time,
) -> Result<CurrentStepRow, CoreError> {
    // Refuses what is no longer pending.
    stored::<WorkflowStatus>(&row.status)?.approve()?;
    let step = approvals::find_current_step(conn, row.id, user.into(), now)
        .await?
        .ok_or_else(|| CoreError::defect(format!("request {} waits for no step", row.id)))?;
    check_approver(row.requester_user_id, user.into(), &step, now)?;
    Ok(step)
}

fn check_approver(requester: Uuid, user: Uuid, step: &CurrentStepRow, now: Time) -> Result<(), Refusal> {
    let name = &step.step_name;
    if user == requester {
        return Err(Refusal::new(ErrorCode::SelfApproval, "nobody decides on a request of their own")
            .hint("ask another approver"));
    }
    if !step.is_approver {
        return Err(Refusal::new(
            ErrorCode::NotAnApprover,
            format!("you are not among the approvers of the step `{name}`"),
        ));
    }
    if step.has_decided {
        return Err(Refusal::new(
            ErrorCode::AlreadyDecided,
            format!("you have decided on the step `{name}` before"),
        ));
    }
    if step.due_at.is_some_and(|due| due <= now) {
        return Err(Refusal::new(
            ErrorCode::WorkflowNotPending,
            format!("the step `{name}` was to be decided before; the request has expired"),
        )
        .hint("ask the requester to ask again"));
    }
    Ok(())
}

fn about(row: &InstanceRow) -> About {
    About {
        organization_id: row.organization_id,
        certificate_id: row.certificate_id,
        operation_id: Some(row.operation_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> CurrentStepRow {
        CurrentStepRow {
            id: Uuid::from_u128(1),
            step_number: 1,
            step_name: "security".to_owned(),
            quorum: 1,
            status: "pending".to_owned(),
            due_at: None,
            approved: 0,
            is_approver: true,
            has_decided: false,
            next_step: None,
            next_deadline_seconds: None,
        }
    }

    #[test]
    fn only_another_approver_decides_once_and_in_time() {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let (requester, approver) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let code = |user, step: &CurrentStepRow| {
            check_approver(requester, user, step, now).err().map(|refusal| refusal.code)
        };
        assert_eq!(code(approver, &step()), None);
        assert_eq!(code(requester, &step()), Some(ErrorCode::SelfApproval));
        let stranger = CurrentStepRow { is_approver: false, ..step() };
        assert_eq!(code(approver, &stranger), Some(ErrorCode::NotAnApprover));
        let decided = CurrentStepRow { has_decided: true, ..step() };
        assert_eq!(code(approver, &decided), Some(ErrorCode::AlreadyDecided));
        let late = CurrentStepRow { due_at: Some(now), ..step() };
        assert_eq!(code(approver, &late), Some(ErrorCode::WorkflowNotPending));
    }
}
