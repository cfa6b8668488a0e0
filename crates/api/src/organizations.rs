//! Organizations.

use chrono::{DateTime, Utc};
use clm_types::OrganizationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    /// Its identity.
    #[schema(value_type = Uuid)]
    pub id: OrganizationId,
    /// Short code, unique in the installation.
    pub code: String,
    /// Full name.
    pub name: String,
    /// `active`, `suspended`, `closed`.
    pub status: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Counts its changes; the `ETag`.
    pub version: i64,
}

/// A new organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganization {
    /// Short code: lower-case letters, digits, hyphens.
    pub code: String,
    /// Full name.
    pub name: String,
}
