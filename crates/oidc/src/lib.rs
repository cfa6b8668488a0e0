//! OpenID providers as their relying party sees them (OpenID Connect Core 1.0, Discovery 1.0, Back-Channel Logout 1.0): what they
//! say of themselves, their keys, the exchange of codes, and the tokens that they sign, for people and for workloads.
//!
//! The providers are named by the operator; nothing here calls an address that a user or a token names.

mod claims;
mod discovery;
mod fetch;
mod provider;
mod tokens;
mod workloads;

pub use claims::{Claims, LogoutClaims};
pub use provider::{AuthorizationRequest, Client, Provider, Redemption};
pub use workloads::{Recipients, WorkloadClaims};

/// Why a provider's answer or token is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider does not answer, or not as it should; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The code or token does not hold.
    #[error("{0}")]
    Refused(String),
}

impl OidcError {
    fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }

    fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable(what.into())
    }
}
