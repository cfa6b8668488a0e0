//! Refusals as gRPC statuses and back.

use std::error::Error;

use clm_types::{ErrorCode, Refusal};
use tonic::{Code, Status};

/// The status that carries `refusal`: the gRPC code by kind, the whole refusal as JSON in the details.
pub fn to_status(refusal: &Refusal) -> Status {
    let details = serde_json::to_vec(refusal).unwrap_or_default();
    Status::with_details(grpc_code(refusal.code), refusal.detail.clone(), details.into())
}

/// The refusal in `status`; a status without one becomes `unavailable` (try again) or `internal` (no detail).
pub fn from_status(status: &Status) -> Refusal {
    if let Ok(refusal) = serde_json::from_slice(status.details()) {
        return refusal;
    }
    match status.code() {
        // The connection broke in the middle of the call.
        Code::Internal if status.source().is_some() => cannot_be_reached(),
        // A peer that is not on the list, or an old release, is a matter of configuration: the caller's work waits for it.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Unknown
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => cannot_be_reached(),
        _ => Refusal::new(ErrorCode::Internal, "the Secure Service refused the call"),
    }
}

fn cannot_be_reached() -> Refusal {
    Refusal::new(ErrorCode::Unavailable, "the Secure Service cannot be reached now")
        .hint("try again in a moment")
}

const fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::Unavailable | ErrorCode::AuthorityLocked => Code::Unavailable,
        ErrorCode::Internal => Code::Internal,
        ErrorCode::CertificateNotFound
        | ErrorCode::RequestNotFound
        | ErrorCode::AuthorityNotFound
        | ErrorCode::KeyNotFound => Code::NotFound,
        ErrorCode::PermissionDenied | ErrorCode::MandateInvalid | ErrorCode::MandateOutsideEnvelope => {
            Code::PermissionDenied
        }
        ErrorCode::OperationIdReused => Code::AlreadyExists,
        _ => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusal = Refusal::new(ErrorCode::NameNotAllowed, "no").hint("ask").field("/sans/0");
        assert_eq!(from_status(&to_status(&refusal)), refusal);
    }

    #[test]
    fn a_foreign_status_says_nothing_of_its_inside() {
        assert_eq!(from_status(&Status::unavailable("secret")).code, ErrorCode::Unavailable);
        assert!(!from_status(&Status::internal("secret")).detail.contains("secret"));
    }
}
