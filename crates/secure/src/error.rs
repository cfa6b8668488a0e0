//! What can go wrong in Secure.

use clm_pg::DbError;
use clm_types::{ErrorCode, Refusal};

/// A failed operation. It left nothing behind, unless it says that the database went away.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// The caller asked for something that is not done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database.
    #[error("the database failed")]
    Database(#[from] DbError),
    /// A cryptographic operation.
    #[error("cryptography failed: {0}")]
    Crypto(&'static str),
    /// The token that holds a key.
    #[error(transparent)]
    Token(#[from] crate::token::TokenError),
    /// A stored value that cannot be what this program wrote.
    #[error("a stored value is damaged: {0}")]
    Damaged(String),
    /// The committer has ended: the process is going down.
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl SecureError {
    /// What the caller may know of it.
    pub fn to_refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::ShuttingDown => unavailable(),
            Self::Database(error) if error.is_retryable() => unavailable(),
            Self::Token(_) => Refusal::new(
                ErrorCode::AuthorityLocked,
                "the security module that holds the key is not available",
            )
            .hint("try again later; operators find the reason in the log of the Secure Service"),
            Self::Database(_) | Self::Crypto(_) | Self::Damaged(_) => {
                Refusal::new(ErrorCode::Internal, "the Secure Service failed; its log has more")
            }
        }
    }

    /// Whether a row that must be unique, or a state that was relied on, was there already or had changed.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(DbError::Conflict { .. } | DbError::RowCount { .. }))
    }
}

fn unavailable() -> Refusal {
    Refusal::new(ErrorCode::Unavailable, "the Secure Service cannot do this now")
        .hint("try again in a moment")
}
