//! Certificates: the inventory, downloads, revocation, renewal.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clm_types::{
    AuthorityId, CertificateId, CertificateStatus, Change, KeyAlgorithm, OperationId, OrganizationId,
    PolicyId, RequestId, RevocationReason, UserId,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// A certificate of the inventory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// Its identity.
    #[schema(value_type = Uuid)]
    pub id: CertificateId,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// Who answers for it; absent when unknown.
    #[schema(value_type = Option<Uuid>)]
    pub owner_user_id: Option<UserId>,
    /// The owner's username; `unknown owner` when the reference leads nowhere.
    pub owner: Option<String>,
    /// The request it came of.
    #[schema(value_type = Option<Uuid>)]
    pub request_id: Option<RequestId>,
    /// The operation that made it.
    #[schema(value_type = Option<Uuid>)]
    pub operation_id: Option<OperationId>,
    /// The policy that governed it.
    #[schema(value_type = Option<Uuid>)]
    pub policy_id: Option<PolicyId>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// Who signed it.
    #[schema(value_type = Option<Uuid>)]
    pub authority_id: Option<AuthorityId>,
    /// Profile name.
    pub profile: String,
    /// The organization's own category.
    pub category: String,
    /// Where it is used.
    pub environment: Option<String>,
    /// Serial number, lower-case hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// First common name of the subject.
    pub common_name: Option<String>,
    /// `dns:…`, `ip:…`, `email:…`, `uri:…`.
    pub sans: Vec<String>,
    /// Algorithm of its key.
    pub key_algorithm: String,
    /// Where its key came from: `csr`, `generated`, `reused`.
    pub key_source: Option<String>,
    /// Start of validity.
    pub not_before: DateTime<Utc>,
    /// End of validity, inclusive.
    pub not_after: DateTime<Utc>,
    /// State.
    #[schema(schema_with = schema::certificate_status)]
    pub status: CertificateStatus,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Why: the words of RFC 5280.
    pub revocation_reason: Option<String>,
    /// The certificate it replaces.
    #[schema(value_type = Option<Uuid>)]
    pub renewal_of: Option<CertificateId>,
    /// The certificate that replaces it.
    #[schema(value_type = Option<Uuid>)]
    pub renewed_by: Option<CertificateId>,
    /// Names and values to find it by.
    pub tags: BTreeMap<String, String>,
    /// Fields of the organization's own.
    #[schema(value_type = Object)]
    pub custom_fields: serde_json::Value,
    /// What its owners wrote.
    pub notes: Option<String>,
    /// When it came into the inventory.
    pub created_at: DateTime<Utc>,
    /// When its metadata last changed.
    pub updated_at: DateTime<Utc>,
    /// Counts the changes of its metadata; the `ETag`.
    pub version: i64,
}

/// Which certificates to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CertificateQuery {
    /// Of which organization: its id, or `all`. The caller's own unless told; any other needs a role that is assigned
    /// for all organizations.
    #[param(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationFilter>,
    /// Only in this state.
    #[param(schema_with = schema::certificate_status)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateStatus>,
    /// Only of this owner.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// Only of this authority.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityId>,
    /// Only those that end before this moment (exclusive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_before: Option<DateTime<Utc>>,
    /// Only those that end at this moment or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<DateTime<Utc>>,
    /// Only those with this name, typed (`dns:www.example.com`) or as a plain DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub san: Option<String>,
    /// Only those with this tag: `name` or `name=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only those whose common name or serial number begins like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Whose certificates to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OrganizationFilter {
    /// Every organization's: `all`.
    All,
    /// One organization's, by its id.
    One(OrganizationId),
}

impl TryFrom<String> for OrganizationFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let id = text.parse().map_err(|_| "organization is an id (a UUID) or `all`".to_owned())?;
        Ok(Self::One(id))
    }
}

impl From<OrganizationFilter> for String {
    fn from(filter: OrganizationFilter) -> Self {
        match filter {
            OrganizationFilter::All => "all".to_owned(),
            OrganizationFilter::One(id) => id.to_string(),
        }
    }
}

/// Finds one certificate by what is printed on it: `sha256`, or `serial` with `authority`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CertificateLookup {
    /// SHA-256 of the DER, hexadecimal, with or without colons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Serial number, hexadecimal, with or without colons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The authority that signed it.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityId>,
}

/// New metadata of a certificate: what is absent stays, what is null is cleared.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateUpdate {
    /// The new owner; not null: somebody answers for a certificate.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub owner_user_id: Change<UserId>,
    /// All tags; null: none.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub tags: Change<BTreeMap<String, String>>,
    /// Where it is used; null: not said.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub environment: Change<String>,
    /// The organization's own category; null: `leaf`.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub category: Change<String>,
    /// All custom fields; null: none.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub custom_fields: Change<serde_json::Map<String, serde_json::Value>>,
    /// Notes; null: none.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub notes: Change<String>,
}

/// Revokes a certificate or puts it on hold.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// RFC 5280 reason; `certificateHold` can be released.
    #[schema(schema_with = schema::revocation_reason)]
    pub reason: RevocationReason,
    /// Since when the key is suspected (RFC 5280 §5.3.2); not in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalidity_date: Option<DateTime<Utc>>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Releases a certificate from hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Renews a certificate: with a new CSR, with a newly generated key, or (with neither) with the same key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// PKCS#10 in PEM with the new key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_pem: Option<String>,
    /// Algorithm of the key to generate.
    #[schema(schema_with = schema::key_algorithm)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Lifetime; the policy's default unless given.
    #[schema(minimum = 1)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_seconds: Option<u64>,
    /// A word to the approvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}
