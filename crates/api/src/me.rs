//! Who the caller is and what it may do.

use chrono::{DateTime, Utc};
use clm_types::{ApiKeyId, OrganizationId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user.
    #[schema(value_type = Option<Uuid>)]
    pub user_id: Option<UserId>,
    /// Name to sign in with.
    pub username: Option<String>,
    /// The API key in use.
    #[schema(value_type = Option<Uuid>)]
    pub api_key_id: Option<ApiKeyId>,
    /// The session in use.
    #[schema(value_type = Option<Uuid>)]
    pub session_id: Option<SessionId>,
    /// When a second factor was last shown in it.
    pub factor_at: Option<DateTime<Utc>>,
    /// What it lacks before anything else can be done: `code` or `enrolment`.
    pub missing_factor: Option<String>,
    /// The organization that this call works in.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// What the caller may do there, `noun:verb`.
    pub permissions: Vec<String>,
}
