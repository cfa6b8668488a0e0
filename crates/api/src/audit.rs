//! The audit logs of both databases.

use chrono::{DateTime, Utc};
use clm_types::{OperationId, OrganizationId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// An entry of one of the audit logs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Identity.
    pub id: Uuid,
    /// The database that holds it: `core` or `secure`.
    pub source: String,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// Who: a user's id, or the name of a part of the system.
    pub actor: String,
    /// `user`, `api_key`, `system`, `operator`, `anonymous`, `service`.
    pub actor_type: String,
    /// Whose.
    #[schema(value_type = Option<Uuid>)]
    pub organization_id: Option<OrganizationId>,
    /// Of which operation.
    #[schema(value_type = Option<Uuid>)]
    pub operation_id: Option<OperationId>,
    /// Of which HTTP request.
    pub request_id: Option<Uuid>,
    /// From which address.
    pub address: Option<String>,
    /// What was done.
    pub action: String,
    /// To what sort of thing.
    pub object_type: String,
    /// To which.
    pub object_id: Option<Uuid>,
    /// `allowed`, `refused`, `failed`.
    pub outcome: String,
    /// In words.
    pub detail: Option<String>,
    /// Before it.
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// After it.
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
    /// Place in the hash chain (secure only).
    pub sequence: Option<i64>,
    /// Chain hash, hexadecimal (secure only).
    pub chain_hash: Option<String>,
}

/// Which entries to list. With `operation_id`, those of both databases, oldest first; else Core's, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only of this operation, from both databases.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<OperationId>,
    /// Only about this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Uuid>,
    /// Only by this user.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// Only this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only at this moment or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Only before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which accesses to a private key to list, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyAccessQuery {
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A signed state of Secure's audit chain, as Core keeps it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditCheckpoint {
    /// The last entry that it covers.
    pub sequence: i64,
    /// That entry's chain hash, hexadecimal.
    pub chain_hash: String,
    /// Entries up to it.
    pub entry_count: i64,
    /// When it was signed.
    pub signed_at: DateTime<Utc>,
    /// ECDSA with SHA-256, base64.
    pub signature: String,
    /// Which audit key signed.
    pub key_reference: String,
    /// That key's SubjectPublicKeyInfo, DER in base64.
    pub public_key: String,
}

/// Which signed states to list, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditCheckpointQuery {
    /// Only before this sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// Items, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
