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
    /// What was bought.
    pub subscription_plan: String,
    /// `trial`, `active`, `past_due`, `cancelled`, `expired`.
    pub subscription_status: String,
    /// When it ends.
    pub subscription_expires_at: Option<DateTime<Utc>>,
    /// Most active certificates.
    pub license_max_certificates: Option<i32>,
    /// Most users.
    pub license_max_users: Option<i32>,
    /// Free settings.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
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

/// What an organization can change of itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationChange {
    /// Full name.
    pub name: String,
    /// Free settings.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}
