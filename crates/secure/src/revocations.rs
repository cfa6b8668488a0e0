//! Revocation, hold and release.

use clm_secure_db::blocked_keys::BlockedKeyRow;
use clm_secure_db::certificates::{CertificateView, StatusChange};
use clm_secure_db::operations::OperationRow;
use clm_secure_db::revocations::{HoldEnd, RevocationRow};
use clm_types::ids::new_uuid;
use clm_types::{
    CertificateStatus, ErrorCode, Mandate, Refusal, RevocationReason, RevocationRecord, RevocationSpec,
    SecureEvent, Time,
};
use clm_x509::foreign::ForeignCertificate;
use fail::fail_point;
use serde_json::json;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::blocked_keys::says_compromised;
use crate::committer::{EventDraft, Write};
use crate::mandates::{self, request_digest};
use crate::order::read;
use crate::recall::same_request;
use crate::requests::check_text;
use crate::{Secure, SecureError};

/// A checked order to change a certificate's status.
struct Order {
    spec: RevocationSpec,
    mandate: Mandate,
    mandate_json: serde_json::Value,
    request_sha256: Vec<u8>,
    certificate: CertificateView,
    now: Time,
}

impl Secure {
    /// Does what `spec` orders, once per operation id: a repeated call gets the first answer.
    ///
    /// # Errors
    /// `certificate_not_found`, `certificate_already_revoked`, `certificate_not_on_hold`, `certificate_expired`,
    /// `invalidity_date_invalid`, `mandate_invalid`, `operation_id_reused`, or trouble of ours.
    pub async fn revoke(&self, spec: &[u8], mandate: &[u8]) -> Result<RevocationRecord, SecureError> {
        let order = self.check_revocation(spec, mandate).await?;
        if let Some(record) = self.recall_revocation(&order).await? {
            return Ok(record);
        }
        let from = status(&order.certificate, order.now)?;
        let to = from.revoke(order.spec.reason)?;
        let record = order.record(to);
        let write = self.revocation_write(&order, from, to, &record)?;
        fail_point!("secure_revoke_before_store");
        if let Err(error) = self.commit(write).await {
            return self.after_conflict(&order, error).await;
        }
        fail_point!("secure_revoke_after_store");
        self.parts.crl_due.notify_one();
        tracing::info!(certificate_id = %order.spec.certificate_id, status = %to, "changed a certificate's status");
        Ok(record)
    }

    async fn check_revocation(
        &self,
        spec_octets: &[u8],
        mandate_octets: &[u8],
    ) -> Result<Order, SecureError> {
        let now = self.parts.clock.now();
        let spec: RevocationSpec = read("the revocation", spec_octets)?;
        let mandate: Mandate = read("the mandate", mandate_octets)?;
        let certificate = self.certificate_of(spec.certificate_id, spec.organization_id).await?;
        // An organization whose inventory has it may not end what certificates of others hang on.
        if certificate.of_authority {
            let detail = "the certificate is that of an authority, which its operators suspend or retire";
            return Err(Refusal::new(ErrorCode::PermissionDenied, detail).into());
        }
        let authority_id = certificate.authority_id.into();
        if let Err(refusal) = mandates::check_revoke(&mandate, &spec, authority_id, spec_octets, now) {
            self.record_refusal(&mandate, "certificate.revoke", &refusal).await;
            return Err(refusal.into());
        }
        check_reason(spec.comment.as_deref(), spec.invalidity_date, now)?;
        let mandate_json =
            serde_json::from_slice(mandate_octets).map_err(|_| SecureError::Damaged("a mandate".into()))?;
        Ok(Order {
            spec,
            mandate,
            mandate_json,
            request_sha256: request_digest(spec_octets),
            certificate,
            now,
        })
    }

    async fn recall_revocation(&self, order: &Order) -> Result<Option<RevocationRecord>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let operation = clm_secure_db::operations::find(&mut conn, order.mandate.operation_id.into()).await?;
        let Some(operation) = operation else {
            return Ok(None);
        };
        same_request(&operation, "revoke", &order.request_sha256)?;
        let outcome = operation.outcome.unwrap_or_default();
        let record = serde_json::from_value(outcome).map_err(|_| {
            SecureError::Damaged(format!("the outcome of operation {}", operation.operation_id))
        })?;
        Ok(Some(record))
    }

    /// Somebody else was faster: with the same operation, whose answer this is, or with another one.
    async fn after_conflict(
        &self,
        order: &Order,
        error: SecureError,
    ) -> Result<RevocationRecord, SecureError> {
        if !error.is_conflict() {
            return Err(error);
        }
        if let Some(record) = self.recall_revocation(order).await? {
            return Ok(record);
        }
        let certificate = self.certificate_of(order.spec.certificate_id, order.spec.organization_id).await?;
        status(&certificate, order.now)?.revoke(order.spec.reason)?;
        Err(Refusal::new(ErrorCode::Conflict, "the certificate's status changed at the same time")
            .hint("try again")
            .into())
    }

    fn revocation_write(
        &self,
        order: &Order,
        from: CertificateStatus,
        to: CertificateStatus,
        record: &RevocationRecord,
    ) -> Result<Write, SecureError> {
        let released = to == CertificateStatus::Active;
        let outcome = serde_json::to_value(record)
            .map_err(|_| SecureError::Damaged("a revocation has no JSON form".into()))?;
        let hold_end = (from == CertificateStatus::OnHold).then(|| HoldEnd {
            certificate_id: order.certificate.certificate_id,
            operation_id: order.mandate.operation_id.into(),
            ocsp_status: if released { "good" } else { "revoked" }.into(),
        });
        Ok(Write {
            status_changes: vec![StatusChange {
                certificate_id: order.certificate.certificate_id,
                from: order.certificate.status.clone(),
                to: to.as_str().into(),
                revoked_at: (!released).then_some(record.revoked_at),
                reason: (!released).then(|| order.spec.reason.as_str().into()),
            }],
            hold_ends: hold_end.into_iter().collect(),
            revocations: (!released).then(|| self.revocation_row(order, record)).into_iter().collect(),
            blocked_keys: self.blocked_key(order)?.into_iter().collect(),
            operations: vec![OperationRow {
                id: new_uuid(order.now, &self.parts.entropy),
                operation_id: order.mandate.operation_id.into(),
                kind: "revoke".into(),
                request_sha256: order.request_sha256.clone(),
                mandate: Some(order.mandate_json.clone()),
                outcome: Some(outcome.clone()),
                created_at: order.now,
            }],
            audit: vec![order.audit(released, &outcome)],
            events: vec![EventDraft {
                operation_id: order.mandate.operation_id,
                certificate_id: Some(order.spec.certificate_id),
                organization_id: Some(order.spec.organization_id),
                event: SecureEvent::CertificateRevoked(record.clone()),
            }],
            ..Write::default()
        })
    }

    /// The key, if this revocation says that it is lost.
    fn blocked_key(&self, order: &Order) -> Result<Option<BlockedKeyRow>, SecureError> {
        if !says_compromised(order.spec.reason) {
            return Ok(None);
        }
        let certificate = ForeignCertificate::parse(&order.certificate.der_encoded_cert)?;
        Ok(Some(BlockedKeyRow {
            id: new_uuid(order.now, &self.parts.entropy),
            public_key_sha256: certificate.public_key.fingerprint().to_vec(),
            source: "revocation".into(),
            certificate_id: Some(order.certificate.certificate_id),
            comment: None,
            created_at: order.now,
        }))
    }

    fn revocation_row(&self, order: &Order, record: &RevocationRecord) -> RevocationRow {
        RevocationRow {
            id: new_uuid(order.now, &self.parts.entropy),
            certificate_id: Some(order.certificate.certificate_id),
            operation_id: order.mandate.operation_id.into(),
            authority_id: order.certificate.authority_id,
            serial_number: order.certificate.serial_number.clone(),
            reason_code: order.spec.reason.code().into(),
            reason: order.spec.reason.as_str().into(),
            revocation_date: record.revoked_at,
            invalidity_date: order.spec.invalidity_date,
            requested_by_user_id: Some(order.spec.requested_by.into()),
            comment: order.spec.comment.clone(),
        }
    }
}

impl Order {
    fn record(&self, to: CertificateStatus) -> RevocationRecord {
        RevocationRecord {
            certificate_id: self.spec.certificate_id,
            operation_id: self.mandate.operation_id,
            organization_id: Some(self.spec.organization_id),
            authority_id: self.certificate.authority_id.into(),
            serial_number: hex::encode(&self.certificate.serial_number),
            status: to,
            reason: self.spec.reason,
            // A revocation that follows a hold counts from the hold: what was signed meanwhile stays doubtful.
            revoked_at: self
                .certificate
                .revoked_at
                .filter(|_| to == CertificateStatus::Revoked)
                .unwrap_or(self.now),
            invalidity_date: self.spec.invalidity_date,
        }
    }

    fn audit(&self, released: bool, outcome: &serde_json::Value) -> AuditDraft {
        let action = match (released, self.spec.reason) {
            (true, _) => "certificate.release",
            (false, RevocationReason::CertificateHold) => "certificate.hold",
            (false, _) => "certificate.revoke",
        };
        AuditDraft {
            occurred_at: self.now,
            actor: Actor::User(self.spec.requested_by),
            organization_id: Some(self.spec.organization_id),
            operation_id: Some(self.mandate.operation_id),
            action,
            object_type: "certificate",
            object_id: Some(self.certificate.certificate_id),
            outcome: Outcome::Allowed,
            reason: self.spec.comment.clone(),
            detail: json!({ "mandate_id": self.mandate.id, "result": outcome }),
        }
    }
}

/// Checks what is said of why and since when.
pub(crate) fn check_reason(
    comment: Option<&str>,
    invalidity_date: Option<Time>,
    now: Time,
) -> Result<(), Refusal> {
    check_text("comment", comment.unwrap_or_default())?;
    if invalidity_date.is_some_and(|date| date > now || date < RevocationSpec::EARLIEST_INVALIDITY_DATE) {
        let detail = "the invalidity date lies in the future or before 1950";
        return Err(Refusal::new(ErrorCode::InvalidityDateInvalid, detail).field("/invalidity_date"));
    }
    Ok(())
}

/// The status now, by the dates: what is written down comes later, or may be wrong.
fn status(certificate: &CertificateView, now: Time) -> Result<CertificateStatus, SecureError> {
    let damaged =
        |_| SecureError::Damaged(format!("the status of certificate {}", certificate.certificate_id));
    let reason = certificate.revocation_reason.as_deref().map(str::parse).transpose().map_err(damaged)?;
    let stored: CertificateStatus = certificate.status.parse().map_err(damaged)?;
    Ok(stored.at(now, certificate.not_after, reason))
}
