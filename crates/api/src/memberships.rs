//! Where users belong.

use chrono::{DateTime, Utc};
use clm_types::OrganizationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An invitation into the caller's organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// Name that the user signs in with.
    pub username: String,
}

/// Where the caller belongs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Memberships {
    /// The first choice first.
    pub items: Vec<Membership>,
}

/// A membership.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// The organization.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// Its short code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// `invited`, `active`, `suspended`.
    pub status: String,
    /// Whether calls that name no organization work in it.
    pub is_primary: bool,
    /// Since when it is active.
    pub joined_at: Option<DateTime<Utc>>,
}
