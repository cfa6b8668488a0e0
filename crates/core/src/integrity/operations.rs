//! Every operation that Core ordered, with what it left behind in Secure: a second merge join.

use clm_core_db::DbError;
use clm_core_db::integrity::operations::{self, OperationRow};
use clm_types::{OperationReference, OperationTrace, RequestStatus, UserId, WorkflowStatus};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{BATCH, Found, Run, Subject};
use crate::jobs::{Closing, JobKind};
use crate::merge::{Pair, Side, pair_up};
use crate::request_view::stored;
use crate::{Core, CoreError};

/// One operation on both sides.
type Compared = Pair<OperationRow, OperationReference>;

impl Core {
    /// The merge join: Secure's stream against batches of `workflow_instances`.
    pub(super) async fn compare_operations(&self, run: &mut Run) -> Result<(), CoreError> {
        let mut stream = self.secure.stream_operations().await?;
        let mut core = Side::new(|row: &OperationRow| row.operation_id);
        let mut secure = Side::new(|row: &OperationReference| row.operation_id.0);
        loop {
            if core.needs_more() {
                core.push(self.operations_after(core.last()).await?, BATCH);
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
            for pair in pairs {
                self.judge_operation(run, &pair).await?;
            }
        }
    }

    async fn operations_after(&self, after: Option<Uuid>) -> Result<Vec<OperationRow>, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(operations::list_operations(&mut conn, after, BATCH).await?)
    }

    /// What looks wrong is read again from both sides, for they were listed apart: only what is wrong then, and has not
    /// changed since the run began, counts.
    async fn judge_operation(&self, run: &mut Run, listed: &Compared) -> Result<(), CoreError> {
        if self.is_under_way(run, listed) || fits(run, listed)? {
            return Ok(());
        }
        let pair = &self.read_again(listed.key()).await?;
        if self.is_under_way(run, pair) {
            return Ok(());
        }
        if pair.left.as_ref().is_some_and(|row| !row.certificate_exists) {
            self.note_operation(run, pair, Found::open("instance_without_certificate", "core")).await?;
        }
        match (&pair.left, &pair.right) {
            (None, Some(secure)) => self.judge_unordered(run, pair, secure).await,
            (Some(core), None) => self.judge_untraced(run, pair, core).await,
            (Some(core), Some(secure)) => self.judge_both_traces(run, pair, core, secure).await,
            (None, None) => Ok(()),
        }
    }

    fn is_under_way(&self, run: &Run, pair: &Compared) -> bool {
        let now = self.clock.now();
        let core = pair.left.as_ref().is_some_and(|row| run.is_young(Some(row.updated_at), now));
        core || pair.right.as_ref().is_some_and(|row| run.is_young(Some(row.recorded_at), now))
    }

    async fn read_again(&self, operation_id: Uuid) -> Result<Compared, CoreError> {
        let secure = self.secure.find_operation(operation_id.into()).await?;
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let core = operations::find_operation(&mut conn, operation_id).await?;
        Ok(Compared::new(operation_id, core, secure))
    }

    async fn note_operation(&self, run: &mut Run, pair: &Compared, found: Found) -> Result<(), CoreError> {
        let (object_type, object_id) = match (&pair.left, &pair.right) {
            (Some(core), _) => ("request", core.id),
            (None, Some(secure)) if secure.trace == OperationTrace::Request => ("request", secure.object_id),
            // The end of a hold is in the row of the hold, which has findings of its own.
            (None, Some(secure)) if secure.trace == OperationTrace::Release => ("operation", pair.key()),
            (None, Some(secure)) => ("revocation", secure.object_id),
            (None, None) => return Ok(()),
        };
        let of_secure = || pair.right.as_ref().and_then(|row| row.organization_id).map(Into::into);
        let subject = Subject {
            object_type,
            object_id,
            organization_id: pair.left.as_ref().map(|row| row.organization_id).or_else(of_secure),
            detail: both_sides(pair),
        };
        self.note(run, found, subject).await
    }

    /// Secure did what no operation of Core ordered: an incident.
    async fn judge_unordered(
        &self,
        run: &mut Run,
        pair: &Compared,
        secure: &OperationReference,
    ) -> Result<(), CoreError> {
        let kind = match secure.trace {
            OperationTrace::Request => "request_without_instance",
            OperationTrace::Revocation | OperationTrace::Release => "revocation_without_instance",
        };
        self.note_operation(run, pair, Found::alarm(kind, "secure")).await
    }

    /// What is left to do is queued again; what is said to be done and left no trace is an incident.
    async fn judge_untraced(
        &self,
        run: &mut Run,
        pair: &Compared,
        core: &OperationRow,
    ) -> Result<(), CoreError> {
        let revokes = is_revocation(core);
        let kind = if revokes { "instance_without_revocation" } else { "instance_without_request" };
        let status: WorkflowStatus = stored(&core.status)?;
        let job = match status {
            WorkflowStatus::Completed => {
                return self.note_operation(run, pair, Found::alarm(kind, "core")).await;
            }
            _ if !run.is_overdue(core.updated_at) => return Ok(()),
            WorkflowStatus::Executing if revokes => JobKind::Revoke,
            WorkflowStatus::Executing => JobKind::Issue,
            WorkflowStatus::Pending if !revokes => JobKind::Submit,
            _ => return Ok(()),
        };
        if self.requeue(core.operation_id, status, job, json!({})).await? {
            return self.note_operation(run, pair, Found::repaired(kind, "core")).await;
        }
        // Its job goes on, or was given up. One that is being carried out is reported as stuck.
        if status == WorkflowStatus::Executing {
            return Ok(());
        }
        self.note_operation(run, pair, Found::open(kind, "core")).await
    }

    async fn judge_both_traces(
        &self,
        run: &mut Run,
        pair: &Compared,
        core: &OperationRow,
        secure: &OperationReference,
    ) -> Result<(), CoreError> {
        if differs(core, secure) {
            self.note_operation(run, pair, Found::alarm("request_differs", "both")).await?;
        }
        let Some(recorded) = &secure.status else {
            return Ok(());
        };
        let (status, recorded) = (stored(&core.status)?, stored(recorded)?);
        match verdict(status, recorded) {
            Verdict::Fits => Ok(()),
            Verdict::Unclosed => {
                let closing = Closing { decided_by: UserId(Uuid::nil()), reason: core.status.clone() };
                let queued = self.requeue(core.operation_id, status, JobKind::Reject, closing.to_json());
                let kind = "request_status_differs";
                let found =
                    if queued.await? { Found::repaired(kind, "secure") } else { Found::open(kind, "secure") };
                self.note_operation(run, pair, found).await
            }
            Verdict::Contradicts => {
                self.note_operation(run, pair, Found::alarm("request_status_differs", "both")).await
            }
        }
    }
}

/// Whether nothing looks wrong, so that neither side need be asked again.
fn fits(run: &Run, pair: &Compared) -> Result<bool, CoreError> {
    if pair.left.as_ref().is_some_and(|row| !row.certificate_exists) {
        return Ok(false);
    }
    match (&pair.left, &pair.right) {
        (None, None) => Ok(true),
        (None, Some(_)) => Ok(false),
        (Some(core), None) => Ok(match stored(&core.status)? {
            WorkflowStatus::Completed => false,
            WorkflowStatus::Executing | WorkflowStatus::Pending => !run.is_overdue(core.updated_at),
            _ => true,
        }),
        (Some(core), Some(secure)) => {
            let recorded = secure.status.as_deref().map(stored).transpose()?;
            let status = stored(&core.status)?;
            Ok(!differs(core, secure)
                && recorded.is_none_or(|recorded| verdict(status, recorded) == Verdict::Fits))
        }
    }
}

/// What two states of one request say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// Ended in Core, and still waiting in Secure.
    Unclosed,
    /// One of them is wrong.
    Contradicts,
}

fn verdict(core: WorkflowStatus, secure: RequestStatus) -> Verdict {
    use RequestStatus::{Issued, Issuing, Pending};
    use WorkflowStatus::{Cancelled, Completed, Executing, Expired, Failed, Rejected};
    match (core, secure) {
        (Completed, Issued) | (Executing, _) => Verdict::Fits,
        // What Secure is issuing somebody has approved.
        (Completed, _)
        | (_, Issued)
        | (WorkflowStatus::Pending | Rejected | Cancelled | Expired, Issuing) => Verdict::Contradicts,
        (Rejected | Cancelled | Expired | Failed, Pending) => Verdict::Unclosed,
        _ => Verdict::Fits,
    }
}

fn is_revocation(core: &OperationRow) -> bool {
    core.instance_type == "revocation"
}

/// Whether what was asked differs: it never changes, so somebody wrote into one of the databases.
fn differs(core: &OperationRow, secure: &OperationReference) -> bool {
    let same_certificate = secure.certificate_id.is_none()
        || core.certificate_id.is_none()
        || secure.certificate_id.map(Uuid::from) == core.certificate_id;
    let same = match secure.trace {
        OperationTrace::Request => {
            !is_revocation(core)
                && secure.organization_id.map(Uuid::from) == Some(core.organization_id)
                && secure.owner_user_id.map(Uuid::from) == core.owner_user_id
                && secure.policy_id.map(Uuid::from) == core.policy_id
                && secure.workflow_instance_id.map(Uuid::from) == Some(core.id)
        }
        OperationTrace::Revocation | OperationTrace::Release => {
            is_revocation(core) && secure.reason == core.reason
        }
    };
    !(same && same_certificate)
}

fn both_sides(pair: &Compared) -> Value {
    let core = pair.left.as_ref().map(|row| {
        json!({"instance_id": row.id, "operation_id": row.operation_id, "kind": row.instance_type, "status": row.status,
            "organization_id": row.organization_id, "owner_user_id": row.owner_user_id, "policy_id": row.policy_id,
            "certificate_id": row.certificate_id, "reason": row.reason})
    });
    json!({"core": core, "secure": pair.right})
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::{OperationId, OrganizationId, WorkflowInstanceId};

    fn core_row(kind: &str) -> OperationRow {
        OperationRow {
            operation_id: Uuid::from_u128(1),
            id: Uuid::from_u128(2),
            organization_id: Uuid::from_u128(3),
            instance_type: kind.to_owned(),
            status: "completed".to_owned(),
            policy_id: None,
            owner_user_id: None,
            request_id: None,
            certificate_id: Some(Uuid::from_u128(4)),
            reason: None,
            updated_at: chrono::DateTime::UNIX_EPOCH,
            certificate_exists: true,
        }
    }

    fn secure_row(trace: OperationTrace) -> OperationReference {
        OperationReference {
            operation_id: OperationId(Uuid::from_u128(1)),
            trace,
            object_id: Uuid::from_u128(5),
            workflow_instance_id: Some(WorkflowInstanceId(Uuid::from_u128(2))),
            organization_id: Some(OrganizationId(Uuid::from_u128(3))),
            owner_user_id: None,
            policy_id: None,
            certificate_id: None,
            status: None,
            reason: None,
            recorded_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_was_asked_must_not_differ() {
        let (core, secure) = (core_row("issuance"), secure_row(OperationTrace::Request));
        assert!(!differs(&core, &secure));
        assert!(differs(&OperationRow { organization_id: Uuid::from_u128(9), ..core.clone() }, &secure));
        assert!(differs(&OperationRow { policy_id: Some(Uuid::from_u128(9)), ..core.clone() }, &secure));
        assert!(differs(&OperationRow { owner_user_id: Some(Uuid::from_u128(9)), ..core.clone() }, &secure));
        assert!(differs(&core, &secure_row(OperationTrace::Revocation)));
        let other = OperationReference { certificate_id: Some(Uuid::from_u128(9).into()), ..secure };
        assert!(differs(&core, &other));
    }

    #[test]
    fn a_revocation_is_one_of_the_same_certificate_for_the_same_reason() {
        let core = OperationRow { reason: Some("superseded".to_owned()), ..core_row("revocation") };
        let secure =
            OperationReference { reason: core.reason.clone(), ..secure_row(OperationTrace::Revocation) };
        assert!(!differs(&core, &secure));
        assert!(differs(&core, &OperationReference { reason: Some("keyCompromise".to_owned()), ..secure }));
    }

    #[test]
    fn a_request_ends_the_same_way_on_both_sides() {
        use RequestStatus::{Issued, Issuing, Pending};
        for core in [WorkflowStatus::Rejected, WorkflowStatus::Cancelled, WorkflowStatus::Expired] {
            assert_eq!(verdict(core, RequestStatus::Rejected), Verdict::Fits);
            assert_eq!(verdict(core, Pending), Verdict::Unclosed);
            assert_eq!(verdict(core, Issued), Verdict::Contradicts);
            assert_eq!(verdict(core, Issuing), Verdict::Contradicts);
        }
        assert_eq!(verdict(WorkflowStatus::Completed, Issued), Verdict::Fits);
        assert_eq!(verdict(WorkflowStatus::Completed, Pending), Verdict::Contradicts);
        assert_eq!(verdict(WorkflowStatus::Pending, Issued), Verdict::Contradicts);
        assert_eq!(verdict(WorkflowStatus::Pending, Issuing), Verdict::Contradicts);
        assert_eq!(verdict(WorkflowStatus::Executing, Issuing), Verdict::Fits);
        assert_eq!(verdict(WorkflowStatus::Failed, Issuing), Verdict::Fits);
    }
}
