//! Passkeys. What goes to a browser and comes back from it has the form of Web Authentication Level 3, section 5.1:
//! `PublicKeyCredential.parseCreationOptionsFromJSON`, `parseRequestOptionsFromJSON` and `toJSON`. Octets are base64url without
//! padding.

use chrono::{DateTime, Utc};
use clm_types::PasskeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Who makes a passkey.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyStart {
    /// The caller's password, unless a second factor was shown in the last five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<String>,
}

/// For `navigator.credentials.create`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasskeyCreation {
    /// Whom it is made for.
    pub rp: RelyingParty,
    /// Whose it will be.
    pub user: PasskeyUser,
    /// Answered within five minutes, in the session that asked.
    pub challenge: String,
    /// Kinds of keys, the preferred one first.
    pub pub_key_cred_params: Vec<KeyKind>,
    /// Milliseconds.
    pub timeout: u32,
    /// Passkeys that there are.
    pub exclude_credentials: Vec<KnownPasskey>,
    /// What the authenticator must be able to do.
    pub authenticator_selection: AuthenticatorSelection,
    /// `none`: which authenticator it is does not matter.
    pub attestation: String,
}

/// Whom passkeys are made for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RelyingParty {
    /// Host name.
    pub id: String,
    /// Name to show.
    pub name: String,
}

/// Whose a passkey is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasskeyUser {
    /// The 16 octets of the user's id.
    pub id: String,
    /// Name to sign in with.
    pub name: String,
    /// Name to show.
    pub display_name: String,
}

/// A kind of key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyKind {
    /// `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// COSE algorithm.
    pub alg: i64,
}

/// A passkey that a browser is told of.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KnownPasskey {
    /// `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The authenticator's name for it.
    pub id: String,
    /// How the authenticator is reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<String>,
}

/// What an authenticator must be able to do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticatorSelection {
    /// `required`: it finds the passkey without being told which.
    pub resident_key: String,
    /// `required`: it knows its user by a PIN or a finger.
    pub user_verification: String,
}

/// For `navigator.credentials.get`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasskeyRequest {
    /// Answered within five minutes, once.
    pub challenge: String,
    /// Milliseconds.
    pub timeout: u32,
    /// Host name of the relying party.
    pub rp_id: String,
    /// The passkeys that are asked for; empty: any.
    pub allow_credentials: Vec<KnownPasskey>,
    /// `required`.
    pub user_verification: String,
}

/// A passkey that a browser has made.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPasskey {
    /// What its owner calls it, 1 to 100 characters.
    pub name: String,
    /// What `navigator.credentials.create` gave, by `toJSON`.
    pub credential: RegistrationResponse,
}

/// `RegistrationResponseJSON`; what else stands in it is not read.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct RegistrationResponse {
    /// What the authenticator answered.
    pub response: AttestationResponse,
}

/// What an authenticator answered.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct AttestationResponse {
    /// What the browser asked it.
    #[serde(rename = "clientDataJSON")]
    pub client_data_json: String,
    /// The new passkey.
    #[serde(rename = "attestationObject")]
    pub attestation_object: String,
    /// How it is reached.
    #[serde(default)]
    pub transports: Vec<String>,
}

/// A sign-in with a passkey.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeySignIn {
    /// What `navigator.credentials.get` gave, by `toJSON`.
    pub credential: AuthenticationResponse,
}

/// `AuthenticationResponseJSON`; what else stands in it is not read.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct AuthenticationResponse {
    /// The authenticator's name for the passkey.
    pub id: String,
    /// What the authenticator answered.
    pub response: AssertionResponse,
}

/// What an authenticator answered.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssertionResponse {
    /// What the browser asked it.
    #[serde(rename = "clientDataJSON")]
    pub client_data_json: String,
    /// What it says of itself.
    pub authenticator_data: String,
    /// Over both.
    pub signature: String,
    /// Whose the passkey is, if it says so.
    #[serde(default)]
    pub user_handle: Option<String>,
}

/// A passkey.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Passkey {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: PasskeyId,
    /// What its owner calls it.
    pub name: String,
    /// AAGUID: the model of the authenticator, zeros where it does not say.
    pub authenticator_model: Uuid,
    /// Whether it is copied to other devices of its owner.
    pub backed_up: bool,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A new passkey, and what is shown once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct AddedPasskey {
    /// The passkey.
    pub passkey: Passkey,
    /// The session's token from now on; the one before has ended.
    pub token: String,
    /// Each stands in once for a lost factor; none are given to who has some already.
    pub recovery_codes: Vec<String>,
}
