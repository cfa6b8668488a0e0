//! Workload rules, and the exchange of a workload's token for an API key (RFC 8693).

use chrono::{DateTime, Utc};
use clm_types::{UserId, WorkloadRuleId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a token is exchanged by.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Sorts of tokens that are exchanged.
pub const SUBJECT_TOKEN_TYPES: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
/// The sort of what is given for them.
pub const ISSUED_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Which workloads get an API key for the token of their provider, and what such a key may do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkloadRule {
    /// Identity; workloads name it.
    #[schema(value_type = Uuid)]
    pub id: WorkloadRuleId,
    /// Name to show, unique in the organization.
    pub name: String,
    /// What the operator calls the provider.
    pub provider: String,
    /// Who that was when the rule was made or last changed (`iss`): tokens of another one are not taken.
    pub issuer: String,
    /// Whom a token may be meant for (`aud`).
    pub audiences: Vec<String>,
    /// What a token must say.
    pub required_claims: Map<String, Value>,
    /// On whose behalf the keys act.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// What the keys may do at most.
    pub scopes: Vec<String>,
    /// How long a key lives.
    pub lifetime_seconds: i32,
    /// Networks that tokens are exchanged from and keys are used from; empty: any.
    pub allowed_addresses: Vec<String>,
    /// Whether tokens are exchanged now.
    pub enabled: bool,
    /// Who made it.
    #[schema(value_type = Option<Uuid>)]
    pub created_by: Option<UserId>,
    /// Who made it or last changed it: while they could not do so, no token is taken.
    #[schema(value_type = Uuid)]
    pub vouched_by: UserId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Counts its changes; the `ETag`.
    pub version: i64,
}

/// A new rule, or what an old one is to be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadRuleDraft {
    /// Name to show, unique in the organization.
    pub name: String,
    /// What the operator calls the provider.
    pub provider: String,
    /// Whom a token may be meant for (`aud`): 1 to 5 addresses of this service. A token names one of them, and nobody else.
    #[schema(min_items = 1, max_items = 5)]
    pub audiences: Vec<String>,
    /// What a token must say: up to 20 claims, or JSON pointers that begin with `/`, each with a text, a whole number, true or false.
    /// A `*` in a text stands for one or more characters, but for no `/` and no `:`. One of the claims says whose workload it is.
    pub required_claims: Map<String, Value>,
    /// On whose behalf the keys act; this never changes.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// What the keys may do at most, `noun:verb`; each is named, and nothing that people decide.
    #[schema(min_items = 1)]
    pub scopes: Vec<String>,
    /// How long a key lives: 60 to 3600 seconds; 900 unless given.
    #[serde(default = "usual_lifetime")]
    #[schema(minimum = 60, maximum = 3600)]
    pub lifetime_seconds: i32,
    /// Networks (CIDR) that tokens are exchanged from and keys are used from; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<String>,
    /// Whether tokens are exchanged now; they are unless told.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn usual_lifetime() -> i32 {
    900
}

const fn yes() -> bool {
    true
}

/// A workload's token that is to be exchanged: the fields of a form.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenExchange {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    pub grant_type: String,
    /// The token that the provider signed.
    pub subject_token: String,
    /// `urn:ietf:params:oauth:token-type:jwt` or `urn:ietf:params:oauth:token-type:id_token`.
    pub subject_token_type: String,
    /// The rule.
    #[schema(value_type = Uuid)]
    pub workload_rule: WorkloadRuleId,
}

/// The key that a workload gets (RFC 8693, section 2.2.1).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ExchangedToken {
    /// The API key: shown this once.
    pub access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`.
    pub issued_token_type: String,
    /// `Bearer`.
    pub token_type: String,
    /// For how many seconds it works.
    pub expires_in: i64,
    /// What it may do at most, with blanks between.
    pub scope: String,
}
