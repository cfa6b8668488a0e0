//! Certificates as they are stored and shown.

use clm_secure_db::certificates::{self, CertificateRow, CertificateView};
use clm_types::{
    AuthorityId, CertificateCategory, CertificateId, CertificateRecord, ErrorCode, IssuedCertificate,
    KeyAlgorithm, OperationId, OrganizationId, Refusal, Time,
};
use clm_x509::Certificate;
use uuid::Uuid;

use crate::{Secure, SecureError};

/// Longest chain that is followed.
const LONGEST_CHAIN: usize = 8;

/// What a new row is made of.
pub(crate) struct NewCertificate<'a> {
    pub(crate) id: Uuid,
    pub(crate) certificate_id: CertificateId,
    pub(crate) authority_id: AuthorityId,
    pub(crate) operation_id: OperationId,
    pub(crate) issuer_certificate_id: Option<CertificateId>,
    pub(crate) profile: &'a str,
    pub(crate) category: CertificateCategory,
    pub(crate) certificate: &'a Certificate,
    pub(crate) issuer_algorithm: KeyAlgorithm,
    pub(crate) now: Time,
}

/// The row of a new certificate that belongs to nobody yet.
pub(crate) fn new_row(new: &NewCertificate<'_>) -> CertificateRow {
    let certificate = new.certificate;
    let key = certificate.public_key();
    CertificateRow {
        id: new.id,
        certificate_id: new.certificate_id.into(),
        authority_id: Some(new.authority_id.into()),
        request_id: None,
        operation_id: new.operation_id.into(),
        issuer_certificate_id: new.issuer_certificate_id.map(Into::into),
        organization_id: None,
        owner_user_id: None,
        policy_id: None,
        profile: new.profile.to_owned(),
        category: new.category.as_str().into(),
        serial_number: certificate.serial().as_bytes().to_vec(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        common_name: certificate.subject().common_name().map(str::to_owned),
        sans: certificate.names().iter().map(ToString::to_string).collect(),
        pem_encoded_cert: certificate.pem(),
        der_encoded_cert: certificate.der().to_vec(),
        fingerprint_sha256: certificate.fingerprint().to_vec(),
        signature_algorithm: clm_x509::algorithm::signature_name(new.issuer_algorithm).into(),
        key_algorithm: key.algorithm().as_str().into(),
        key_size: i32::try_from(key.algorithm().bits()).unwrap_or(i32::MAX),
        public_key_sha256: key.fingerprint().to_vec(),
        subject_key_id: certificate.subject_key_identifier().map(<[u8]>::to_vec),
        authority_key_id: certificate.authority_key_identifier().map(<[u8]>::to_vec),
        is_ca: certificate.is_ca(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        renewal_of_certificate_id: None,
        crl_shard: None,
        created_at: new.now,
    }
}

/// What Core may know of a stored certificate.
pub(crate) fn record(view: &CertificateView) -> Result<CertificateRecord, SecureError> {
    let damaged = |what: &str| SecureError::Damaged(format!("{what} of certificate {}", view.certificate_id));
    Ok(CertificateRecord {
        certificate_id: view.certificate_id.into(),
        request_id: view.request_id.map(Into::into),
        operation_id: view.operation_id.into(),
        organization_id: view.organization_id.map(Into::into),
        owner_user_id: view.owner_user_id.map(Into::into),
        policy_id: view.policy_id.map(Into::into),
        authority_id: view.authority_id.into(),
        profile: view.profile.clone(),
        serial_number: hex::encode(&view.serial_number),
        subject: view.subject.clone(),
        common_name: view.common_name.clone(),
        issuer: view.issuer.clone(),
        sans: serde_json::from_value(view.sans.clone()).map_err(|_| damaged("the names"))?,
        key_algorithm: view.key_algorithm.parse().map_err(|_| damaged("the key algorithm"))?,
        not_before: view.not_before,
        not_after: view.not_after,
        fingerprint_sha256: hex::encode(&view.fingerprint_sha256),
        status: view.status.parse().map_err(|_| damaged("the status"))?,
        revoked_at: view.revoked_at,
        revocation_reason: view
            .revocation_reason
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|_| damaged("the revocation reason"))?,
        renewal_of: view.renewal_of_certificate_id.map(Into::into),
        renewed_by: view.renewed_by_certificate_id.map(Into::into),
        key_in_secure: view.key_in_secure && !view.of_authority,
    })
}

impl Secure {
    /// A certificate with its encodings.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_certificate(
        &self,
        id: CertificateId,
    ) -> Result<Option<IssuedCertificate>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let Some(view) = certificates::find(&mut conn, id.into()).await? else {
            return Ok(None);
        };
        drop(conn);
        let chain_pem = self.chain_of(view.authority_id.into()).await?;
        Ok(Some(IssuedCertificate { record: record(&view)?, pem: view.pem_encoded_cert, chain_pem }))
    }

    /// The certificate of an organization; another organization's is not found.
    pub(crate) async fn certificate_of(
        &self,
        id: CertificateId,
        organization_id: OrganizationId,
    ) -> Result<CertificateView, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let view = certificates::find(&mut conn, id.into()).await?;
        view.filter(|view| view.organization_id == Some(organization_id.into())).ok_or_else(|| {
            Refusal::new(ErrorCode::CertificateNotFound, "there is no such certificate")
                .field("/certificate_id")
                .into()
        })
    }

    /// PEM of the authorities from `authority` up to, but without, the root.
    pub(crate) async fn chain_of(&self, authority: AuthorityId) -> Result<String, SecureError> {
        let mut pem = String::new();
        let mut next = Some(authority);
        for _ in 0..LONGEST_CHAIN {
            let Some(id) = next else { break };
            let authority = match self.authority(id).await {
                // One that is being imported serves nobody yet.
                Err(SecureError::Refused(refusal)) if refusal.code == ErrorCode::AuthorityNotFound => break,
                found => found?,
            };
            next = authority.row.parent_authority_id.map(Into::into);
            if !authority.certificate.is_self_issued() {
                pem.push_str(&authority.certificate.pem());
            }
            pem.push_str(authority.row.issuer_chain_pem.as_deref().unwrap_or_default());
        }
        Ok(pem)
    }
}
