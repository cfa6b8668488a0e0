//! Workflows: who decides on requests.

use chrono::{DateTime, Utc};
use clm_types::{OrganizationId, UserId, WorkflowId, WorkflowKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// A version of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Workflow {
    /// Identity of this version.
    #[schema(value_type = Uuid)]
    pub id: WorkflowId,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// The code that all versions share.
    pub code: String,
    /// Its number, from 1.
    pub workflow_version: i32,
    /// Name to show.
    pub name: String,
    /// What it decides on.
    #[schema(schema_with = schema::workflow_kind)]
    pub kind: WorkflowKind,
    /// `draft`, `active`, `superseded`, `retired`.
    pub status: String,
    /// The approval steps.
    #[schema(value_type = Object)]
    pub definition: serde_json::Value,
    /// When no approval is needed.
    #[schema(value_type = Vec<Object>)]
    pub auto_approval: serde_json::Value,
    /// Who made it.
    #[schema(value_type = Option<Uuid>)]
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Counts the row's changes; the `ETag`.
    pub version: i64,
}

/// A new workflow, or a new version of one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDraft {
    /// Code, unique in the organization: lower-case letters, digits, hyphens. Cannot change.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// What it decides on. Cannot change.
    #[schema(schema_with = schema::workflow_kind)]
    pub kind: WorkflowKind,
    /// The approval steps.
    #[schema(value_type = Object)]
    pub definition: serde_json::Value,
    /// When no approval is needed; never, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub auto_approval: Option<serde_json::Value>,
}

/// Which workflows to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WorkflowQuery {
    /// Only versions of this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Only with this status; `active` unless given, `any` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only of this kind.
    #[param(schema_with = schema::workflow_kind)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<WorkflowKind>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
