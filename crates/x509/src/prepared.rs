//! The one-use token between lint and signature.

use crate::{
    certificate::Certificate,
    encode,
    issuer::IssuerInfo,
    lint,
    profile::Profile,
    public_key::sha256,
    tbs::{self, AuthorityUrls, CertificateTemplate, TbsCertificate},
};
use clm_types::{ErrorCode, Refusal};

/// A to-be-signed certificate that has passed the lint. It cannot be copied, and signing uses it up.
#[derive(Debug)]
pub struct PreparedCertificate {
    tbs: TbsCertificate,
    issuer: IssuerInfo,
}

/// Builds the octets to be signed and lints them.
///
/// # Errors
/// What profile and issuer do not allow, see [`Profile::check`]; `validity_beyond_authority`,
/// `path_length_exceeded`, `profile_invalid`, `lint_failed`.
pub fn prepare(template: &CertificateTemplate<'_>) -> Result<PreparedCertificate, Refusal> {
    let tbs = tbs::build(template)?;
    PreparedCertificate::linted(tbs, template.profile, template.issuer, template.urls)
}

impl PreparedCertificate {
    /// Takes up octets that were prepared and stored earlier, and lints them again.
    ///
    /// # Errors
    /// `lint_failed`.
    pub fn resume(
        tbs_der: Vec<u8>,
        profile: &Profile,
        issuer: &IssuerInfo,
        urls: &AuthorityUrls,
    ) -> Result<Self, Refusal> {
        let tbs = TbsCertificate { digest: sha256(&tbs_der), der: tbs_der };
        Self::linted(tbs, profile, issuer, urls)
    }

    fn linted(
        tbs: TbsCertificate,
        profile: &Profile,
        issuer: &IssuerInfo,
        urls: &AuthorityUrls,
    ) -> Result<Self, Refusal> {
        let findings = lint::lint_tbs(&tbs.der, profile, issuer, urls);
        if findings.is_empty() {
            return Ok(Self { tbs, issuer: issuer.clone() });
        }
        let list: Vec<String> =
            findings.iter().map(|finding| format!("{}: {}", finding.rule, finding.detail)).collect();
        Err(Refusal::new(ErrorCode::LintFailed, list.join("; ")))
    }

    /// The octets to be signed: what the intent records before the signature.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs.der
    }

    /// SHA-256 of the octets to be signed.
    pub const fn digest(&self) -> [u8; 32] {
        self.tbs.digest
    }

    /// Has the octets signed, verifies the signature under the issuer's key, and puts the certificate
    /// together.
    ///
    /// # Errors
    /// What `sign` gives; `signature_invalid` when the signature is not by the issuer's key (a wrong key, or
    /// a fault of the signer).
    pub fn sign_with<E: From<Refusal>>(
        self,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Certificate, E> {
        let signature = sign(&self.tbs.der)?;
        let der = encode::signed(&self.tbs.der, &self.issuer.signature_algorithm_der(), &signature);
        let certificate = Certificate::parse(&der)?;
        certificate.verify_signed_by(&self.issuer)?;
        if certificate.tbs_der() == self.tbs.der {
            Ok(certificate)
        } else {
            Err(Refusal::new(ErrorCode::LintFailed, "the certificate does not hold the linted octets").into())
        }
    }
}
