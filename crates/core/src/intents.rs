//! How every operation begins: its intent in one commit, then its job at once or when approved.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::PgConnection;
use clm_core_db::approvals;
use clm_core_db::intents::{IntentRow, NewInstanceRow, NewStepRow};
use clm_core_db::notifications::NewNotificationRow;
use clm_core_db::requests;
use clm_types::{
    CertificateId, OperationId, Refusal, Time, UserId, WorkflowInstanceId, WorkflowKind, WorkflowStatus, ids,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::jobs::{HeldJob, JobKind};
use crate::mandates::Decided;
use crate::operations::{Operation, Outcome};
use crate::policies::ReadPolicy;
use crate::repeats::note_call;
use crate::request_context::RequestContext;
use crate::request_view::Request;
use crate::requests::Submitted;
use crate::workflows::{Approver, Decision, PlannedStep, WorkflowPlan};
use crate::{Core, CoreError, Ctx};

/// Approvers that are told of one step at most.
pub(crate) const MOST_TOLD: i64 = 50;
/// How long the record of a waiting request in Secure is awaited.
const RECORDING: Duration = Duration::from_secs(3);

/// An operation about to begin.
pub(crate) struct Draft {
    pub(crate) kind: WorkflowKind,
    pub(crate) instance_id: WorkflowInstanceId,
    pub(crate) operation_id: OperationId,
    pub(crate) requester_user_id: UserId,
    pub(crate) owner_user_id: Option<UserId>,
    pub(crate) policy: Option<Arc<ReadPolicy>>,
    /// The certificate that it is about, when it is there already.
    pub(crate) certificate_id: Option<CertificateId>,
    pub(crate) context: RequestContext,
    pub(crate) plan: WorkflowPlan,
}

impl Core {
    /// Writes the intent, and carries it out at once when nobody need approve.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        ctx: &Ctx,
        mut draft: Draft,
        wait: Duration,
    ) -> Result<Submitted, CoreError> {
        let steps = draft.take_steps();
        if steps.is_empty() != draft.approved() {
            return Err(CoreError::defect("a workflow asks for approval and names no approver"));
        }
        let job_kind = match (steps.is_empty(), draft.kind) {
            (true, _) => Some(JobKind::carries(&draft.context)),
            (false, kind) if !kind.makes_certificate() => None,
            (false, _) => Some(JobKind::Submit),
        };
        let (job_row, job) = job_kind.map(|kind| self.held_job(kind, json!({}), ctx.now)).unzip();
        let told = match steps.first() {
            Some(first) => self.tell_first_approvers(ctx, &draft, first).await?,
            None => Vec::new(),
        };
        let intent = IntentRow {
            instance: draft.instance_row(ctx, &steps)?,
            steps: self.step_rows(ctx, &steps),
            audit: draft.audit(ctx, self).row().clone(),
            job: job_row,
            notifications: told,
        };
        fail::fail_point!("core_request_before_intent");
        let spec = draft.context.certificate.as_ref();
        let profile = spec.map(|spec| spec.profile.as_str());
        self.write_intent(ctx, intent, profile, spec.and_then(|spec| spec.renewal_of)).await?;
        fail::fail_point!("core_request_after_intent");
        let Some(job) = job else {
            return self.submitted(ctx, &draft).await;
        };
        let wait = if steps.is_empty() { wait } else { RECORDING };
        let outcome = self.run_within(draft.operation(ctx), job, wait).await;
        self.answer(ctx, &draft, outcome).await
    }

    /// Runs a job in a task of its own, so that a caller who hangs up does not stop it half way;
    /// waits for it as long as the caller may.
    pub(crate) async fn run_within(
        self: &Arc<Self>,
        operation: Operation,
        job: HeldJob,
        wait: Duration,
    ) -> Option<Outcome> {
        let core = Arc::clone(self);
        let task = tokio::spawn(async move { core.run_held(&operation, &job).await });
        match tokio::time::timeout(wait, task).await {
            Ok(Ok(outcome)) => Some(outcome),
            // A panic is logged by the runtime; the job's lease ends and another try follows.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn answer(
        &self,
        ctx: &Ctx,
        draft: &Draft,
        outcome: Option<Outcome>,
    ) -> Result<Submitted, CoreError> {
        match outcome {
            Some(Outcome::Issued(certificate)) => {
                let record = &certificate.record;
                let request = draft.completed(ctx, record.certificate_id)?;
                Ok(Submitted { request, certificate: Some(*certificate) })
            }
            Some(Outcome::Failed(refusal)) => Err(refusal.into()),
            _ => self.submitted(ctx, draft).await,
        }
    }

    async fn submitted(&self, ctx: &Ctx, draft: &Draft) -> Result<Submitted, CoreError> {
        let request = self.read_stored_request(ctx, draft.instance_id.0.into()).await?;
        Ok(Submitted { request, certificate: None })
    }

    fn step_rows(&self, ctx: &Ctx, steps: &[PlannedStep]) -> Vec<NewStepRow> {
        let rows = steps.iter().zip(1..).map(|(step, number)| {
            let (user, role) = assignment(step.approver);
            NewStepRow {
                id: ids::new_uuid(ctx.now, &self.entropy),
                step_number: number,
                step_name: step.name.clone(),
                assigned_to_user_id: user,
                assigned_to_role_id: role,
                quorum: i32::try_from(step.quorum).unwrap_or(i32::MAX),
                status: if number == 1 { "pending" } else { "waiting" },
                due_at: due_at(ctx.now, step.deadline_seconds).filter(|_| number == 1),
            }
        });
        rows.collect()
    }

    async fn tell_first_approvers(
        &self,
        ctx: &Ctx,
        draft: &Draft,
        step: &PlannedStep,
    ) -> Result<Vec<NewNotificationRow>, CoreError> {
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let requester = draft.requester_user_id.into();
        self.tell_approvers(&mut tx, ctx, assignment(step.approver), requester, draft.kind).await
    }

    /// The messages to those who may decide a step, except the requester.
    pub(crate) async fn tell_approvers(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        (user, role): (Option<Uuid>, Option<Uuid>),
        requester: Uuid,
        kind: WorkflowKind,
    ) -> Result<Vec<NewNotificationRow>, CoreError> {
        let approvers = approvals::list_approvers(conn, user, role, requester, ctx.now, MOST_TOLD).await?;
        let told = approvers.into_iter().map(|user_id| NewNotificationRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            user_id,
            kind: "approval.wanted",
            priority: "normal",
            title: format!("Your decision is wanted: {kind}"),
            body: "A request waits for your approval.".to_owned(),
        });
        Ok(told.collect())
    }
}

impl Draft {
    /// The steps of the plan; the reason for them goes into the context.
    fn take_steps(&mut self) -> Vec<PlannedStep> {
        let (steps, reason) = match &mut self.plan.decision {
            Decision::AutoApproved { reason } => (Vec::new(), reason),
            Decision::Steps { steps, reason } => (std::mem::take(steps), reason),
        };
        self.context.approval_reason = Some(std::mem::take(reason));
        self.context.step_deadlines = steps.iter().map(|step| step.deadline_seconds).collect();
        steps
    }

    fn status(&self) -> WorkflowStatus {
        if self.approved() { WorkflowStatus::Executing } else { WorkflowStatus::Pending }
    }

    fn approved(&self) -> bool {
        matches!(self.plan.decision, Decision::AutoApproved { .. })
    }

    fn instance_row(&self, ctx: &Ctx, steps: &[PlannedStep]) -> Result<NewInstanceRow, CoreError> {
        let policy = self.policy.as_ref();
        let mut context = self.context.to_json()?;
        note_call(ctx, &mut context);
        Ok(NewInstanceRow {
            id: self.instance_id.into(),
            organization_id: ctx.organization_id.into(),
            operation_id: self.operation_id.into(),
            instance_type: self.kind.as_str(),
            workflow_id: self.plan.workflow_id.map(Into::into),
            policy_id: policy.map(|policy| policy.id().into()),
            policy_version: policy.map(|policy| policy.policy.policy_version),
            request_id: self.context.certificate.as_ref().map(|spec| spec.request_id.into()),
            certificate_id: self.certificate_id.map(Into::into),
            requester_user_id: self.requester_user_id.into(),
            owner_user_id: self.owner_user_id.map(Into::into),
            status: self.status().as_str(),
            current_step: i32::from(!self.approved()),
            context,
            due_at: steps.first().and_then(|step| due_at(ctx.now, step.deadline_seconds)),
            decided_at: self.approved().then_some(ctx.now),
            created_at: ctx.now,
        })
    }

    /// The operation as its job needs it, without asking the database.
    fn operation(&self, ctx: &Ctx) -> Operation {
        Operation {
            status: self.status(),
            context: self.context.clone(),
            decided: Decided {
                operation_id: self.operation_id,
                instance_id: self.instance_id,
                organization_id: ctx.organization_id,
                requester_user_id: self.requester_user_id,
                approvals: Vec::new(),
            },
        }
    }

    fn audit(&self, ctx: &Ctx, core: &Core) -> AuditEntry {
        let (action, state) = self.audit_state();
        let entry = AuditEntry::of(ctx, &core.entropy, action, "request")
            .object(self.instance_id)
            .operation(self.operation_id)
            .after(state);
        match &self.context.approval_reason {
            Some(reason) => entry.detail(reason),
            None => entry,
        }
    }

    fn audit_state(&self) -> (&'static str, Value) {
        let policy = self.policy.as_ref().map(|policy| &policy.policy);
        let mut state = json!({
            "kind": self.kind,
            "policy": policy.map(|policy| &policy.policy_code),
            "policy_version": policy.map(|policy| policy.policy_version),
            "approval_needed": !self.approved(),
        });
        if let (Some(spec), Some(state)) = (&self.context.certificate, state.as_object_mut()) {
            state.insert("subject".to_owned(), json!(spec.subject));
            state.insert("sans".to_owned(), json!(spec.sans));
            state.insert("profile".to_owned(), json!(spec.profile));
            state.insert("key_source".to_owned(), json!(spec.key_source));
        }
        if let (Some(spec), Some(state)) = (&self.context.revocation, state.as_object_mut()) {
            state.insert("certificate_id".to_owned(), json!(spec.certificate_id));
            state.insert("reason".to_owned(), json!(spec.reason));
        }
        if let (Some(spec), Some(state)) = (&self.context.key_export, state.as_object_mut()) {
            state.insert("certificate_id".to_owned(), json!(spec.certificate_id));
            state.insert("purpose".to_owned(), json!(spec.purpose));
            state.insert("reason".to_owned(), json!(spec.reason));
        }
        let action = match self.kind {
            WorkflowKind::Issuance => "request.create",
            WorkflowKind::Renewal => "request.renew",
            WorkflowKind::Revocation => "request.revoke",
            WorkflowKind::KeyExport => "request.export_key",
        };
        (action, state)
    }

    /// The request as it stands after it was carried out at once; saves reading it back.
    fn completed(&self, ctx: &Ctx, certificate_id: CertificateId) -> Result<Request, CoreError> {
        let policy = self.policy.as_ref();
        let row = requests::InstanceRow {
            id: self.instance_id.into(),
            organization_id: ctx.organization_id.into(),
            operation_id: self.operation_id.into(),
            instance_type: self.kind.to_string(),
            workflow_id: self.plan.workflow_id.map(Into::into),
            policy_id: policy.map(|policy| policy.id().into()),
            policy_version: policy.map(|policy| policy.policy.policy_version),
            certificate_id: Some(certificate_id.into()),
            requester_user_id: self.requester_user_id.into(),
            owner_user_id: self.owner_user_id.map(Into::into),
            status: WorkflowStatus::Completed.to_string(),
            current_step: 0,
            context: self.context.to_json()?,
            failure_code: None,
            failure_detail: None,
            due_at: None,
            completed_at: Some(ctx.now),
            created_at: ctx.now,
            version: 2,
        };
        Request::read(row, Vec::new())
    }
}

/// User and role of an assignment.
pub(crate) fn assignment(approver: Approver) -> (Option<Uuid>, Option<Uuid>) {
    match approver {
        Approver::User(user) => (Some(user.into()), None),
        Approver::Role(role) => (None, Some(role.into())),
    }
}

/// The end of a step that may take so long from now.
pub(crate) fn due_at(now: Time, seconds: Option<u64>) -> Option<Time> {
    let seconds = i64::try_from(seconds?).ok()?;
    now.checked_add_signed(TimeDelta::try_seconds(seconds)?)
}

/// What a caller who waited is told when the operation ended without effect.
pub(crate) fn refused(outcome: Option<Outcome>) -> Result<(), Refusal> {
    match outcome {
        Some(Outcome::Failed(refusal)) => Err(refusal),
        _ => Ok(()),
    }
}
