//! API keys.

use chrono::{DateTime, Utc};
use clm_types::{ApiKeyId, OrganizationId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An API key, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: ApiKeyId,
    /// How the key begins: enough to tell it from others.
    pub prefix: String,
    /// Name to show.
    pub name: String,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Where it works.
    #[schema(value_type = Option<Uuid>)]
    pub organization_id: Option<OrganizationId>,
    /// What it may do at most; empty: all that its user may.
    pub scopes: Vec<String>,
    /// Networks that it may be used from; empty: any.
    pub allowed_addresses: Vec<String>,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Counts its changes; the `ETag`.
    pub version: i64,
}

/// A new API key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// Name to show.
    pub name: String,
    /// Whose; the caller's unless given.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// What it may do at most, `noun:verb`; empty: all that its user may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Networks (CIDR) that it may be used from; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<String>,
    /// When it ends; a year at most and 90 days unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A new API key with its secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiKey {
    /// The key's description.
    pub api_key: ApiKey,
    /// The secret: shown this once.
    pub secret: String,
}
