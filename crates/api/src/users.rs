//! Users.

use chrono::{DateTime, Utc};
use clm_types::UserId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: UserId,
    /// Name to sign in with.
    pub username: String,
    /// Address for notifications.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// `invited`, `active`, `locked`, `disabled`.
    pub status: String,
    /// Whether a second factor is set up.
    pub mfa_enabled: bool,
    /// No sign-in before this time, after too many failed ones.
    pub locked_until: Option<DateTime<Utc>>,
    /// When last signed in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Counts its changes; the `ETag`.
    pub version: i64,
}

/// A new user of the caller's organization, without roles.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name to sign in with, unique in the installation.
    pub username: String,
    /// Address for notifications.
    pub email: String,
    /// Name to show; the username unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whether the user is to set a password before anything else, by a link from `/users/{id}/links`.
    #[serde(default)]
    pub invited: bool,
}

/// What can change of a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// Address for notifications.
    pub email: String,
    /// Name to show.
    pub display_name: String,
}

/// What a user shall be able to do.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccessQuery {
    /// `noun:verb`.
    pub permission: String,
    /// A request or certificate, for permissions on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Uuid>,
}

/// Whether a user may do something, and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Access {
    /// Whether all reasons hold.
    pub allowed: bool,
    /// In the order in which they are looked at.
    pub reasons: Vec<AccessReason>,
}

/// One reason.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessReason {
    /// Whether it is for or against.
    pub holds: bool,
    /// In words.
    pub text: String,
}
