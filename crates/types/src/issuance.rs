//! What is asked of Secure, and what it answers: the documents that travel between the two services.
//!
//! They travel as canonical JSON (RFC 8785): the mandate's digest covers their exact octets.

use serde::{Deserialize, Serialize};

use crate::{
    AuthorityId, CertificateId, CertificateStatus, KeyAlgorithm, KeySource, OperationId, OrganizationId,
    PolicyId, RequestId, RevocationReason, Time, UserId, WorkflowInstanceId,
};

/// The certificate that is asked for, complete: nothing is added to it later but serial, key and dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// Public identity of the request in both databases.
    pub request_id: RequestId,
    /// Whose certificate.
    pub organization_id: OrganizationId,
    /// Who asks.
    pub requester_user_id: UserId,
    /// Who answers for it.
    pub owner_user_id: UserId,
    /// The policy that governs it.
    pub policy_id: PolicyId,
    /// That policy's version.
    pub policy_version: i32,
    /// The workflow that carries it.
    pub workflow_instance_id: WorkflowInstanceId,
    /// The authority that shall sign.
    pub authority_id: AuthorityId,
    /// Profile name.
    pub profile: String,
    /// Where the key comes from.
    pub key_source: KeySource,
    /// PKCS#10 in DER, base64; with `key_source` `csr` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// With `key_source` `generated` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Subject as RFC 4514 text; may be empty.
    pub subject: String,
    /// Subject alternative names, `dns:…`, `ip:…`, `email:…`, `uri:…`.
    pub sans: Vec<String>,
    /// Requested lifetime in seconds from issuance.
    pub validity_seconds: u64,
    /// The certificate that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_of: Option<CertificateId>,
}

/// The revocation, hold or release that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationSpec {
    /// Which certificate.
    pub certificate_id: CertificateId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// `removeFromCRL` releases a hold.
    pub reason: RevocationReason,
    /// Since when the key is suspected (RFC 5280 §5.3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalidity_date: Option<Time>,
    /// Who asks.
    pub requested_by: UserId,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl RevocationSpec {
    /// Earliest invalidity date that a revocation list can say: 1950-01-01 (RFC 5280 §4.1.2.5).
    pub const EARLIEST_INVALIDITY_DATE: Time = match chrono::DateTime::from_timestamp(-631_152_000, 0) {
        Some(date) => date,
        None => chrono::DateTime::UNIX_EPOCH,
    };
}

/// What Core may know of a certificate: everything public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Public identity.
    pub certificate_id: CertificateId,
    /// The request it came of.
    pub request_id: Option<RequestId>,
    /// The operation that made it.
    pub operation_id: OperationId,
    /// Whose.
    pub organization_id: Option<OrganizationId>,
    /// Who answers for it.
    pub owner_user_id: Option<UserId>,
    /// The policy that governed it.
    pub policy_id: Option<PolicyId>,
    /// Who signed it.
    pub authority_id: AuthorityId,
    /// Profile name.
    pub profile: String,
    /// Hexadecimal.
    pub serial_number: String,
    /// RFC 4514.
    pub subject: String,
    /// First common name.
    pub common_name: Option<String>,
    /// RFC 4514.
    pub issuer: String,
    /// `dns:…`, `ip:…`, `email:…`, `uri:…`.
    pub sans: Vec<String>,
    /// Of the subject's key.
    pub key_algorithm: KeyAlgorithm,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity, inclusive.
    pub not_after: Time,
    /// SHA-256 of the DER, hexadecimal.
    pub fingerprint_sha256: String,
    /// State in Secure.
    pub status: CertificateStatus,
    /// When it was revoked or put on hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Time>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_reason: Option<RevocationReason>,
    /// The certificate that this one replaces.
    pub renewal_of: Option<CertificateId>,
    /// The certificate that replaces this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_by: Option<CertificateId>,
    /// Whether Secure holds the private key.
    pub key_in_secure: bool,
}

/// A certificate with its encodings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Its description.
    pub record: CertificateRecord,
    /// The certificate, PEM.
    pub pem: String,
    /// Its issuers up to but without the root, PEM.
    pub chain_pem: String,
}

/// What a revocation, hold or release did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRecord {
    /// Which certificate.
    pub certificate_id: CertificateId,
    /// The operation that did it.
    pub operation_id: OperationId,
    /// Whose.
    pub organization_id: Option<OrganizationId>,
    /// Its issuer.
    pub authority_id: AuthorityId,
    /// Hexadecimal.
    pub serial_number: String,
    /// State now.
    pub status: CertificateStatus,
    /// RFC 5280 reason.
    pub reason: RevocationReason,
    /// When Secure recorded it.
    pub revoked_at: Time,
    /// Since when the key is suspected.
    pub invalidity_date: Option<Time>,
}

/// A new owner of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerChange {
    /// Which certificate.
    pub certificate_id: CertificateId,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Who answers for it from now on.
    pub to: UserId,
    /// Core's version of the metadata that says so: the later decision stays, whichever comes last.
    pub version: i64,
    /// Who decided it; the nil id is Core itself.
    pub changed_by: UserId,
}

/// An authority as Core and relying parties may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    /// Public identity.
    pub authority_id: AuthorityId,
    /// Unique name.
    pub name: String,
    /// Its issuer; none for a root.
    pub parent_id: Option<AuthorityId>,
    /// `active`, `suspended`, `retired`.
    pub status: String,
    /// RFC 4514.
    pub subject: String,
    /// Of its key.
    pub key_algorithm: KeyAlgorithm,
    /// Its own certificate, DER in base64.
    pub certificate: String,
    /// Its own certificate's identity.
    pub certificate_id: CertificateId,
    /// Start of its certificate's validity.
    pub not_before: Time,
    /// End of its certificate's validity.
    pub not_after: Time,
    /// Profiles that its envelope allows.
    pub profiles: Vec<String>,
    /// Longest validity that its envelope allows, in seconds.
    pub max_validity_seconds: u64,
    /// The authority that issues what this one cannot outlive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor_id: Option<AuthorityId>,
    /// Number of its newest CRL of all certificates.
    pub crl_number: i64,
    /// When the newest full CRL of all certificates is to be replaced.
    pub next_crl_at: Option<Time>,
    /// Parts that its CRLs are divided into; 0 for one list of all.
    #[serde(default)]
    pub crl_shards: u16,
    /// Whether it makes deltas to its full CRLs.
    #[serde(default)]
    pub delta_crls: bool,
}

/// An entry of Secure's outbox: what Core must reflect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "record")]
pub enum SecureEvent {
    /// A certificate was issued.
    #[serde(rename = "certificate.issued")]
    CertificateIssued(Box<CertificateRecord>),
    /// A certificate that other software issued was taken over with its authority.
    #[serde(rename = "certificate.imported")]
    CertificateImported(Box<CertificateRecord>),
    /// A certificate was revoked, put on hold or released.
    #[serde(rename = "certificate.revoked")]
    CertificateRevoked(RevocationRecord),
    /// Somebody else answers for a certificate.
    #[serde(rename = "certificate.owner_changed")]
    OwnerChanged(OwnerChange),
    /// A certificate was marked as past its end.
    #[serde(rename = "certificate.expired")]
    CertificateExpired {
        /// Which.
        certificate_id: CertificateId,
        /// Its end.
        not_after: Time,
    },
    /// The end of the audit chain was signed.
    #[serde(rename = "audit.checkpoint")]
    AuditCheckpoint(crate::checkpoint::AuditCheckpoint),
    /// A new CRL is ready.
    #[serde(rename = "crl.published")]
    CrlPublished {
        /// Whose.
        authority_id: AuthorityId,
        /// Its number.
        crl_number: i64,
    },
}

impl SecureEvent {
    /// The stable name, as in `events.kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CertificateIssued(_) => "certificate.issued",
            Self::CertificateImported(_) => "certificate.imported",
            Self::CertificateRevoked(_) => "certificate.revoked",
            Self::OwnerChanged(_) => "certificate.owner_changed",
            Self::CertificateExpired { .. } => "certificate.expired",
            Self::AuditCheckpoint(_) => "audit.checkpoint",
            Self::CrlPublished { .. } => "crl.published",
        }
    }
}

/// One entry of `secure_audit_log` as auditors see it through Core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecureAuditEntry {
    /// Its id.
    pub id: uuid::Uuid,
    /// Place in the chain, from 1.
    pub sequence: i64,
    /// When.
    pub occurred_at: Time,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// `certificate`, `request`, `authority`, `private_key`, …
    pub object_type: String,
    /// Which.
    pub object_id: Option<uuid::Uuid>,
    /// Whose.
    pub organization_id: Option<OrganizationId>,
    /// Of which operation.
    pub operation_id: Option<OperationId>,
    /// `allowed`, `refused`, `failed`.
    pub outcome: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// Chain hash, hexadecimal.
    pub chain_hash: String,
}
