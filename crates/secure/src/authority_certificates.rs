//! Further certificates of authorities that are there: renewals of their own, and cross-certificates by others.

use std::sync::Arc;

use clm_secure_db::certificates::CertificateRow;
use clm_secure_db::intents::IntentRow;
use clm_types::ids::new_uuid;
use clm_types::{CertificateCategory, CertificateId, ErrorCode, OperationId, Refusal, SerialNumber, Time};
use clm_x509::{AuthorityUrls, Certificate, CertificateTemplate, PreparedCertificate, Profile, prepare};
use fail::fail_point;
use serde_json::json;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::certificates::{NewCertificate, new_row};
use crate::committer::{AuthorityRenewal, Write};
use crate::recall::operation_named;
use crate::{Secure, SecureError};

/// A certificate for an authority's key.
struct Order<'a> {
    of: &'a Authority,
    signer: &'a Authority,
    profile: Profile,
    not_after: Time,
    operation_id: OperationId,
    action: &'static str,
    operator: &'a str,
    now: Time,
}

impl Secure {
    /// Renews an authority's certificate with the same key; what it signed stays valid.
    ///
    /// # Errors
    /// `authority_not_found`, `authority_suspended`, `authority_locked`, `validity_too_long`, or trouble of ours.
    pub async fn renew_authority(
        &self,
        name: &str,
        validity_days: u32,
        operator: &str,
    ) -> Result<CertificateId, SecureError> {
        let authority = self.authority_named(name).await?;
        authority.require_active()?;
        let signer = match authority.row.parent_authority_id {
            Some(parent) => self.authority(parent.into()).await?,
            None if authority.certificate.is_self_issued() => Arc::clone(&authority),
            None => return Err(issued_elsewhere(name).into()),
        };
        signer.require_active()?;
        let now = self.parts.clock.now();
        let old = authority.row.certificate_id;
        let order = Order {
            of: &authority,
            signer: &signer,
            profile: built_in(if authority.row.parent_authority_id.is_some() {
                "issuing-ca"
            } else {
                "root-ca"
            })?,
            not_after: clm_x509::tbs::last_second(now, i64::from(validity_days) * 86_400),
            operation_id: operation_named(&format!("renew/{}/{old}", authority.row.id)),
            action: "authority.renew",
            operator,
            now,
        };
        let row = self.certify(&order).await?;
        let id = row.certificate_id;
        let renewal = AuthorityRenewal { authority: authority.row.id, old, new: id, issuer_chain_pem: None };
        self.store(&order, row, Write { authority_renewals: vec![renewal], ..Write::default() }).await?;
        Ok(id.into())
    }

    /// Lets `successor` issue what the authority `name` cannot outlive. Two roots certify each other's keys, so that who
    /// trusts either trusts both.
    ///
    /// # Errors
    /// `authority_not_found`, `authority_suspended`, `conflict` when another one takes over already, or trouble of ours.
    pub async fn succeed_authority(
        &self,
        name: &str,
        successor: &str,
        operator: &str,
    ) -> Result<(), SecureError> {
        let (old, new) = (self.authority_named(name).await?, self.authority_named(successor).await?);
        new.require_active()?;
        if old.row.id == new.row.id || old.row.successor_authority_id.is_some_and(|id| id != new.row.id) {
            let detail = format!("`{name}` is succeeded by another authority already, or by itself");
            return Err(Refusal::new(ErrorCode::Conflict, detail).into());
        }
        if old.certificate.is_self_issued() && new.certificate.is_self_issued() {
            self.cross_certify(&new, &old, operator).await?;
            self.cross_certify(&old, &new, operator).await?;
        }
        let detail = json!({ "successor": new.row.id });
        let write = Write {
            successors: vec![(old.row.id, new.row.id)],
            audit: vec![self.authority_audit("authority.succeed", &old, operator, None, detail)],
            ..Write::default()
        };
        self.commit(write).await?;
        self.parts.authorities.forget();
        Ok(())
    }

    /// Every certificate that an authority ever had, newest first: kind and PEM.
    ///
    /// # Errors
    /// `authority_not_found`, or the database fails.
    pub async fn list_authority_certificates(
        &self,
        name: &str,
    ) -> Result<Vec<(String, String)>, SecureError> {
        let authority = self.authority_named(name).await?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(clm_secure_db::authorities::list_certificates(&mut conn, authority.row.id).await?)
    }

    /// A certificate by `signer` for the key of `of`, once.
    async fn cross_certify(
        &self,
        of: &Authority,
        signer: &Authority,
        operator: &str,
    ) -> Result<(), SecureError> {
        let order = Order {
            of,
            signer,
            profile: built_in("cross-ca")?,
            not_after: of.row.not_after.min(signer.row.not_after),
            operation_id: operation_named(&format!(
                "cross/{}/{}",
                of.row.certificate_id, signer.row.certificate_id
            )),
            action: "authority.cross_certify",
            operator,
            now: self.parts.clock.now(),
        };
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let intent = clm_secure_db::intents::find(&mut conn, order.operation_id.into()).await?;
        drop(conn);
        if intent.is_some_and(|intent| intent.state == "signed") {
            return Ok(());
        }
        let row = self.certify(&order).await?;
        let cross = vec![(of.row.id, row.certificate_id)];
        self.store(&order, row, Write { cross_certificates: cross, ..Write::default() }).await
    }

    /// Signs what is ordered; goes on with an intent that was cut off.
    async fn certify(&self, order: &Order<'_>) -> Result<CertificateRow, SecureError> {
        self.require_key(order.signer).await?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let intent = clm_secure_db::intents::find(&mut conn, order.operation_id.into()).await?;
        drop(conn);
        let (certificate_id, prepared) = match intent {
            Some(intent) => {
                let (issuer, urls) = (&order.signer.issuer, order.urls());
                let prepared = PreparedCertificate::resume(intent.tbs_der, &order.profile, issuer, &urls)?;
                (CertificateId(intent.certificate_id), prepared)
            }
            None => self.intend_authority_certificate(order).await?,
        };
        fail_point!("secure_authority_certificate_after_intent");
        let signature = self.sign_by(order.signer, prepared.tbs_der()).await?;
        let certificate: Certificate = prepared.sign_with(|_| Ok::<_, SecureError>(signature))?;
        Ok(new_row(&NewCertificate {
            id: new_uuid(order.now, &self.parts.entropy),
            certificate_id,
            authority_id: order.signer.id(),
            operation_id: order.operation_id,
            issuer_certificate_id: order.issuer_certificate(),
            profile: &order.profile.name,
            category: CertificateCategory::Authority,
            certificate: &certificate,
            issuer_algorithm: order.signer.issuer.public_key().algorithm(),
            now: order.now,
        }))
    }

    async fn intend_authority_certificate(
        &self,
        order: &Order<'_>,
    ) -> Result<(CertificateId, PreparedCertificate), SecureError> {
        let serial = SerialNumber::generate(&self.parts.entropy);
        let prepared = prepare(&CertificateTemplate {
            serial: &serial,
            issuer: &order.signer.issuer,
            subject: &order.of.row.subject.parse()?,
            names: &[],
            not_before: order.now,
            not_after: order.not_after,
            public_key: order.of.issuer.public_key(),
            profile: &order.profile,
            urls: &order.urls(),
        })?;
        let certificate_id = CertificateId::generate(order.now, &self.parts.entropy);
        let detail = json!({
            "for": order.action, "serial": serial.to_string(), "tbs_sha256": hex::encode(prepared.digest()),
        });
        let operation = Some(order.operation_id);
        let write = Write {
            intents: vec![IntentRow {
                id: new_uuid(order.now, &self.parts.entropy),
                operation_id: order.operation_id.into(),
                request_id: None,
                authority_id: order.signer.row.id,
                certificate_id: certificate_id.into(),
                serial_number: serial.as_bytes().to_vec(),
                tbs_der: prepared.tbs_der().to_vec(),
                tbs_sha256: prepared.digest().to_vec(),
                profile: order.profile.name.clone(),
                profile_hash: order.profile.version_hash().to_vec(),
                private_key_id: None,
                wrapped_private_key: None,
                encryption_key_id: None,
                state: "open".into(),
                created_at: order.now,
            }],
            audit: vec![self.authority_audit(
                "authority.intend",
                order.of,
                order.operator,
                operation,
                detail,
            )],
            ..Write::default()
        };
        self.commit(write).await?;
        Ok((certificate_id, prepared))
    }

    async fn store(&self, order: &Order<'_>, row: CertificateRow, write: Write) -> Result<(), SecureError> {
        let detail = json!({
            "certificate_id": row.certificate_id, "signer": order.signer.row.id,
            "fingerprint_sha256": hex::encode(&row.fingerprint_sha256), "not_after": row.not_after,
        });
        let operation = Some(order.operation_id);
        let audit = vec![self.authority_audit(order.action, order.of, order.operator, operation, detail)];
        self.commit(Write { certificates: vec![row], audit, ..write }).await?;
        self.parts.authorities.forget();
        tracing::info!(authority = %order.of.row.name, signer = %order.signer.row.name, action = order.action, "certified an authority");
        Ok(())
    }

    pub(crate) fn authority_audit(
        &self,
        action: &'static str,
        authority: &Authority,
        operator: &str,
        operation_id: Option<OperationId>,
        detail: serde_json::Value,
    ) -> AuditDraft {
        AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Operator(operator.to_owned()),
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

impl Order<'_> {
    fn is_self_signed(&self) -> bool {
        self.of.row.id == self.signer.row.id
    }

    /// The addresses of the signer; a root that signs itself names none.
    fn urls(&self) -> AuthorityUrls {
        if self.is_self_signed() { AuthorityUrls::default() } else { self.signer.urls.clone() }
    }

    fn issuer_certificate(&self) -> Option<CertificateId> {
        (!self.is_self_signed()).then_some(CertificateId(self.signer.row.certificate_id))
    }
}

fn issued_elsewhere(name: &str) -> Refusal {
    let detail = format!("the issuer of `{name}` is no authority of this installation");
    Refusal::new(ErrorCode::AuthorityNotFound, detail).hint(
        "have it renewed there for the same key, and import the authority again with the new certificate",
    )
}

fn built_in(name: &str) -> Result<Profile, Refusal> {
    let detail = || Refusal::new(ErrorCode::ProfileNotFound, format!("there is no profile `{name}`"));
    Profile::built_in(name).ok_or_else(detail)
}
