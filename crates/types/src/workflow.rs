//! States of workflows and their steps.

use crate::{ErrorCode, Refusal, text_enum};

text_enum! {
    /// What a workflow is about.
    pub enum WorkflowKind {
        /// A new certificate.
        Issuance => "issuance",
        /// A renewal.
        Renewal => "renewal",
        /// A revocation, hold or release.
        Revocation => "revocation",
        /// Handing out a private key.
        KeyExport => "key_export",
    }
}

impl WorkflowKind {
    /// Whether a new certificate comes of it.
    pub const fn makes_certificate(self) -> bool {
        matches!(self, Self::Issuance | Self::Renewal)
    }
}

text_enum! {
    /// `workflow_instances.status`.
    pub enum WorkflowStatus {
        /// Waits for approval.
        Pending => "pending",
        /// Approved; the job that carries it out is queued or running.
        Executing => "executing",
        /// Done in both databases.
        Completed => "completed",
        /// An approver said no.
        Rejected => "rejected",
        /// The requester took it back.
        Cancelled => "cancelled",
        /// Not decided in time.
        Expired => "expired",
        /// Secure refused it for good.
        Failed => "failed",
    }
}

text_enum! {
    /// `workflow_steps.status`.
    pub enum StepStatus {
        /// Its turn has not come.
        Waiting => "waiting",
        /// Its approvers may decide.
        Pending => "pending",
        /// Enough of them said yes.
        Approved => "approved",
        /// One of them said no.
        Rejected => "rejected",
        /// No longer needed.
        Skipped => "skipped",
    }
}

impl WorkflowStatus {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Rejected | Self::Cancelled | Self::Expired | Self::Failed)
    }

    fn leave_pending(self, to: Self) -> Result<Self, Refusal> {
        if self == Self::Pending {
            Ok(to)
        } else {
            Err(Refusal::new(ErrorCode::WorkflowNotPending, format!("the request is already {self}")))
        }
    }

    /// Every step is approved.
    ///
    /// # Errors
    /// `workflow_not_pending`.
    pub fn approve(self) -> Result<Self, Refusal> {
        self.leave_pending(Self::Executing)
    }

    /// An approver said no.
    ///
    /// # Errors
    /// `workflow_not_pending`.
    pub fn reject(self) -> Result<Self, Refusal> {
        self.leave_pending(Self::Rejected)
    }

    /// The requester took it back.
    ///
    /// # Errors
    /// `workflow_not_pending`.
    pub fn cancel(self) -> Result<Self, Refusal> {
        self.leave_pending(Self::Cancelled)
    }

    /// Its deadline passed.
    ///
    /// # Errors
    /// `workflow_not_pending`.
    pub fn expire(self) -> Result<Self, Refusal> {
        self.leave_pending(Self::Expired)
    }
}

impl StepStatus {
    /// The state after `yes` approvals of `quorum` needed, or a single refusal.
    ///
    /// # Errors
    /// `workflow_not_pending` when it is not this step's turn.
    pub fn decide(self, approve: bool, yes: u32, quorum: u32) -> Result<Self, Refusal> {
        match (self, approve) {
            (Self::Pending, false) => Ok(Self::Rejected),
            (Self::Pending, true) if yes >= quorum.max(1) => Ok(Self::Approved),
            (Self::Pending, true) => Ok(Self::Pending),
            _ => Err(Refusal::new(
                ErrorCode::WorkflowNotPending,
                format!("this step is {self}, it cannot be decided"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_workflow_refuses_every_transition() {
        for status in WorkflowStatus::ALL.iter().filter(|s| **s != WorkflowStatus::Pending) {
            assert!(status.approve().is_err() && status.reject().is_err());
            assert!(status.cancel().is_err() && status.expire().is_err());
        }
    }

    #[test]
    fn a_step_needs_its_quorum_and_at_least_one() {
        assert_eq!(StepStatus::Pending.decide(true, 1, 2), Ok(StepStatus::Pending));
        assert_eq!(StepStatus::Pending.decide(true, 2, 2), Ok(StepStatus::Approved));
        assert_eq!(StepStatus::Pending.decide(true, 0, 0), Ok(StepStatus::Pending));
        assert_eq!(StepStatus::Pending.decide(false, 1, 2), Ok(StepStatus::Rejected));
        assert!(StepStatus::Approved.decide(true, 3, 2).is_err());
    }
}
