//! The key that will be certified: the requester's, a new one of ours, or that of the certificate being renewed.

use clm_secure_db::private_keys::PrivateKeyRow;
use clm_types::{CertificateSpec, CertificateStatus, ErrorCode, KeySource, Refusal};
use clm_x509::foreign::ForeignCertificate;
use clm_x509::{Csr, PublicKey};
use uuid::Uuid;

use crate::custody::{Purpose, WrappedKey};
use crate::private_keys::PrivateKey;
use crate::{Secure, SecureError};

/// The public half, and what Secure keeps of the private one.
pub(crate) struct SubjectKey {
    pub(crate) public: PublicKey,
    /// When Secure holds the private half.
    pub(crate) wrapped: Option<WrappedKey>,
    /// The stored private key that was opened to get here.
    pub(crate) accessed: Option<Uuid>,
}

impl SubjectKey {
    const fn of_requester(public: PublicKey) -> Self {
        Self { public, wrapped: None, accessed: None }
    }
}

impl Secure {
    /// The key that `spec` speaks of.
    pub(crate) async fn subject_key(
        &self,
        spec: &CertificateSpec,
        csr: Option<&Csr>,
    ) -> Result<SubjectKey, SecureError> {
        match (spec.key_source, csr, spec.key_algorithm) {
            (KeySource::Csr, Some(csr), _) => Ok(SubjectKey::of_requester(csr.public_key().clone())),
            (KeySource::Generated, None, Some(algorithm)) => {
                let key = self.new_private_key(algorithm).await?;
                self.keep(spec, &key, None).await
            }
            (KeySource::Reused, None, _) => self.reused_key(spec).await,
            _ => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the key source does not fit what was sent")
                    .into())
            }
        }
    }

    async fn keep(
        &self,
        spec: &CertificateSpec,
        key: &PrivateKey,
        accessed: Option<Uuid>,
    ) -> Result<SubjectKey, SecureError> {
        let wrapped = self.wrap_private_key(Purpose::Certificates, Some(spec.organization_id), key).await?;
        Ok(SubjectKey { public: key.public().clone(), wrapped: Some(wrapped), accessed })
    }

    /// The key of the certificate that is renewed; kept again, if Secure has it.
    async fn reused_key(&self, spec: &CertificateSpec) -> Result<SubjectKey, SecureError> {
        let old = spec
            .renewal_of
            .ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, "only a renewal can reuse a key"))?;
        let old = self.certificate_of(old, spec.organization_id).await?;
        if old.status != CertificateStatus::Active.as_str() {
            let detail = format!("the certificate to be renewed is {}", old.status);
            return Err(Refusal::new(ErrorCode::CertificateNotActive, detail)
                .hint("ask for a new key")
                .into());
        }
        if let Some(row) = self.stored_key(old.certificate_id).await? {
            let key = self.unwrap_private_key(&row).await?;
            return self.keep(spec, &key, Some(row.id)).await;
        }
        let certificate = ForeignCertificate::parse(&old.der_encoded_cert)?;
        Ok(SubjectKey::of_requester(certificate.public_key))
    }

    /// The wrapped key of a certificate, if Secure holds one.
    pub(crate) async fn stored_key(
        &self,
        certificate_id: Uuid,
    ) -> Result<Option<PrivateKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(clm_secure_db::private_keys::find(&mut conn, certificate_id).await?)
    }
}
