//! How a certificate is made: prepared and linted, intended, signed, stored.

use clm_secure_db::certificates::{CertificateRow, CertificateView};
use clm_secure_db::intents::IntentRow;
use clm_secure_db::operations::{Completion, OperationRow};
use clm_secure_db::private_keys::NewPrivateKeyRow;
use clm_types::ids::new_uuid;
use clm_types::{
    AuthorityId, CertificateCategory, CertificateId, CertificateStatus, ErrorCode, IssuedCertificate,
    SecureEvent, SerialNumber,
};
use clm_x509::{Certificate, PreparedCertificate};
use fail::fail_point;
use serde_json::json;

use crate::committer::{EventDraft, Write};
use crate::custody::WrappedKey;
use crate::order::Order;
use crate::recall::Recalled;
use crate::requests::{check_csr, row};
use crate::{Secure, SecureError};

/// A certificate about to be signed: its intent is durable.
pub(crate) struct Intended {
    pub(crate) certificate_id: CertificateId,
    pub(crate) prepared: PreparedCertificate,
    pub(crate) wrapped: Option<WrappedKey>,
}

/// How an order begins.
enum Begun {
    /// It was done before.
    Before(Box<IssuedCertificate>),
    Now(Box<Intended>),
}

/// Times that an intent is tried while encryption keys are rotated under it.
const MOST_ATTEMPTS: u32 = 10;

impl Secure {
    /// Issues the certificate that `spec` asks for, once per operation id: a repeated call gets the first answer.
    ///
    /// `spec` and `mandate` are the canonical JSON octets of [`clm_types::CertificateSpec`] and [`clm_types::Mandate`].
    ///
    /// # Errors
    /// A refusal of the request, key, names, validity, mandate or envelope; `operation_id_reused`; or trouble of ours.
    pub async fn issue(&self, spec: &[u8], mandate: &[u8]) -> Result<IssuedCertificate, SecureError> {
        let order = self.check_order(spec, mandate).await?;
        let intended = match self.begin(&order).await? {
            Begun::Before(certificate) => return Ok(*certificate),
            Begun::Now(intended) => *intended,
        };
        fail_point!("secure_issue_after_intent");
        match self.sign_and_store(&order, intended).await {
            Err(error) if error.is_conflict() => match self.recall(&order).await? {
                Recalled::Issued(certificate) => Ok(*certificate),
                _ => Err(error),
            },
            outcome => outcome,
        }
    }

    /// Makes the intent durable, or finds what an earlier call with the same operation id left.
    async fn begin(&self, order: &Order) -> Result<Begun, SecureError> {
        let mut attempts = 1;
        loop {
            let error = match self.intend(order).await {
                Ok(intended) => return Ok(Begun::Now(Box::new(intended))),
                Err(error) if error.is_conflict() || matches!(error, SecureError::Refused(_)) => error,
                Err(error) => return Err(error),
            };
            match self.recall(order).await? {
                Recalled::Issued(certificate) => return Ok(Begun::Before(certificate)),
                Recalled::Intended(intended) if error.is_conflict() => return Ok(Begun::Now(intended)),
                // The encryption key was rotated between wrapping and commit: the next one is known now.
                Recalled::Nothing if error.is_conflict() && attempts < MOST_ATTEMPTS => attempts += 1,
                _ => return Err(self.refused(order, error).await),
            }
        }
    }

    /// An order beyond the envelope is an event that auditors must see.
    async fn refused(&self, order: &Order, error: SecureError) -> SecureError {
        match &error {
            SecureError::Refused(refusal) if refusal.code == ErrorCode::MandateOutsideEnvelope => {
                self.record_refusal(&order.mandate, "certificate.issue", refusal).await;
            }
            _ => {}
        }
        error
    }

    /// Builds and lints the certificate and makes the intent to sign it durable.
    async fn intend(&self, order: &Order) -> Result<Intended, SecureError> {
        order.authority.require_active()?;
        let Order { subject, names, .. } = order;
        if let Some(old) = order.spec.renewal_of {
            self.certificate_of(old, order.spec.organization_id).await?;
        }
        let csr = check_csr(&order.spec)?;
        let key = self.subject_key(&order.spec, csr.as_ref()).await?;
        self.require_unblocked(&key.public).await?;
        let algorithm = key.public.algorithm();
        order.authority.envelope.check(&order.spec, &order.mandate, algorithm, subject, names)?;
        let serial = SerialNumber::generate(&self.parts.entropy);
        let shard = order.authority.shard_for(&serial);
        let prepared = order.prepare(&serial, &key.public, order.now, shard)?;
        let certificate_id = CertificateId::generate(order.now, &self.parts.entropy);
        let detail = json!({
            "serial": serial.to_string(), "tbs_sha256": hex::encode(prepared.digest()), "profile": order.spec.profile,
        });
        let mut audit = vec![order.audit("certificate.intend", certificate_id, &detail)];
        audit.extend(key.accessed.map(|id| order.key_reused(id)));
        let write = Write {
            issuing_requests: vec![row(&order.spec, csr.as_ref(), Some(&key.public), &order.arrival())],
            intents: vec![self.intent_row(order, certificate_id, &serial, &prepared, key.wrapped.as_ref())],
            key_accesses: key.accessed.into_iter().collect(),
            operations: vec![self.operation_row(order)],
            audit,
            ..Write::default()
        };
        self.commit(write).await.inspect_err(|_| self.parts.custody.forget_active())?;
        Ok(Intended { certificate_id, prepared, wrapped: key.wrapped })
    }

    fn intent_row(
        &self,
        order: &Order,
        certificate_id: CertificateId,
        serial: &SerialNumber,
        prepared: &PreparedCertificate,
        wrapped: Option<&WrappedKey>,
    ) -> IntentRow {
        IntentRow {
            id: new_uuid(order.now, &self.parts.entropy),
            operation_id: order.mandate.operation_id.into(),
            request_id: Some(order.spec.request_id.into()),
            authority_id: order.spec.authority_id.into(),
            certificate_id: certificate_id.into(),
            serial_number: serial.as_bytes().to_vec(),
            tbs_der: prepared.tbs_der().to_vec(),
            tbs_sha256: prepared.digest().to_vec(),
            profile: order.spec.profile.clone(),
            profile_hash: order.profile.version_hash().to_vec(),
            private_key_id: wrapped.map(|key| key.private_key_id.into()),
            wrapped_private_key: wrapped.map(|key| key.ciphertext.clone()),
            encryption_key_id: wrapped.map(|key| key.encryption_key_id),
            state: "open".into(),
            created_at: order.now,
        }
    }

    async fn sign_and_store(
        &self,
        order: &Order,
        intended: Intended,
    ) -> Result<IssuedCertificate, SecureError> {
        let tbs = intended.prepared.tbs_der().to_vec();
        let signature = self.sign_by(&order.authority, &tbs).await?;
        let certificate = intended.prepared.sign_with(|_| Ok::<_, SecureError>(signature))?;
        fail_point!("secure_issue_after_sign");
        let row = self.certificate_row(order, intended.certificate_id, &certificate);
        let view = view_of(order.authority.id(), &row, intended.wrapped.is_some());
        let record = crate::certificates::record(&view)?;
        let operation_id = order.mandate.operation_id;
        let outcome = json!({ "certificate_id": intended.certificate_id, "fingerprint_sha256": record.fingerprint_sha256 });
        let write = Write {
            private_keys: intended.wrapped.map(|_| private_key_row(order, &row)).into_iter().collect(),
            completions: vec![Completion { operation_id: operation_id.into(), outcome: outcome.clone() }],
            audit: vec![order.audit("certificate.issue", intended.certificate_id, &outcome)],
            events: vec![EventDraft {
                operation_id,
                certificate_id: Some(intended.certificate_id),
                organization_id: Some(order.spec.organization_id),
                event: SecureEvent::CertificateIssued(Box::new(record.clone())),
            }],
            certificates: vec![row],
            ..Write::default()
        };
        self.commit(write).await?;
        fail_point!("secure_issue_after_store");
        tracing::info!(certificate_id = %record.certificate_id, %operation_id, "issued a certificate");
        Ok(IssuedCertificate {
            record,
            pem: certificate.pem(),
            chain_pem: self.chain_of(order.authority.id()).await?,
        })
    }

    fn certificate_row(
        &self,
        order: &Order,
        certificate_id: CertificateId,
        certificate: &Certificate,
    ) -> CertificateRow {
        let authority = &order.authority;
        CertificateRow {
            request_id: Some(order.spec.request_id.into()),
            organization_id: Some(order.spec.organization_id.into()),
            owner_user_id: Some(order.spec.owner_user_id.into()),
            policy_id: Some(order.spec.policy_id.into()),
            renewal_of_certificate_id: order.spec.renewal_of.map(Into::into),
            crl_shard: Some(authority.shard_of(certificate.tbs_der())).filter(|shard| *shard > 0),
            ..crate::certificates::new_row(&crate::certificates::NewCertificate {
                id: new_uuid(order.now, &self.parts.entropy),
                certificate_id,
                authority_id: authority.id(),
                operation_id: order.mandate.operation_id,
                issuer_certificate_id: Some(CertificateId(authority.row.certificate_id)),
                profile: &order.spec.profile,
                category: CertificateCategory::Leaf,
                certificate,
                issuer_algorithm: authority.issuer.public_key().algorithm(),
                now: order.now,
            })
        }
    }

    fn operation_row(&self, order: &Order) -> OperationRow {
        OperationRow {
            id: new_uuid(order.now, &self.parts.entropy),
            operation_id: order.mandate.operation_id.into(),
            kind: "issue".into(),
            request_sha256: order.request_sha256.clone(),
            mandate: Some(order.mandate_json.clone()),
            outcome: None,
            created_at: order.now,
        }
    }
}

fn private_key_row(order: &Order, certificate: &CertificateRow) -> NewPrivateKeyRow {
    NewPrivateKeyRow {
        operation_id: certificate.operation_id,
        organization_id: Some(order.spec.organization_id.into()),
        encryption_algorithm: crate::wrapping::ALGORITHM.into(),
        key_algorithm: certificate.key_algorithm.clone(),
        key_size: certificate.key_size,
        public_key_sha256: certificate.public_key_sha256.clone(),
        created_at: order.now,
    }
}

/// The view that the database would give of a row just written.
fn view_of(authority_id: AuthorityId, row: &CertificateRow, key_in_secure: bool) -> CertificateView {
    CertificateView {
        certificate_id: row.certificate_id,
        authority_id: authority_id.into(),
        request_id: row.request_id,
        operation_id: row.operation_id,
        issuer_certificate_id: row.issuer_certificate_id,
        organization_id: row.organization_id,
        owner_user_id: row.owner_user_id,
        owner_version: 0,
        policy_id: row.policy_id,
        profile: row.profile.clone(),
        category: row.category.clone(),
        serial_number: row.serial_number.clone(),
        subject: row.subject.clone(),
        issuer: row.issuer.clone(),
        common_name: row.common_name.clone(),
        sans: row.sans.clone(),
        pem_encoded_cert: row.pem_encoded_cert.clone(),
        der_encoded_cert: row.der_encoded_cert.clone(),
        fingerprint_sha256: row.fingerprint_sha256.clone(),
        key_algorithm: row.key_algorithm.clone(),
        not_before: row.not_before,
        not_after: row.not_after,
        status: CertificateStatus::Active.as_str().into(),
        revoked_at: None,
        revocation_reason: None,
        renewal_of_certificate_id: row.renewal_of_certificate_id,
        renewed_by_certificate_id: None,
        of_authority: false,
        key_in_secure,
    }
}
