//! Signing in: sessions, passwords, second factors and one-time links. What holds a secret cannot be printed.

use chrono::{DateTime, Utc};
use clm_types::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::passkeys::AuthenticationResponse;

/// Name and password.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// Name to sign in with.
    pub username: String,
    /// Password.
    pub password: String,
}

/// A session. Its token is sent like an API key: `Authorization: Bearer clm_ses_…`.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// Identity of the session.
    #[schema(value_type = Uuid)]
    pub session_id: SessionId,
    /// The token; shown this once.
    pub token: String,
    /// When the session ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// What is missing before anything else can be done: `code` (show the second factor) or `enrolment` (set one up).
    pub missing_factor: Option<String>,
}

/// A second factor: one of the three.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShownFactor {
    /// Six digits of an authenticator program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<String>,
    /// One of the codes for when it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_code: Option<String>,
    /// What `navigator.credentials.get` gave, by `toJSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<AuthenticationResponse>,
}

/// The session's token from now on.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// The token; shown this once. The one before has ended.
    pub token: String,
}

/// An open session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: SessionId,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// `password`, `passkey` or `oidc`.
    pub sign_in_method: String,
    /// From where it was opened.
    pub address: Option<String>,
    /// The program that opened it, as it called itself.
    pub user_agent: Option<String>,
    /// When a second factor was last shown.
    pub factor_at: Option<DateTime<Utc>>,
    /// When it was last used, to about a minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// Whether it is the one of this call.
    pub current: bool,
}

/// Which sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// Of this user; the caller's own unless given.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which sessions end: all of a user's, of one's own all but the one in use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionsEnd {
    /// Whose; the caller's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub user_id: Option<UserId>,
}

/// How many sessions have ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionsEnded {
    /// How many.
    pub ended: u64,
}

/// A new password of the caller.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The present one; not needed where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<String>,
    /// The new one: 12 to 256 characters, not guessed early, none of the last six.
    pub password: String,
}

/// Who sets up one-time codes.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTotp {
    /// The caller's password, unless a second factor was shown in the last five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<String>,
}

/// The secret of one-time codes, still to be confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct TotpSetup {
    /// For typing, base32; shown this once.
    pub secret: String,
    /// For authenticator programs, also as a QR code: `otpauth://totp/…`.
    pub url: String,
}

/// A code of the secret that is to be confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpConfirmation {
    /// Six digits.
    pub totp: String,
}

/// What stands in for a lost second factor.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodes {
    /// Each is good once; shown this once. Empty where the caller has some already.
    pub recovery_codes: Vec<String>,
    /// The session's token from now on, where it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// How a link reaches its user.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// Whether it is sent to the user's address, and not shown.
    #[serde(default)]
    pub send: bool,
}

/// A link by which a user sets a password.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct OneTimeLink {
    /// What stands in the link; shown this once. Not there when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `invitation` or `password_reset`.
    pub purpose: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// The use of a one-time link.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkUse {
    /// What stands in the link.
    pub token: String,
    /// The password to have: 12 to 256 characters, not guessed early, none of the last six.
    pub password: String,
}
