//! Roles and who holds them.

use chrono::{DateTime, Utc};
use clm_types::{GroupId, OrganizationId, RoleId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A role: a named set of permissions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Role {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: RoleId,
    /// Short code.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The role whose permissions it includes.
    #[schema(value_type = Option<Uuid>)]
    pub parent_role_id: Option<RoleId>,
    /// `noun:verb`; `*` stands for all.
    pub permissions: Vec<String>,
    /// Whether it comes with the product and cannot change.
    pub built_in: bool,
    /// Whose; absent for built-in ones.
    #[schema(value_type = Option<Uuid>)]
    pub organization_id: Option<OrganizationId>,
    /// Counts its changes; the `ETag`.
    pub version: i64,
}

/// A new role of the caller's organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Short code, unique in the organization.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The role whose permissions it includes.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_role_id: Option<RoleId>,
    /// `noun:verb`; none that the caller does not hold.
    pub permissions: Vec<String>,
}

/// That a user holds a role.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RoleAssignment {
    /// Identity.
    pub id: Uuid,
    /// Who.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Which role.
    #[schema(value_type = Uuid)]
    pub role_id: RoleId,
    /// Where; absent for everywhere.
    #[schema(value_type = Option<Uuid>)]
    pub organization_id: Option<OrganizationId>,
    /// The group whose members hold it; none: given to the user alone.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default)]
    pub group_id: Option<GroupId>,
    /// From when.
    pub valid_from: DateTime<Utc>,
    /// Until when (exclusive).
    pub valid_until: Option<DateTime<Utc>>,
    /// Who assigned it.
    #[schema(value_type = Option<Uuid>)]
    pub assigned_by: Option<UserId>,
    /// Why.
    pub reason: Option<String>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Counts its changes; the `ETag`.
    pub version: i64,
}

/// Gives a user a role in the caller's organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoleAssignment {
    /// Who.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Which role.
    #[schema(value_type = Uuid)]
    pub role_id: RoleId,
    /// In every organization, and not only in the caller's.
    #[serde(default)]
    pub everywhere: bool,
    /// From when; now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<DateTime<Utc>>,
    /// Until when (exclusive); no end unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which assignments to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoleAssignmentQuery {
    /// Only of this user.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Takes a role back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleAssignmentEnd {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What can change of a role.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// Name to show.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// `noun:verb`; none that the caller does not hold.
    pub permissions: Vec<String>,
}
