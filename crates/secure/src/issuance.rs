//! How a certificate is made: prepared and linted, intended, signed, stored.

use std::sync::Arc;

use clm_secure_db::certificates::{CertificateRow, CertificateView};
use clm_secure_db::intents::IntentRow;
use clm_secure_db::operations::OperationRow;
use clm_secure_db::private_keys::PrivateKeyRow;
use clm_types::ids::new_uuid;
use clm_types::{
    CertificateCategory, CertificateId, CertificateSpec, CertificateStatus, ErrorCode, IssuedCertificate,
    Mandate, PrivateKeyId, Refusal, SecureEvent, SerialNumber, Time,
};
use clm_x509::{Certificate, CertificateTemplate, PreparedCertificate, Profile, San, SubjectName, prepare};
use fail::fail_point;
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::committer::{EventDraft, Write};
use crate::custody::WrappedKey;
use crate::mandates::{self, request_digest};
use crate::requests::{Arrival, check_csr, row};
use crate::{Secure, SecureError};

/// A checked request for a certificate.
struct Order {
    spec: CertificateSpec,
    mandate: Mandate,
    mandate_json: serde_json::Value,
    request_sha256: Vec<u8>,
    authority: Arc<Authority>,
    profile: Profile,
    now: Time,
}

/// A certificate about to be signed: its intent is durable.
struct Intended {
    certificate_id: CertificateId,
    prepared: PreparedCertificate,
    wrapped: Option<WrappedKey>,
}

impl Secure {
    /// Issues the certificate that `spec` asks for, once per operation id: a repeated call gets the first answer.
    ///
    /// `spec` and `mandate` are the canonical JSON octets of [`CertificateSpec`] and [`Mandate`].
    ///
    /// # Errors
    /// A refusal of the request, key, names, validity, mandate or envelope; `operation_id_reused`; or trouble of ours.
    pub async fn issue(&self, spec: &[u8], mandate: &[u8]) -> Result<IssuedCertificate, SecureError> {
        let order = self.check_order(spec, mandate).await?;
        let intended = match self.intend(&order).await {
            // Seen before: the first call's certificate, or its intent, is the one that counts.
            Err(error) if error.is_conflict() => match self.recall(&order).await? {
                Recalled::Issued(certificate) => return Ok(*certificate),
                Recalled::Intended(intended) => *intended,
                Recalled::Nothing => return Err(error),
            },
            outcome => outcome?,
        };
        fail_point!("secure_issue_after_intent");
        let certificate_id = intended.certificate_id;
        match self.sign_and_store(&order, intended).await {
            Err(error) if error.is_conflict() => match self.recall(&order).await? {
                Recalled::Issued(certificate) => Ok(*certificate),
                _ => Err(error),
            },
            Err(error) => Err(error),
            Ok(issued) => {
                tracing::info!(%certificate_id, operation_id = %order.mandate.operation_id, "issued a certificate");
                Ok(issued)
            }
        }
    }

    async fn check_order(&self, spec_octets: &[u8], mandate_octets: &[u8]) -> Result<Order, SecureError> {
        let now = self.parts.clock.now();
        let spec: CertificateSpec = read("the request", spec_octets)?;
        let mandate: Mandate = read("the mandate", mandate_octets)?;
        mandates::check_issue(&mandate, &spec, spec_octets, now)?;
        let authority = self.authority(spec.authority_id).await?;
        authority.require_active()?;
        let profile = requestable(&spec.profile)?;
        let hash = hex::encode(profile.version_hash());
        if mandate.profile_hash.as_ref().is_some_and(|known| *known != hash) {
            let detail = format!("Core knows another version of the profile `{}`", spec.profile);
            return Err(Refusal::new(ErrorCode::MandateInvalid, detail)
                .hint("bring both services to the same release")
                .into());
        }
        let mandate_json =
            serde_json::from_slice(mandate_octets).map_err(|_| SecureError::Damaged("a mandate".into()))?;
        Ok(Order {
            spec,
            mandate,
            mandate_json,
            request_sha256: request_digest(spec_octets),
            authority,
            profile,
            now,
        })
    }

    /// Builds and lints the certificate and makes the intent to sign it durable.
    async fn intend(&self, order: &Order) -> Result<Intended, SecureError> {
        let subject: SubjectName =
            order.spec.subject.parse().map_err(|refusal: Refusal| refusal.field("/subject"))?;
        let names: Vec<San> =
            order.spec.sans.iter().map(|name| name.parse()).collect::<Result<_, Refusal>>()?;
        let csr = check_csr(&order.spec)?;
        let key = self.subject_key(&order.spec, csr.as_ref()).await?;
        let algorithm = key.public.algorithm();
        order.authority.envelope.check(&order.spec, &order.mandate, algorithm, &subject, &names)?;
        let serial = SerialNumber::generate(&self.parts.entropy);
        let seconds = i64::try_from(order.spec.validity_seconds).unwrap_or(i64::MAX);
        if seconds > 100 * 366 * 86_400 {
            return Err(Refusal::new(
                ErrorCode::ValidityTooLong,
                "no certificate lives longer than a century",
            )
            .into());
        }
        let prepared = prepare(&CertificateTemplate {
            serial: &serial,
            issuer: &order.authority.issuer,
            subject: &subject,
            names: &names,
            not_before: order.now,
            not_after: clm_x509::tbs::last_second(order.now, seconds),
            public_key: &key.public,
            profile: &order.profile,
            urls: &order.authority.urls,
        })?;
        let certificate_id = CertificateId::generate(order.now, &self.parts.entropy);
        let detail = json!({
            "serial": serial.to_string(), "tbs_sha256": hex::encode(prepared.digest()), "profile": order.spec.profile,
        });
        let mut audit = vec![order.audit("certificate.intend", certificate_id, &detail)];
        audit.extend(key.accessed.map(|id| key_reused(order, id)));
        let write = Write {
            issuing_requests: vec![row(&order.spec, csr.as_ref(), Some(&key.public), &order.arrival())],
            intents: vec![self.intent_row(order, certificate_id, &serial, &prepared, key.wrapped.as_ref())],
            key_accesses: key.accessed.into_iter().collect(),
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
            mandate: order.mandate_json.clone(),
            private_key_id: wrapped.map(|key| key.private_key_id.into()),
            wrapped_private_key: wrapped.map(|key| key.ciphertext.clone()),
            encryption_key_id: wrapped.map(|key| key.encryption_key_id),
            state: "open".into(),
            created_at: order.now,
        }
    }

    /// What an earlier call with the same operation id left.
    async fn recall(&self, order: &Order) -> Result<Recalled, SecureError> {
        let operation_id: Uuid = order.mandate.operation_id.into();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        if let Some(operation) = clm_secure_db::operations::find(&mut conn, operation_id).await? {
            same_request(&operation, "issue", &order.request_sha256)?;
            let id = clm_secure_db::certificates::find_by_operation(&mut conn, operation_id).await?;
            drop(conn);
            let issued =
                self.find_certificate(id.map_or_else(|| CertificateId(Uuid::nil()), CertificateId)).await?;
            let issued = issued.ok_or_else(|| {
                SecureError::Damaged(format!("operation {operation_id} has no certificate"))
            })?;
            return Ok(Recalled::Issued(Box::new(issued)));
        }
        let Some(intent) = clm_secure_db::intents::find(&mut conn, operation_id).await? else {
            let request =
                clm_secure_db::requests::find_state(&mut conn, order.spec.request_id.into()).await?;
            return match request {
                Some(request) => Err(crate::requests::refuse_repeat(&request, &order.request_sha256)),
                None => Ok(Recalled::Nothing),
            };
        };
        let request = clm_secure_db::requests::find_state(&mut conn, order.spec.request_id.into()).await?;
        if request.and_then(|request| request.request_sha256) != Some(order.request_sha256.clone()) {
            return Err(reused().into());
        }
        let prepared =
            PreparedCertificate::resume(intent.tbs_der.clone(), &order.profile, &order.authority.issuer)?;
        let certificate_id = CertificateId(intent.certificate_id);
        Ok(Recalled::Intended(Box::new(Intended { certificate_id, prepared, wrapped: wrapped_of(intent) })))
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
        let view = view_of(&row, intended.wrapped.is_some());
        let record = crate::certificates::record(&view)?;
        let operation_id = order.mandate.operation_id;
        let outcome = json!({ "certificate_id": intended.certificate_id, "fingerprint_sha256": record.fingerprint_sha256 });
        let write = Write {
            private_keys: intended
                .wrapped
                .map(|wrapped| private_key_row(order, &row, wrapped))
                .into_iter()
                .collect(),
            operations: vec![self.operation_row(order, outcome.clone())],
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

    fn operation_row(&self, order: &Order, outcome: serde_json::Value) -> OperationRow {
        OperationRow {
            id: new_uuid(order.now, &self.parts.entropy),
            operation_id: order.mandate.operation_id.into(),
            kind: "issue".into(),
            request_sha256: order.request_sha256.clone(),
            mandate: Some(order.mandate_json.clone()),
            outcome: Some(outcome),
            created_at: order.now,
        }
    }
}

enum Recalled {
    Issued(Box<IssuedCertificate>),
    Intended(Box<Intended>),
    Nothing,
}

impl Order {
    fn arrival(&self) -> Arrival<'_> {
        Arrival {
            operation_id: self.mandate.operation_id,
            request_sha256: &self.request_sha256,
            now: self.now,
        }
    }

    fn audit(
        &self,
        action: &'static str,
        certificate_id: CertificateId,
        detail: &serde_json::Value,
    ) -> AuditDraft {
        AuditDraft {
            occurred_at: self.now,
            actor: Actor::User(self.spec.requester_user_id),
            organization_id: Some(self.spec.organization_id),
            operation_id: Some(self.mandate.operation_id),
            action,
            object_type: "certificate",
            object_id: Some(certificate_id.into()),
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({
                "authority_id": self.spec.authority_id, "mandate_id": self.mandate.id,
                "request_sha256": hex::encode(&self.request_sha256), "result": detail,
            }),
        }
    }
}

/// A stored key was opened to be kept under a renewed certificate.
fn key_reused(order: &Order, private_key_id: Uuid) -> AuditDraft {
    AuditDraft {
        occurred_at: order.now,
        actor: Actor::User(order.spec.requester_user_id),
        organization_id: Some(order.spec.organization_id),
        operation_id: Some(order.mandate.operation_id),
        action: "private_key.reuse",
        object_type: "private_key",
        object_id: Some(private_key_id),
        outcome: Outcome::Allowed,
        reason: None,
        detail: json!({ "mandate_id": order.mandate.id, "renewal_of": order.spec.renewal_of }),
    }
}

/// A document that Core sent.
pub(crate) fn read<T: serde::de::DeserializeOwned>(what: &str, octets: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(octets)
        .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, format!("{what} cannot be read: {error}")))
}

/// A profile that may be asked for.
fn requestable(name: &str) -> Result<Profile, Refusal> {
    let known = clm_x509::profile::REQUESTABLE.contains(&name).then(|| Profile::built_in(name)).flatten();
    known.ok_or_else(|| {
        Refusal::new(ErrorCode::ProfileNotFound, format!("there is no profile `{name}`")).field("/profile")
    })
}

/// An operation id stands for one request.
pub(crate) fn same_request(
    operation: &OperationRow,
    kind: &str,
    request_sha256: &[u8],
) -> Result<(), Refusal> {
    if operation.kind == kind && operation.request_sha256 == request_sha256 { Ok(()) } else { Err(reused()) }
}

fn reused() -> Refusal {
    Refusal::new(ErrorCode::OperationIdReused, "this operation id was used for another request")
}

fn wrapped_of(intent: IntentRow) -> Option<WrappedKey> {
    Some(WrappedKey {
        private_key_id: PrivateKeyId(intent.private_key_id?),
        encryption_key_id: intent.encryption_key_id?,
        ciphertext: intent.wrapped_private_key?,
    })
}

fn private_key_row(order: &Order, certificate: &CertificateRow, wrapped: WrappedKey) -> PrivateKeyRow {
    PrivateKeyRow {
        id: wrapped.private_key_id.into(),
        certificate_id: certificate.certificate_id,
        organization_id: Some(order.spec.organization_id.into()),
        encrypted_key_material: wrapped.ciphertext,
        encryption_key_id: wrapped.encryption_key_id,
        encryption_algorithm: crate::wrapping::ALGORITHM.into(),
        key_algorithm: certificate.key_algorithm.clone(),
        key_size: certificate.key_size,
        public_key_sha256: certificate.public_key_sha256.clone(),
        created_at: order.now,
    }
}

/// The view that the database would give of a row just written.
fn view_of(row: &CertificateRow, key_in_secure: bool) -> CertificateView {
    CertificateView {
        certificate_id: row.certificate_id,
        authority_id: row.authority_id,
        request_id: row.request_id,
        operation_id: row.operation_id,
        issuer_certificate_id: row.issuer_certificate_id,
        organization_id: row.organization_id,
        owner_user_id: row.owner_user_id,
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
        renewal_of_certificate_id: row.renewal_of_certificate_id,
        key_in_secure,
    }
}
