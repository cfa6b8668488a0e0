//! Responders that sign OCSP answers for an authority (RFC 6960 §4.2.2.2): made and renewed by themselves, with keys of
//! their own, so that answers go on while the authority's key cannot be used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use clm_secure_db::intents::IntentRow;
use clm_secure_db::ocsp::{self, ResponderRow};
use clm_secure_db::private_keys::{self, NewPrivateKeyRow};
use clm_types::ids::new_uuid;
use clm_types::{
    AuthorityId, CertificateCategory, CertificateId, KeyAlgorithm, OperationId, SerialNumber, Time,
};
use clm_x509::{Certificate, CertificateTemplate, PreparedCertificate, Profile, prepare};
use fail::fail_point;
use serde_json::json;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::certificates::{NewCertificate, new_row};
use crate::committer::Write;
use crate::custody::{Purpose, WrappedKey};
use crate::envelope::OcspSigner;
use crate::private_keys::PrivateKey;
use crate::recall::operation_named;
use crate::{Secure, SecureError};

/// Lifetime of a responder's certificate. It cannot be revoked to any effect (id-pkix-ocsp-nocheck), so it is short; it is
/// renewed when half of it is over.
const LIFETIME: TimeDelta = TimeDelta::days(14);

/// How old a look at the newest responder may be.
const FRESH: TimeDelta = TimeDelta::seconds(5);

/// How often responders are looked at.
const PATROL: Duration = Duration::from_secs(10);

/// A responder ready to sign.
pub(crate) struct Responder {
    certificate_id: CertificateId,
    pub(crate) certificate: Certificate,
    key: PrivateKey,
}

/// The responders as they were read last.
#[derive(Default)]
pub(crate) struct Responders {
    read: Mutex<HashMap<AuthorityId, Look>>,
}

/// When it was looked, and whom it found.
type Look = (Time, Option<Arc<Responder>>);

impl Responders {
    fn get(&self, id: AuthorityId) -> Option<Look> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn put(&self, id: AuthorityId, at: Time, responder: Option<Arc<Responder>>) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (at, responder));
    }
}

impl Responder {
    pub(crate) fn sign(&self, tbs: &[u8]) -> Result<Vec<u8>, SecureError> {
        self.key.sign(tbs)
    }
}

impl Secure {
    /// Renews responders, for ever.
    pub async fn run_ocsp_responders(&self) {
        loop {
            if let Err(error) = self.renew_ocsp_responders().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "OCSP responders could not be looked at"
                );
            }
            tokio::time::sleep(PATROL).await;
        }
    }

    /// Makes the responders that are missing, or have half of their life behind them.
    ///
    /// # Errors
    /// When the database fails. An authority that cannot sign now does not stop the others.
    pub async fn renew_ocsp_responders(&self) -> Result<(), SecureError> {
        for record in self.list_authorities().await? {
            let authority = self.authority(record.authority_id).await?;
            if authority.envelope.ocsp_signer == OcspSigner::Responder
                && let Err(error) = self.renew_responder(&authority).await
            {
                tracing::warn!(authority = %authority.row.name, error = &error as &dyn std::error::Error,
                    "an OCSP responder could not be made");
            }
        }
        Ok(())
    }

    /// The responder that signs for the authority now; none when the authority signs itself.
    pub(crate) async fn responder(
        &self,
        authority: &Authority,
    ) -> Result<Option<Arc<Responder>>, SecureError> {
        if authority.envelope.ocsp_signer == OcspSigner::Authority {
            return Ok(None);
        }
        let (id, now) = (authority.id(), self.parts.clock.now());
        let known = self.parts.responders.get(id);
        if let Some((at, responder)) = &known
            && now - *at < FRESH
            && responder.as_ref().is_none_or(|responder| responder.certificate.not_after() > now)
        {
            return Ok(responder.clone());
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let row = ocsp::find_responder(&mut conn, id.into(), now).await?;
        drop(conn);
        let same = known.and_then(|(_, responder)| responder).filter(|responder| {
            row.as_ref().is_some_and(|row| row.certificate_id == responder.certificate_id.0)
        });
        let responder = match (same, row) {
            (Some(same), _) => Some(same),
            (None, Some(row)) => Some(Arc::new(self.open_responder(authority, &row).await?)),
            (None, None) => None,
        };
        self.parts.responders.put(id, now, responder.clone());
        Ok(responder)
    }

    async fn open_responder(
        &self,
        authority: &Authority,
        row: &ResponderRow,
    ) -> Result<Responder, SecureError> {
        let damaged = || SecureError::Damaged(format!("the OCSP responder {}", row.certificate_id));
        let certificate = Certificate::parse(&row.der_encoded_cert).map_err(|_| damaged())?;
        certificate.verify_signed_by(&authority.issuer).map_err(|_| damaged())?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let stored = private_keys::find_by_id(&mut conn, row.private_key_id).await?.ok_or_else(damaged)?;
        drop(conn);
        let key = self.unwrap_private_key(&stored).await?;
        if key.public() != certificate.public_key() {
            return Err(damaged());
        }
        let entry = AuditDraft {
            object_type: "private_key",
            object_id: Some(row.private_key_id),
            reason: Some("to sign OCSP answers until the process ends".into()),
            ..self.responder_audit(
                authority,
                "private_key.open",
                None,
                json!({ "authority_id": authority.row.id }),
            )
        };
        let write = Write { key_accesses: vec![row.private_key_id], audit: vec![entry], ..Write::default() };
        self.commit(write).await?;
        Ok(Responder { certificate_id: row.certificate_id.into(), certificate, key })
    }

    async fn renew_responder(&self, authority: &Authority) -> Result<(), SecureError> {
        let now = self.parts.clock.now();
        if now >= authority.row.not_after {
            return Ok(());
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let old = ocsp::find_responder(&mut conn, authority.row.id, now).await?;
        drop(conn);
        if let Some(old) = &old {
            let certificate = Certificate::parse(&old.der_encoded_cert)?;
            let (from, to) = (certificate.not_before(), certificate.not_after());
            // One that ends with its authority cannot be replaced by a longer one.
            if now < from + (to - from) / 2 || to >= authority.row.not_after {
                return Ok(());
            }
        }
        self.require_key(authority).await?;
        self.make_responder(authority, old.map(|row| row.certificate_id), now).await
    }

    /// Makes the responder that comes after `old`, once, whoever else tries.
    async fn make_responder(
        &self,
        authority: &Authority,
        old: Option<uuid::Uuid>,
        now: Time,
    ) -> Result<(), SecureError> {
        let place = old.map_or_else(|| format!("first of {}", now.date_naive()), |old| old.to_string());
        let operation_id = operation_named(&format!("ocsp-responder/{}/{place}", authority.row.id));
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let intent = clm_secure_db::intents::find(&mut conn, operation_id.into()).await?;
        drop(conn);
        let (certificate_id, prepared) = match intent {
            Some(intent) if intent.state == "open" => {
                let urls = &authority.urls;
                let resumed =
                    PreparedCertificate::resume(intent.tbs_der, &profile()?, &authority.issuer, urls)?;
                (CertificateId(intent.certificate_id), resumed)
            }
            Some(_) => return Ok(()),
            None => self.intend_responder(authority, operation_id, now).await?,
        };
        fail_point!("secure_responder_after_intent");
        let signature = self.sign_by(authority, prepared.tbs_der()).await?;
        let certificate = prepared.sign_with(|_| Ok::<_, SecureError>(signature))?;
        self.store_responder(authority, operation_id, certificate_id, &certificate, now).await?;
        tracing::info!(authority = %authority.row.name, not_after = %certificate.not_after(), "made an OCSP responder");
        Ok(())
    }

    async fn intend_responder(
        &self,
        authority: &Authority,
        operation_id: OperationId,
        now: Time,
    ) -> Result<(CertificateId, PreparedCertificate), SecureError> {
        let key = self.new_private_key(algorithm(authority)).await?;
        let wrapped = self.wrap_private_key(Purpose::Authorities, None, &key).await?;
        let serial = SerialNumber::generate(&self.parts.entropy);
        let prepared = prepare(&CertificateTemplate {
            serial: &serial,
            issuer: &authority.issuer,
            subject: &format!("CN=OCSP Responder {}", &serial.to_string()[..8]).parse()?,
            names: &[],
            not_before: now,
            not_after: (now + LIFETIME).min(authority.row.not_after),
            public_key: key.public(),
            profile: &profile()?,
            urls: &authority.urls,
        })?;
        let certificate_id = CertificateId::generate(now, &self.parts.entropy);
        let detail = json!({ "serial": serial.to_string(), "tbs_sha256": hex::encode(prepared.digest()) });
        let intent = self.responder_intent(
            authority,
            operation_id,
            certificate_id,
            &serial,
            &prepared,
            &wrapped,
            now,
        )?;
        let audit =
            vec![self.responder_audit(authority, "ocsp_responder.intend", Some(operation_id), detail)];
        self.commit(Write { intents: vec![intent], audit, ..Write::default() })
            .await
            .inspect_err(|_| self.parts.custody.forget_active())?;
        Ok((certificate_id, prepared))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one row")]
    fn responder_intent(
        &self,
        authority: &Authority,
        operation_id: OperationId,
        certificate_id: CertificateId,
        serial: &SerialNumber,
        prepared: &PreparedCertificate,
        wrapped: &WrappedKey,
        now: Time,
    ) -> Result<IntentRow, SecureError> {
        let profile = profile()?;
        Ok(IntentRow {
            id: new_uuid(now, &self.parts.entropy),
            operation_id: operation_id.into(),
            request_id: None,
            authority_id: authority.row.id,
            certificate_id: certificate_id.into(),
            serial_number: serial.as_bytes().to_vec(),
            tbs_der: prepared.tbs_der().to_vec(),
            tbs_sha256: prepared.digest().to_vec(),
            profile_hash: profile.version_hash().to_vec(),
            profile: profile.name,
            private_key_id: Some(wrapped.private_key_id.into()),
            wrapped_private_key: Some(wrapped.ciphertext.clone()),
            encryption_key_id: Some(wrapped.encryption_key_id),
            state: "open".into(),
            created_at: now,
        })
    }

    async fn store_responder(
        &self,
        authority: &Authority,
        operation_id: OperationId,
        certificate_id: CertificateId,
        certificate: &Certificate,
        now: Time,
    ) -> Result<(), SecureError> {
        let row = new_row(&NewCertificate {
            id: new_uuid(now, &self.parts.entropy),
            certificate_id,
            authority_id: authority.id(),
            operation_id,
            issuer_certificate_id: Some(CertificateId(authority.row.certificate_id)),
            profile: "ocsp-responder",
            category: CertificateCategory::Responder,
            certificate,
            issuer_algorithm: authority.issuer.public_key().algorithm(),
            now,
        });
        let detail = json!({
            "certificate_id": certificate_id, "fingerprint_sha256": hex::encode(certificate.fingerprint()),
            "not_after": certificate.not_after(),
        });
        let key = NewPrivateKeyRow {
            operation_id: row.operation_id,
            organization_id: None,
            encryption_algorithm: crate::wrapping::ALGORITHM.into(),
            key_algorithm: row.key_algorithm.clone(),
            key_size: row.key_size,
            public_key_sha256: row.public_key_sha256.clone(),
            created_at: now,
        };
        let audit =
            vec![self.responder_audit(authority, "ocsp_responder.create", Some(operation_id), detail)];
        let write = Write { private_keys: vec![key], certificates: vec![row], audit, ..Write::default() };
        self.commit(write).await
    }

    fn responder_audit(
        &self,
        authority: &Authority,
        action: &'static str,
        operation_id: Option<OperationId>,
        detail: serde_json::Value,
    ) -> AuditDraft {
        AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Secure,
            organization_id: None,
            operation_id,
            action,
            object_type: "authority",
            object_id: Some(authority.row.id),
            outcome: Outcome::Allowed,
            reason: None,
            detail,
        }
    }
}

fn profile() -> Result<Profile, SecureError> {
    Profile::built_in("ocsp-responder").ok_or(SecureError::Crypto("there is no profile for OCSP responders"))
}

/// Small and quick; of no less a kind than the authority's own where that is meant to outlast quantum computers.
fn algorithm(authority: &Authority) -> KeyAlgorithm {
    match authority.issuer.public_key().algorithm() {
        KeyAlgorithm::MlDsa65 => KeyAlgorithm::MlDsa65,
        _ => KeyAlgorithm::EcdsaP256,
    }
}
