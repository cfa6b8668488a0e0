//! An order to issue: what Core sent, checked as far as it can be without touching a key.

use std::sync::Arc;

use clm_types::{CertificateId, CertificateSpec, ErrorCode, Mandate, Refusal, SerialNumber, Time};
use clm_x509::{CertificateTemplate, PreparedCertificate, Profile, PublicKey, San, SubjectName, prepare};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::mandates::{self, request_digest};
use crate::requests::Arrival;
use crate::{Secure, SecureError};

/// A checked request for a certificate.
pub(crate) struct Order {
    pub(crate) spec: CertificateSpec,
    pub(crate) mandate: Mandate,
    pub(crate) mandate_json: serde_json::Value,
    pub(crate) request_sha256: Vec<u8>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) profile: Profile,
    pub(crate) now: Time,
    pub(crate) subject: SubjectName,
    pub(crate) names: Vec<San>,
}

impl Secure {
    /// Parses and checks an order; a mandate that does not hold is recorded as refused.
    pub(crate) async fn check_order(
        &self,
        spec_octets: &[u8],
        mandate_octets: &[u8],
    ) -> Result<Order, SecureError> {
        let now = self.parts.clock.now();
        let spec: CertificateSpec = read("the request", spec_octets)?;
        let mandate: Mandate = read("the mandate", mandate_octets)?;
        if let Err(refusal) = mandates::check_issue(&mandate, &spec, spec_octets, now) {
            self.record_refusal(&mandate, "certificate.issue", &refusal).await;
            return Err(refusal.into());
        }
        let authority = self.authority(spec.authority_id).await?;
        let profile = requestable(&spec.profile)?;
        if mandate.profile_hash != Some(hex::encode(profile.version_hash())) {
            let detail = format!("Core knows another version of the profile `{}`", spec.profile);
            let refusal = Refusal::new(ErrorCode::MandateInvalid, detail);
            self.record_refusal(&mandate, "certificate.issue", &refusal).await;
            return Err(refusal.hint("bring both services to the same release").into());
        }
        let (subject, names) = names_of(&spec)?;
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
            subject,
            names,
        })
    }
}

impl Order {
    /// Builds and lints the octets to be signed, for a certificate whose revocation is found in `crl_shard`.
    pub(crate) fn prepare(
        &self,
        serial: &SerialNumber,
        public_key: &PublicKey,
        not_before: Time,
        crl_shard: i16,
    ) -> Result<PreparedCertificate, Refusal> {
        prepare(&CertificateTemplate {
            serial,
            issuer: &self.authority.issuer,
            subject: &self.subject,
            names: &self.names,
            not_before,
            not_after: clm_x509::tbs::last_second(not_before, lifetime(&self.spec)?),
            public_key,
            profile: &self.profile,
            urls: &self.authority.urls_in(crl_shard),
        })
    }

    pub(crate) fn arrival(&self) -> Arrival<'_> {
        Arrival {
            operation_id: self.mandate.operation_id,
            request_sha256: &self.request_sha256,
            now: self.now,
        }
    }

    pub(crate) fn audit(
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

    /// A stored key was opened to be kept under a renewed certificate.
    pub(crate) fn key_reused(&self, private_key_id: Uuid) -> AuditDraft {
        AuditDraft {
            occurred_at: self.now,
            actor: Actor::User(self.spec.requester_user_id),
            organization_id: Some(self.spec.organization_id),
            operation_id: Some(self.mandate.operation_id),
            action: "private_key.reuse",
            object_type: "private_key",
            object_id: Some(private_key_id),
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({ "mandate_id": self.mandate.id, "renewal_of": self.spec.renewal_of }),
        }
    }
}

/// A document that Core sent.
pub(crate) fn read<T: serde::de::DeserializeOwned>(what: &str, octets: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(octets)
        .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, format!("{what} cannot be read: {error}")))
}

/// A profile that may be asked for.
pub(crate) fn requestable(name: &str) -> Result<Profile, Refusal> {
    let known = clm_x509::profile::REQUESTABLE.contains(&name).then(|| Profile::built_in(name)).flatten();
    known.ok_or_else(|| {
        Refusal::new(ErrorCode::ProfileNotFound, format!("there is no profile `{name}`")).field("/profile")
    })
}

/// Subject and subject alternative names of a spec.
pub(crate) fn names_of(spec: &CertificateSpec) -> Result<(SubjectName, Vec<San>), Refusal> {
    let subject = spec.subject.parse().map_err(|refusal: Refusal| refusal.field("/subject"))?;
    let names = spec.sans.iter().map(|name| name.parse()).collect::<Result<_, Refusal>>()?;
    Ok((subject, names))
}

/// Lifetime of a spec in seconds.
pub(crate) fn lifetime(spec: &CertificateSpec) -> Result<i64, Refusal> {
    const CENTURY: i64 = 100 * 366 * 86_400;
    match i64::try_from(spec.validity_seconds) {
        Ok(0) => Err(Refusal::new(ErrorCode::ValidityInvalid, "a certificate lives for a second at least")),
        Ok(seconds) if seconds <= CENTURY => Ok(seconds),
        _ => Err(Refusal::new(ErrorCode::ValidityTooLong, "no certificate lives longer than a century")),
    }
}
