//! Certificate authorities.

use chrono::{DateTime, Utc};
use clm_types::{AuthorityId, CertificateId, KeyAlgorithm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// A certificate authority.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Authority {
    /// Its identity.
    #[schema(value_type = Uuid)]
    pub id: AuthorityId,
    /// Unique name.
    pub name: String,
    /// Its issuer; absent for a root.
    #[schema(value_type = Option<Uuid>)]
    pub parent_id: Option<AuthorityId>,
    /// `active`, `suspended`, `retired`.
    pub status: String,
    /// RFC 4514.
    pub subject: String,
    /// Of its key.
    #[schema(schema_with = schema::key_algorithm)]
    pub key_algorithm: KeyAlgorithm,
    /// Its own certificate.
    #[schema(value_type = Uuid)]
    pub certificate_id: CertificateId,
    /// Its own certificate, PEM.
    pub certificate_pem: String,
    /// SHA-256 of that certificate's DER, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// Start of its certificate's validity.
    pub not_before: DateTime<Utc>,
    /// End of its certificate's validity.
    pub not_after: DateTime<Utc>,
    /// Profiles that it may issue.
    pub profiles: Vec<String>,
    /// Longest lifetime that it may issue.
    pub max_validity_seconds: u64,
    /// Number of its newest revocation list.
    pub crl_number: i64,
    /// When the newest revocation list is to be replaced.
    pub next_crl_at: Option<DateTime<Utc>>,
    /// Parts that its CRLs are divided into, at `{crl_url without .crl}/{part}.crl`; 0 for one list of all.
    pub crl_shards: u16,
    /// Whether there are deltas to its full CRLs, at `{crl_url without .crl}/{part}-delta.crl`; part 0 is the list of all.
    pub delta_crls: bool,
    /// Where its revocation list is served.
    pub crl_url: String,
    /// Where its OCSP responder is served.
    pub ocsp_url: String,
    /// Where its certificate is served.
    pub issuer_url: String,
}
