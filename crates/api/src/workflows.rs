//! Workflows: who decides on requests.

use chrono::{DateTime, Utc};
use clm_types::{OrganizationId, UserId, WorkflowId, WorkflowKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    #[schema(value_type = Object)]
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
