//! What a rule of Core can answer instead of its result.

use clm_pg::DbError;
use clm_types::{ErrorCode, Refusal};

/// A rule that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The caller can mend it, or Secure said no; told to the caller as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error("the database call failed")]
    Database(#[source] DbError),
    /// Something stored or computed is not what this program made it: a defect of ours.
    #[error("{what}")]
    Defect {
        /// What is wrong; for the log only.
        what: String,
        /// What found it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl From<DbError> for CoreError {
    /// A value that the database cannot hold came from the caller: no program makes one.
    fn from(error: DbError) -> Self {
        match error {
            DbError::Data(_) => Refusal::new(
                ErrorCode::InvalidRequest,
                "a text holds NUL, or a date lies beyond the calendar: that cannot be stored",
            )
            .into(),
            other => Self::Database(other),
        }
    }
}

impl CoreError {
    /// A defect without an underlying error.
    pub fn defect(what: impl Into<String>) -> Self {
        Self::Defect { what: what.into(), source: None }
    }

    /// A defect that another error showed.
    pub fn defect_of(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Defect { what: what.into(), source: Some(Box::new(source)) }
    }

    /// Whether the very same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code.is_retryable(),
            Self::Database(error) => error.is_retryable(),
            Self::Defect { .. } => false,
        }
    }

    /// What the outside may know: refusals as they are, `unavailable` or `internal` without detail else.
    pub fn to_refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::Database(error) if error.is_retryable() => {
                Refusal::new(ErrorCode::Unavailable, "a part of the service is not reachable now")
                    .hint("try the same request again in a few seconds")
            }
            Self::Database(_) | Self::Defect { .. } => {
                Refusal::new(ErrorCode::Internal, "an error of the service itself")
                    .hint("give the request id to whoever runs the service")
            }
        }
    }

    /// The refusal code, if it is a refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }
}

/// A conflict with a row that exists, as `already_exists`; other errors as they are.
pub(crate) fn exists_already(error: DbError, detail: impl Into<String>, field: &str) -> CoreError {
    match error {
        DbError::Conflict { .. } => Refusal::new(ErrorCode::AlreadyExists, detail).field(field).into(),
        other => other.into(),
    }
}

/// `precondition_failed`: what the caller read is not what there is.
pub(crate) fn changed_since() -> Refusal {
    Refusal::new(ErrorCode::PreconditionFailed, "it has changed since you read it")
        .hint("read it again and repeat the change on what it is now")
}

/// A row that is no longer in the version named, as `precondition_failed`; other errors as they are.
pub(crate) fn has_changed(error: DbError) -> CoreError {
    match error {
        DbError::RowCount { .. } => changed_since().into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_says_nothing_of_itself_outside() {
        let error = CoreError::defect("policy 7 cannot be read");
        assert_eq!(error.to_refusal().code, ErrorCode::Internal);
        assert!(!error.to_refusal().detail.contains("policy"));
    }
}
