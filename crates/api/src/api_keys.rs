//! API keys.

use chrono::{DateTime, Utc};
use clm_types::{ApiKeyId, OrganizationId, UserId, WorkloadRuleId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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
    /// Counts its changes, without its uses.
    pub version: i64,
    /// The rule by which a workload got it for a token; none: a user or an operator made it.
    #[schema(value_type = Option<Uuid>)]
    pub workload_rule_id: Option<WorkloadRuleId>,
    /// Whom that token was about.
    pub workload_subject: Option<String>,
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
    /// For a program and not a person: the key begins with `clm_svc_`.
    #[serde(default)]
    pub service: bool,
    /// Works in every organization of its user, and not only in the caller's.
    #[serde(default)]
    pub everywhere: bool,
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

/// Which API keys to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApiKeyQuery {
    /// Only of this user.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Only those that this workload rule has given.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_rule: Option<WorkloadRuleId>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// How a key is replaced.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRotation {
    /// How long the old key goes on, in seconds: a day unless given, seven days at most, 0 to end it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u32>,
}
