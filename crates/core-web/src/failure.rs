//! How a handler fails: with a refusal that the outermost layer renders.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clm_core::CoreError;
use clm_types::{ErrorCode, Refusal};

use crate::problem_kinds::problem_kind;

/// A failed request, and after how many seconds the same one may succeed, where that is known. Rendered as a problem
/// document by the outermost layer, which knows the request's id.
#[derive(Debug, Clone)]
pub struct Failure(pub Refusal, pub(crate) Option<u64>);

impl Failure {
    /// A failure without a hint.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Refusal::new(code, detail), None)
    }

    /// The same one may succeed after this time: whole seconds, rounded up.
    pub(crate) fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self(self.0, Some(seconds.max(1)))
    }

    /// The failure that a bare status stands for.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => (ErrorCode::NotFound, "there is nothing at this address".to_owned()),
            StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::BodyTooLarge, "the body is too large".to_owned()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                (ErrorCode::UnsupportedMediaType, "the media type is not taken".to_owned())
            }
            status if status.is_client_error() => {
                (ErrorCode::InvalidRequest, "the request cannot be read".to_owned())
            }
            _ => (ErrorCode::Internal, "an error of the service itself".to_owned()),
        };
        Self::new(code, detail)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal, None)
    }
}

impl From<CoreError> for Failure {
    /// The one place where an error of a rule is logged, with its whole chain.
    fn from(error: CoreError) -> Self {
        if !matches!(error, CoreError::Refused(_)) {
            tracing::error!(error = %chain(&error), "a request failed");
        }
        Self(error.to_refusal(), None)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = problem_kind(self.0.code).status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
