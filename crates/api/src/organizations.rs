//! Organizations.

use chrono::{DateTime, Utc};
use clm_types::{OrganizationId, SubscriptionStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

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
    /// Most certificates that are active or on hold; null: no limit.
    pub license_max_certificates: Option<i32>,
    /// Most members; null: no limit.
    pub license_max_users: Option<i32>,
    /// Most authorities, whose certificates are active or on hold; null: no limit.
    pub license_max_authorities: Option<i32>,
    /// Its settings; what is left out is as the installation has it.
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
    /// All settings; what is left out is as the installation has it.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What an organization has subscribed to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// What was bought: lower-case letters, digits, hyphens.
    pub plan: String,
    /// `cancelled` and `expired` refuse what is new; `past_due` refuses nothing.
    #[schema(schema_with = schema::subscription_status)]
    pub status: SubscriptionStatus,
    /// When it ends; null: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Most certificates that are active or on hold; null: no limit.
    #[schema(minimum = 0)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_certificates: Option<i32>,
    /// Most members; null: no limit.
    #[schema(minimum = 0)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_users: Option<i32>,
    /// Most authorities, whose certificates are active or on hold; null: no limit.
    #[schema(minimum = 0)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_authorities: Option<i32>,
}
