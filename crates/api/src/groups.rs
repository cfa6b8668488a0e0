//! Groups of users.

use chrono::{DateTime, Utc};
use clm_types::{GroupId, RoleId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A group of an organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: GroupId,
    /// Name to show, unique in the organization.
    pub display_name: String,
    /// What the provisioning client calls it.
    pub external_id: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Counts its changes and those of its members; the `ETag`.
    pub version: i64,
}

/// A new group, or what an old one is to be called.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupDraft {
    /// Name to show, unique in the organization.
    pub display_name: String,
    /// What the provisioning client calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupMember {
    /// The user.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Its name.
    pub username: String,
    /// Its name to show.
    pub display_name: String,
    /// Since when.
    pub joined_at: DateTime<Utc>,
}

/// Users who join or leave a group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupMembers {
    /// Who, 1 to 1000 of them.
    #[schema(value_type = Vec<Uuid>, min_items = 1, max_items = 1000)]
    pub user_ids: Vec<UserId>,
}

/// The roles that a group gives its members.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupRoles {
    /// Newest first.
    pub items: Vec<GroupRole>,
}

/// A role that a group gives its members.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupRole {
    /// The role.
    #[schema(value_type = Uuid)]
    pub role_id: RoleId,
    /// Its code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// Since when.
    pub given_at: DateTime<Utc>,
}

/// A role to be given to a group, or taken from it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRoleChoice {
    /// Which.
    #[schema(value_type = Uuid)]
    pub role_id: RoleId,
}
