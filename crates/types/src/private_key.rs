//! Private keys that Secure holds for certificates: what may be ordered about them, and the forms in which they travel.
//!
//! A private key travels only sealed (HPKE, RFC 9180, base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM), to
//! Secure or to whoever asked for it. Core passes it on and can open neither.

use serde::{Deserialize, Serialize};

use crate::{CertificateId, KeyAlgorithm, OperationId, OrganizationId, Time, UserId, text_enum};

/// HPKE `info` of a key on its way into Secure.
pub const IMPORT_INFO: &[u8] = b"clm/private-key-import/1";

/// HPKE `info` of a key on its way out of Secure.
pub const EXPORT_INFO: &[u8] = b"clm/private-key-export/1";

/// HPKE `aad`: a sealed key belongs to one certificate.
pub fn sealed_for(certificate_id: CertificateId) -> Vec<u8> {
    certificate_id.to_string().into_bytes()
}

/// Octets sealed to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The encapsulated key, base64.
    pub encapsulated: String,
    /// The ciphertext, base64.
    pub ciphertext: String,
}

/// The public key that keys are sealed to on their way into Secure. It lives as long as Secure's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportKey {
    /// Names it when something is sent.
    pub id: String,
    /// Uncompressed P-256 point, base64.
    pub public_key: String,
}

/// A change to a certificate's private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyChange {
    /// Stores a key that was made elsewhere.
    Import {
        /// The transport key that it is sealed to.
        transport_key_id: String,
        /// The key as PKCS#8 DER, sealed.
        sealed: Sealed,
    },
    /// Sets who may export it.
    SetAccess {
        /// Whether it may leave Secure at all.
        exportable: bool,
        /// The users who may; empty for everybody with the permission.
        users: Vec<UserId>,
    },
    /// Deletes it: it is used no more, and erased for good once it has been kept for a while.
    Delete,
    /// Takes a deletion back, until it is erased.
    Restore,
}

/// The order to change a certificate's private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyOrder {
    /// Whose key.
    pub certificate_id: CertificateId,
    /// Whose certificate.
    pub organization_id: OrganizationId,
    /// Who orders it.
    pub ordered_by: UserId,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What shall be done.
    pub change: KeyChange,
}

text_enum! {
    /// Why a key shall leave Secure.
    pub enum KeyExportPurpose {
        /// Its user needs it.
        Export => "export",
        /// Its user is not there, or it was deleted: escrow.
        Recovery => "recovery",
    }
}

/// The order to hand out a private key. A mandate covers exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyExportSpec {
    /// Whose key.
    pub certificate_id: CertificateId,
    /// Whose certificate.
    pub organization_id: OrganizationId,
    /// Who asks, and may fetch it.
    pub requested_by: UserId,
    /// The public key that it will be sealed to: uncompressed P-256 point, base64.
    pub recipient: String,
    /// Why it shall leave Secure.
    pub purpose: KeyExportPurpose,
    /// The same in words.
    pub reason: String,
}

/// A key that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyExportGrant {
    /// The operation to fetch it by.
    pub operation_id: OperationId,
    /// Until when.
    pub until: Time,
}

/// A private key on its way to the recipient that was named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedKey {
    /// Whose key.
    pub certificate_id: CertificateId,
    /// Its algorithm.
    pub key_algorithm: KeyAlgorithm,
    /// The key as PKCS#8 DER, sealed to the recipient.
    pub sealed: Sealed,
}

/// What is known of a certificate's private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Whose key.
    pub certificate_id: CertificateId,
    /// Its algorithm.
    pub key_algorithm: KeyAlgorithm,
    /// `generated`, `imported`, `hsm`.
    pub origin: String,
    /// Whether it may leave Secure.
    pub exportable: bool,
    /// The users who may export it; empty for everybody with the permission.
    pub users: Vec<UserId>,
    /// How often it was used or exported.
    pub access_count: i64,
    /// When it was last used or exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accessed_at: Option<Time>,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// When it was erased for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<Time>,
    /// When it was stored.
    pub created_at: Time,
}
