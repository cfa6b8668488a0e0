//! A new password for whoever forgot theirs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose password was forgotten: one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPasswordReset {
    /// Name to sign in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Address on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}
