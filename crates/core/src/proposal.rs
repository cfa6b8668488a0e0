//! The certificate that somebody asks for, as policies and workflows judge it.

use clm_types::{AuthorityId, KeyAlgorithm, KeySource, RoleId};
use clm_x509::{San, SubjectName};

/// Everything about a request that a policy or an auto-approval condition can speak of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedCertificate {
    /// Profile name.
    pub profile: String,
    /// Who shall sign.
    pub authority_id: AuthorityId,
    /// Its unique name.
    pub authority_name: String,
    /// Of the subject's key.
    pub key_algorithm: KeyAlgorithm,
    /// Where the key comes from.
    pub key_source: KeySource,
    /// The subject.
    pub subject: SubjectName,
    /// Subject alternative names.
    pub sans: Vec<San>,
    /// Lifetime in seconds.
    pub validity_seconds: u64,
    /// The roles of the requester that are valid now.
    pub requester_role_ids: Vec<RoleId>,
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use clm_types::Entropy;

    /// A TLS server certificate of 90 days for `www.example.com`.
    pub(crate) fn server() -> ProposedCertificate {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        ProposedCertificate {
            profile: "tls-server".to_owned(),
            authority_id: AuthorityId::generate(now, &Entropy::seeded(1)),
            authority_name: "issuing".to_owned(),
            key_algorithm: KeyAlgorithm::EcdsaP256,
            key_source: KeySource::Csr,
            subject: "CN=www.example.com,O=Example,C=DE".parse().unwrap(),
            sans: vec![San::dns("www.example.com").unwrap()],
            validity_seconds: 90 * 86_400,
            requester_role_ids: vec![crate::roles::REQUESTER],
        }
    }
}
