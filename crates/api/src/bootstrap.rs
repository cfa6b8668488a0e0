//! The first administrator of a new installation.

use clm_types::{OrganizationId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes the first organization and administrator; works once, with the operator's token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BootstrapRequest {
    /// The one-time token that `clm-core bootstrap-token` wrote.
    pub token: String,
    /// Name to sign in with.
    pub username: String,
    /// Address for notifications.
    pub email: String,
    /// Name to show; the username unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Short code of the organization, unique in the installation.
    pub organization_code: String,
    /// Its full name.
    pub organization_name: String,
}

/// What the bootstrap made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Bootstrapped {
    /// The administrator.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// The organization.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// The administrator's API key: shown this once, good for 90 days.
    pub api_key: String,
}
