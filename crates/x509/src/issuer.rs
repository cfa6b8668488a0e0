//! What must be known of an authority to issue below it.

use crate::{algorithm, certificate::Certificate, name::SubjectName, public_key::PublicKey};
use chrono::{DateTime, Utc};
use clm_types::{ErrorCode, Refusal};

/// The public side of an authority: what its certificates, CRLs and OCSP responses refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerInfo {
    pub(crate) name_der: Vec<u8>,
    pub(crate) public_key: PublicKey,
    pub(crate) key_identifier: Vec<u8>,
    pub(crate) bounds: Option<Bounds>,
}

/// What the authority's own certificate sets bounds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) not_after: DateTime<Utc>,
    pub(crate) path_length: Option<u8>,
}

impl IssuerInfo {
    /// The authority that has this certificate. Its subject is taken octet by octet.
    ///
    /// # Errors
    /// `certificate_malformed` when it is not the certificate of an authority.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, Refusal> {
        let key_identifier = certificate.subject_key_identifier();
        let (true, Some(key_identifier)) = (certificate.is_ca(), key_identifier) else {
            return Err(Refusal::new(
                ErrorCode::CertificateMalformed,
                "the certificate is not that of an authority, or has no subject key identifier",
            ));
        };
        Ok(Self {
            name_der: certificate.subject_der().to_vec(),
            public_key: certificate.public_key().clone(),
            key_identifier: key_identifier.to_vec(),
            bounds: Some(Bounds {
                not_after: certificate.not_after(),
                path_length: certificate.path_length(),
            }),
        })
    }

    /// The authority that a self-signed root is about to be.
    pub fn self_signed(subject: &SubjectName, public_key: &PublicKey) -> Self {
        Self {
            name_der: subject.to_der(),
            public_key: public_key.clone(),
            key_identifier: public_key.key_identifier().to_vec(),
            bounds: None,
        }
    }

    /// DER of the authority's name.
    pub fn name_der(&self) -> &[u8] {
        &self.name_der
    }

    /// The authority's key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The authority's subject key identifier.
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    /// DER of the AlgorithmIdentifier of the authority's signatures.
    pub(crate) fn signature_algorithm_der(&self) -> Vec<u8> {
        algorithm::signature_algorithm_der(self.public_key.algorithm())
    }

    /// Whether the certificate to be issued is the authority's own, first one.
    pub(crate) const fn is_self_signed(&self) -> bool {
        self.bounds.is_none()
    }
}
