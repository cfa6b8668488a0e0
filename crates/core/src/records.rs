//! Reflecting what Secure did: whoever brings it, the saga or the follower, it is applied once.

use clm_core_db::jobs::Held;
use clm_core_db::records::{self, AppliedRow, EffectRow, FailedRow, IssuedEffect, IssuedRow, RevokedRow};
use clm_core_db::{DbError, PgConnection};
use clm_types::{
    CertificateRecord, CertificateStatus, Entropy, KeyExportGrant, OperationId, Refusal, RevocationReason,
    RevocationRecord, Time, UserId, ids,
};
use serde_json::json;
use uuid::Uuid;

use crate::jobs::{Closing, HeldJob};
use crate::validation::Notice;
use crate::{Core, CoreError};

/// How often a statement is tried that lost against another one.
const ATTEMPTS: u32 = 4;

impl Core {
    /// Puts an issued certificate into the inventory and completes its operation, in one commit with
    /// others that wait. True if this call did it.
    ///
    /// # Errors
    /// When the database fails, or the record cannot be one of an organization.
    pub(crate) async fn apply_issued(&self, record: &CertificateRecord) -> Result<bool, CoreError> {
        let effect = issued_effect(record, self.clock.now(), &self.entropy)?;
        self.committer.apply_issued(effect).await
    }

    /// Reflects a revocation, hold or release, and forgets the answers that it made wrong. True if
    /// this call did it.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn apply_revoked(&self, record: &RevocationRecord) -> Result<bool, CoreError> {
        let (row, effect) = revoked_rows(record, self.clock.now(), &self.entropy);
        let mut attempt = 1;
        let applied = loop {
            let mut conn = self.system.acquire().await.map_err(DbError::from)?;
            match records::apply_revoked(&mut conn, &row, &effect).await {
                Err(DbError::Serialization(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => break outcome,
            }
        };
        // Even when the commit failed: Secure has revoked it.
        self.validation.forget(&Notice::of_revocation(record));
        Ok(applied?)
    }

    /// Notes that a private key may be fetched, if its job is still held. True if this call did it.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn apply_granted(
        &self,
        job: &HeldJob,
        grant: &KeyExportGrant,
    ) -> Result<bool, CoreError> {
        let until = grant.until.format("%F %H:%M UTC");
        let effect = effect(
            "request.completed",
            "A private key can be fetched".to_owned(),
            format!("It can be fetched until {until}."),
            self.clock.now(),
            &self.entropy,
        );
        let outcome = json!({ "until": grant.until });
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(records::apply_granted(&mut conn, grant.operation_id.into(), job.held(), &outcome, &effect)
            .await?)
    }

    /// Ends an operation that was refused for good, if its job is still held. True if this call did it.
    pub(crate) async fn apply_failed(
        &self,
        operation_id: OperationId,
        job: Held,
        refusal: &Refusal,
    ) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let closing = Closing { decided_by: UserId(Uuid::nil()), reason: format!("failed: {refusal}") };
        let row = FailedRow {
            operation_id: operation_id.into(),
            code: refusal.code.as_str().to_owned(),
            detail: refusal.detail.clone(),
            job,
            closing_job_id: ids::new_uuid(now, &self.entropy),
            closing_payload: closing.to_json(),
        };
        let effect = effect(
            "request.failed",
            "A request failed".to_owned(),
            refusal.detail.clone(),
            now,
            &self.entropy,
        );
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(records::apply_failed(&mut conn, &row, &effect).await?)
    }
}

/// As [`Core::apply_issued`], within the follower's or the integrity job's transaction. With
/// `again`, a row that is missing though its operation is completed is put back.
pub(crate) async fn apply_issued_in(
    conn: &mut PgConnection,
    record: &CertificateRecord,
    again: bool,
    now: Time,
    entropy: &Entropy,
) -> Result<bool, CoreError> {
    let effect = issued_effect(record, now, entropy)?;
    records::lock_operation(conn, effect.issued.operation_id).await?;
    let applied = records::apply_issued(conn, &[&effect], again).await?;
    report_unapproved(&applied);
    Ok(!applied.is_empty())
}

/// What nobody approved is in the inventory, so that it can be revoked, and a finding; it is an incident nevertheless.
pub(crate) fn report_unapproved(applied: &[AppliedRow]) {
    for row in applied {
        if let Some(status) = &row.unapproved {
            tracing::error!(operation_id = %row.operation_id, certificate_id = %row.certificate_id, %status,
                "Secure issued a certificate that nobody approved: a person must look");
        }
    }
}

/// As [`Core::apply_revoked`], within the follower's transaction; the caller forgets the answers.
pub(crate) async fn apply_revoked_in(
    conn: &mut PgConnection,
    record: &RevocationRecord,
    now: Time,
    entropy: &Entropy,
) -> Result<bool, CoreError> {
    let (row, effect) = revoked_rows(record, now, entropy);
    Ok(records::apply_revoked(conn, &row, &effect).await?)
}

pub(crate) fn issued_effect(
    record: &CertificateRecord,
    now: Time,
    entropy: &Entropy,
) -> Result<IssuedEffect, CoreError> {
    let organization_id = record
        .organization_id
        .ok_or_else(|| CoreError::defect("a certificate of no organization came as an operation's result"))?;
    let fingerprint_sha256 = hex::decode(&record.fingerprint_sha256)
        .map_err(|error| CoreError::defect_of("a fingerprint of Secure cannot be read", error))?;
    let is_revoked = matches!(record.status, CertificateStatus::OnHold | CertificateStatus::Revoked);
    if is_revoked && (record.revoked_at.is_none() || record.revocation_reason.is_none()) {
        return Err(CoreError::defect(format!(
            "a certificate came as {} without saying since when",
            record.status
        )));
    }
    let name = display_name(record);
    let issued = IssuedRow {
        id: ids::new_uuid(now, entropy),
        certificate_id: record.certificate_id.into(),
        operation_id: record.operation_id.into(),
        organization_id: organization_id.into(),
        request_id: record.request_id.map(Into::into),
        authority_id: record.authority_id.into(),
        profile: record.profile.clone(),
        serial_number: record.serial_number.to_ascii_lowercase(),
        fingerprint_sha256,
        subject: record.subject.clone(),
        issuer: record.issuer.clone(),
        common_name: record.common_name.clone(),
        sans: record.sans.clone(),
        key_algorithm: record.key_algorithm.as_str(),
        not_before: record.not_before,
        not_after: record.not_after,
        status: record.status.as_str(),
        revoked_at: record.revoked_at,
        revocation_reason: record.revocation_reason.map(RevocationReason::as_str),
        renewal_of_certificate_id: record.renewal_of.map(Into::into),
        outcome: json!({
            "certificate_id": record.certificate_id,
            "serial_number": record.serial_number,
            "fingerprint_sha256": record.fingerprint_sha256,
        }),
    };
    let title = format!("Certificate issued: {name}");
    let body = format!("It is valid until {}.", record.not_after.format("%F %T UTC"));
    Ok(IssuedEffect { issued, effect: effect("certificate.issued", title, body, now, entropy) })
}

fn revoked_rows(record: &RevocationRecord, now: Time, entropy: &Entropy) -> (RevokedRow, EffectRow) {
    let row = RevokedRow {
        certificate_id: record.certificate_id.into(),
        operation_id: record.operation_id.into(),
        status: record.status.as_str(),
        reason: record.reason.as_str(),
        revoked_at: record.revoked_at,
        outcome: json!({
            "certificate_id": record.certificate_id,
            "status": record.status,
            "reason": record.reason,
            "revoked_at": record.revoked_at,
        }),
        forget: Notice::of_revocation(record).to_string(),
    };
    let (kind, done) = match record.status {
        CertificateStatus::OnHold => ("certificate.hold", "put on hold"),
        CertificateStatus::Active => ("certificate.release", "released from hold"),
        CertificateStatus::Revoked | CertificateStatus::Expired => ("certificate.revoke", "revoked"),
    };
    let title = format!("Certificate {done}: serial {}", record.serial_number);
    let body = format!("Reason: {}.", record.reason);
    (row, effect(kind, title, body, now, entropy))
}

fn effect(
    notification_kind: &'static str,
    title: String,
    body: String,
    now: Time,
    entropy: &Entropy,
) -> EffectRow {
    EffectRow {
        notification_id: ids::new_uuid(now, entropy),
        second_notification_id: ids::new_uuid(now, entropy),
        notification_kind,
        title,
        body,
        audit_id: ids::new_uuid(now, entropy),
        now,
    }
}

/// What people call the certificate: its common name, its first name, or its subject.
fn display_name(record: &CertificateRecord) -> &str {
    let first_name =
        record.sans.first().map(|name| name.split_once(':').map_or(name.as_str(), |(_, value)| value));
    record.common_name.as_deref().or(first_name).unwrap_or(&record.subject)
}
