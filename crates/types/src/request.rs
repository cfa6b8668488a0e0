//! States of a certificate request in Secure.

use crate::{ErrorCode, Refusal, text_enum};

text_enum! {
    /// `certificate_requests.status`.
    pub enum RequestStatus {
        /// Recorded; waits for Core's decision.
        Pending => "pending",
        /// Approved; the intent to sign is recorded.
        Issuing => "issuing",
        /// The certificate exists.
        Issued => "issued",
        /// Refused by an approver, or withdrawn.
        Rejected => "rejected",
        /// Could not be issued, for good.
        Failed => "failed",
    }
}

impl RequestStatus {
    /// Whether a certificate may still come of it.
    ///
    /// # Errors
    /// `request_not_pending` when it was decided before.
    pub fn begin_issuing(self) -> Result<Self, Refusal> {
        match self {
            Self::Pending | Self::Issuing => Ok(Self::Issuing),
            other => {
                Err(Refusal::new(ErrorCode::RequestNotPending, format!("the request is already {other}")))
            }
        }
    }

    /// The state after a refusal.
    ///
    /// # Errors
    /// `request_not_pending` unless it is pending.
    pub fn reject(self) -> Result<Self, Refusal> {
        match self {
            Self::Pending => Ok(Self::Rejected),
            other => {
                Err(Refusal::new(ErrorCode::RequestNotPending, format!("the request is already {other}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decided_request_stays_decided() {
        for status in [RequestStatus::Issued, RequestStatus::Rejected, RequestStatus::Failed] {
            assert!(status.begin_issuing().is_err());
            assert!(status.reject().is_err());
        }
        assert!(RequestStatus::Issuing.reject().is_err());
    }
}
