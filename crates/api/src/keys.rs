//! The private keys of certificates. They travel sealed (HPKE, RFC 9180, base mode: DHKEM(P-256, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM) as PKCS#8 DER; `aad` is the certificate's id as text.

use chrono::{DateTime, Utc};
use clm_types::{CertificateId, KeyAlgorithm, KeyExportPurpose, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// Octets sealed to one recipient.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The encapsulated key, base64.
    pub encapsulated: String,
    /// The ciphertext, base64.
    pub ciphertext: String,
}

/// The public key that private keys are sealed to on their way in; `info` is `clm/private-key-import/1`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TransportKey {
    /// Names it when something is sent.
    pub id: String,
    /// Uncompressed P-256 point, base64.
    pub public_key: String,
}

/// What is known of a certificate's private key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PrivateKey {
    /// Whose key.
    #[schema(value_type = Uuid)]
    pub certificate_id: CertificateId,
    /// Its algorithm.
    #[schema(schema_with = schema::key_algorithm)]
    pub key_algorithm: KeyAlgorithm,
    /// `generated`, `imported`, `hsm`.
    pub origin: String,
    /// Whether it may leave.
    pub exportable: bool,
    /// The users who may export it; empty for everybody with the permission.
    #[schema(value_type = Vec<Uuid>)]
    pub users: Vec<UserId>,
    /// How often it was used or exported.
    pub access_count: i64,
    /// When it was last used or exported.
    pub last_accessed_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When it was erased for good.
    pub destroyed_at: Option<DateTime<Utc>>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// A private key that was made elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyImport {
    /// The transport key that it is sealed to.
    pub transport_key_id: String,
    /// The key as PKCS#8 DER, sealed.
    pub sealed: Sealed,
}

/// Who may export a private key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAccess {
    /// Whether it may leave at all.
    pub exportable: bool,
    /// The users who may; empty for everybody with the permission.
    #[serde(default)]
    #[schema(value_type = Vec<Uuid>)]
    pub users: Vec<UserId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why a private key is restored.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyRestoration {
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which private key is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyExport {
    /// The public key that it shall be sealed to: uncompressed P-256 point, base64.
    pub recipient: String,
    /// `export`: its user needs it; `recovery`: its user is not there, or it was deleted.
    #[schema(schema_with = schema::key_export_purpose)]
    pub purpose: KeyExportPurpose,
    /// The same in words; the approvers read it.
    pub reason: String,
}

/// A private key, sealed to the recipient that was named; `info` is `clm/private-key-export/1`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExportedKey {
    /// Whose key.
    #[schema(value_type = Uuid)]
    pub certificate_id: CertificateId,
    /// Its algorithm.
    #[schema(schema_with = schema::key_algorithm)]
    pub key_algorithm: KeyAlgorithm,
    /// The key as PKCS#8 DER, sealed.
    pub sealed: Sealed,
}
