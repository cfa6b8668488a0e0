//! The audit logs of both databases.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use clm_types::{ApiKeyId, OperationId, OrganizationId, SessionId, UserId};
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
    /// By which session (core only).
    #[schema(value_type = Option<Uuid>)]
    pub session_id: Option<SessionId>,
    /// By which API key (core only).
    #[schema(value_type = Option<Uuid>)]
    pub api_key_id: Option<ApiKeyId>,
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

/// Which entries to list. With `operation_id`, which no other filter goes with, those of both databases, oldest first; else
/// Core's, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
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
    /// Only about objects of this sort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    /// Only by this user.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// Only by this session.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Only by this API key.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyId>,
    /// Only from this address.
    #[param(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Only of this HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Uuid>,
    /// Only this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only with this outcome: `allowed`, `refused`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
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

/// Which of Core's entries to export, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditExportQuery {
    /// From this moment.
    pub since: DateTime<Utc>,
    /// To before this moment, which is past, and at most 366 days after `since`.
    pub until: DateTime<Utc>,
    /// Those about the whole installation, and not those of the organization. They need `audit:read` for all
    /// organizations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub installation: bool,
}

/// The last line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExportEnd {
    /// What the lines before it are.
    pub manifest: AuditExportManifest,
}

/// What an export holds: one that was cut off or changed by accident does not agree with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExportManifest {
    /// Whose entries; none: those about the whole installation.
    #[schema(value_type = Option<Uuid>)]
    pub organization_id: Option<OrganizationId>,
    /// From this moment.
    pub since: DateTime<Utc>,
    /// To before this moment.
    pub until: DateTime<Utc>,
    /// When it was asked for.
    pub exported_at: DateTime<Utc>,
    /// How many entries.
    pub count: u64,
    /// The first of them.
    pub first_id: Option<Uuid>,
    /// The last of them.
    pub last_id: Option<Uuid>,
    /// SHA-256 of all lines before this one, with their line feeds, hexadecimal.
    pub sha256: String,
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
