//! Policies: who may have which certificate.

use chrono::{DateTime, Utc};
use clm_types::{OrganizationId, PolicyId, UserId, WorkflowId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A version of a policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Identity of this version.
    #[schema(value_type = Uuid)]
    pub id: PolicyId,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// The code that all versions share.
    pub code: String,
    /// Its number, from 1.
    pub policy_version: i32,
    /// Name to show.
    pub name: String,
    /// `draft`, `active`, `superseded`, `retired`.
    pub status: String,
    /// The rules.
    #[schema(value_type = Object)]
    pub rules: serde_json::Value,
    /// Compliance frameworks it maps to.
    #[schema(value_type = Vec<Object>)]
    pub compliance_frameworks: serde_json::Value,
    /// The workflow that decides; from the rules unless given.
    #[schema(value_type = Option<Uuid>)]
    pub workflow_id: Option<WorkflowId>,
    /// From when it is in force.
    pub effective_from: Option<DateTime<Utc>>,
    /// The version it replaced.
    #[schema(value_type = Option<Uuid>)]
    pub supersedes: Option<PolicyId>,
    /// Who made it.
    #[schema(value_type = Option<Uuid>)]
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Counts the row's changes; the `ETag`.
    pub version: i64,
}

/// A new policy, or a new version of one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyDraft {
    /// Code, unique in the organization: lower-case letters, digits, hyphens. Cannot change.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// The rules.
    #[schema(value_type = Object)]
    pub rules: serde_json::Value,
    /// Compliance frameworks it maps to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub compliance_frameworks: Vec<serde_json::Value>,
}

/// Which policies to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PolicyQuery {
    /// Only versions of this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Only with this status; `active` unless given, `any` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
