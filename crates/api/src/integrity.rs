//! Whether both databases agree.

use chrono::{DateTime, Utc};
use clm_types::OrganizationId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A run of the integrity job that somebody ordered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IntegrityRun {
    /// Identity; findings name the run that last saw them.
    pub id: Uuid,
    /// `running`, `completed`, `failed`, or `interrupted` when its process ended before it did.
    pub status: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it completed or failed.
    pub finished_at: Option<DateTime<Utc>>,
    /// What a completed run counted.
    pub report: Option<IntegrityReport>,
    /// Why it failed.
    pub detail: Option<String>,
}

/// What a whole run of the integrity job counted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IntegrityReport {
    /// Certificates compared.
    pub compared: u64,
    /// Open findings.
    pub open: u64,
    /// Findings that were repaired.
    pub repaired: u64,
    /// Findings that need a person.
    pub alarms: u64,
    /// Findings of earlier runs that are gone.
    pub resolved: u64,
}

/// A difference between the databases, or a reference that leads nowhere.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IntegrityFinding {
    /// Identity.
    pub id: Uuid,
    /// The run that last saw it.
    pub run_id: Uuid,
    /// What sort of difference.
    pub kind: String,
    /// Where: `core`, `secure`, `both`.
    pub side: String,
    /// About what sort of thing.
    pub object_type: String,
    /// About which.
    pub object_id: Uuid,
    /// Whose.
    #[schema(value_type = Option<Uuid>)]
    pub organization_id: Option<OrganizationId>,
    /// `open`, `repaired`, `alarm`, `resolved`.
    pub status: String,
    /// More.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// When it was first seen.
    pub found_at: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen_at: DateTime<Utc>,
    /// When it was gone.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// Which findings to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IntegrityQuery {
    /// Only with this status: `open`, `repaired`, `alarm`, `resolved`.
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
