//! OpenID providers: which there are, the way to them and back, and what users have linked.

use chrono::{DateTime, Utc};
use clm_types::ExternalIdentityId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A provider by which people sign in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IdentityProvider {
    /// What it is called here.
    pub name: String,
}

/// Who sends a browser to a provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// What the provider is called here.
    pub provider: String,
    /// SHA-256 of a verifier that the caller keeps, base64url without padding (RFC 7636, S256).
    pub code_challenge: String,
    /// Where the caller waits for the browser: a port of 127.0.0.1 on its machine (RFC 8252 section 7.3).
    #[schema(minimum = 1)]
    pub port: u16,
    /// Whether the user shall show anew who they are.
    #[serde(default)]
    pub fresh: bool,
}

/// Where to send the browser.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DepartureUrl {
    /// At the provider; good for ten minutes.
    pub url: String,
}

/// What the browser brought back to the caller.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// The provider's code.
    pub code: String,
    /// As it came.
    pub state: String,
    /// The verifier whose hash was sent along.
    pub code_verifier: String,
}

/// What a provider sends a browser back with.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Callback {
    /// As it went.
    pub state: String,
    /// The code.
    #[serde(default)]
    pub code: Option<String>,
    /// Why there is none.
    #[serde(default)]
    pub error: Option<String>,
}

/// What a provider sends when it has ended sessions (OpenID Connect Back-Channel Logout 1.0).
#[derive(Serialize, Deserialize, ToSchema)]
pub struct BackChannelLogout {
    /// A signed token that names the user or the session.
    pub logout_token: String,
}

/// A link between the caller and whom a provider means.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExternalIdentity {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: ExternalIdentityId,
    /// What the provider is called here.
    pub provider: String,
    /// The provider's own name.
    pub issuer: String,
    /// Whom it means.
    pub subject: String,
    /// When it last signed in.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}
