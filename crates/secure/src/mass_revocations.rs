//! Revoking many certificates by one mandate, in one commit.

use std::collections::{HashMap, HashSet};

use clm_secure_db::blocked_keys::BlockedKeyRow;
use clm_secure_db::certificates::StatusChange;
use clm_secure_db::mass_revocations::{self as rows, BatchedRow};
use clm_secure_db::operations::OperationRow;
use clm_secure_db::revocations::{HoldEnd, RevocationRow};
use clm_types::ids::new_uuid;
use clm_types::mass_revocation::LARGEST_BATCH;
use clm_types::{
    BatchedOutcome, CertificateId, CertificateStatus, ErrorCode, Mandate, OrganizationId, Refusal,
    RevocationBatch, RevocationReason, RevocationRecord, SecureEvent, Time,
};
use fail::fail_point;
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::blocked_keys::says_compromised;
use crate::committer::{EventDraft, Write};
use crate::mandates::{self, request_digest};
use crate::order::read;
use crate::recall::same_request;
use crate::revocations::check_reason;
use crate::{Secure, SecureError};

/// Times that a batch is tried while statuses change under it.
const MOST_ATTEMPTS: u32 = 10;

/// Certificates of one key that are listed at most.
const MOST_OF_ONE_KEY: i64 = 10_000;

/// `operations.kind`.
const KIND: &str = "revoke_batch";

/// A checked batch.
struct Order {
    batch: RevocationBatch,
    mandate: Mandate,
    mandate_json: serde_json::Value,
    request_sha256: Vec<u8>,
    now: Time,
}

/// What is to be done with one certificate.
struct Change<'a> {
    row: &'a BatchedRow,
    from: CertificateStatus,
    record: RevocationRecord,
}

impl Secure {
    /// Revokes the certificates of a batch, or puts them on hold, in one commit. Each one once per operation id: a repeated
    /// call finds what the first one did.
    ///
    /// # Errors
    /// `mandate_invalid`, `invalid_request`, `invalidity_date_invalid`, `conflict`, or trouble of ours: nothing was done.
    pub async fn revoke_batch(
        &self,
        batch: &[u8],
        mandate: &[u8],
    ) -> Result<Vec<BatchedOutcome>, SecureError> {
        let order = self.check_batch(batch, mandate).await?;
        let mut attempts = 1;
        loop {
            match self.try_batch(&order).await {
                // Somebody else changed the status of one of them.
                Err(error) if error.is_conflict() && attempts < MOST_ATTEMPTS => attempts += 1,
                Err(error) if error.is_conflict() => {
                    let detail = "the status of certificates of the batch changes at the same time";
                    return Err(Refusal::new(ErrorCode::Conflict, detail).hint("try again").into());
                }
                outcome => return outcome,
            }
        }
    }

    /// Other certificates of the organization with the same public key, that have not ended.
    ///
    /// # Errors
    /// `certificate_not_found`, or the database fails.
    pub async fn list_same_key(
        &self,
        certificate_id: CertificateId,
        organization_id: OrganizationId,
    ) -> Result<Vec<CertificateId>, SecureError> {
        self.certificate_of(certificate_id, organization_id).await?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let (one, organization) = (certificate_id.into(), organization_id.into());
        let now = self.parts.clock.now();
        let found = rows::list_same_key(&mut conn, one, organization, now, MOST_OF_ONE_KEY).await?;
        Ok(found.into_iter().map(CertificateId).collect())
    }

    async fn check_batch(&self, octets: &[u8], mandate_octets: &[u8]) -> Result<Order, SecureError> {
        let now = self.parts.clock.now();
        let batch: RevocationBatch = read("the batch", octets)?;
        let mandate: Mandate = read("the mandate", mandate_octets)?;
        if let Err(refusal) = mandates::check_revoke_batch(&mandate, &batch, octets, now) {
            self.record_refusal(&mandate, "certificate.revoke", &refusal).await;
            return Err(refusal.into());
        }
        check_reason(batch.comment.as_deref(), batch.invalidity_date, now)?;
        let different: HashSet<_> = batch.certificates.iter().map(|one| one.certificate_id).collect();
        let many = batch.certificates.len();
        if many == 0 || many > LARGEST_BATCH || different.len() != many {
            let detail = format!("a batch has 1 to {LARGEST_BATCH} certificates, each once");
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).into());
        }
        if batch.reason == RevocationReason::RemoveFromCrl {
            let detail = "removeFromCRL is no reason to revoke";
            return Err(Refusal::new(ErrorCode::RevocationReasonInvalid, detail).into());
        }
        let mandate_json =
            serde_json::from_slice(mandate_octets).map_err(|_| SecureError::Damaged("a mandate".into()))?;
        Ok(Order { batch, mandate, mandate_json, request_sha256: request_digest(octets), now })
    }

    async fn try_batch(&self, order: &Order) -> Result<Vec<BatchedOutcome>, SecureError> {
        let batch = &order.batch;
        let (certificates, operations): (Vec<Uuid>, Vec<Uuid>) =
            batch.certificates.iter().map(|one| (one.certificate_id.0, one.operation_id.0)).unzip();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let of = (batch.organization_id.into(), batch.authority_id.into());
        let found = rows::list(&mut conn, of, &certificates, &operations).await?;
        let before = clm_secure_db::operations::find(&mut conn, order.mandate.operation_id.into()).await?;
        drop(conn);
        if let Some(before) = &before {
            same_request(before, KIND, &order.request_sha256)?;
        }
        let found: HashMap<Uuid, &BatchedRow> = found.iter().map(|row| (row.certificate_id, row)).collect();
        let mut outcomes = Vec::with_capacity(certificates.len());
        let mut changes = Vec::new();
        for id in certificates {
            outcomes.push(match found.get(&id) {
                Some(row) => order.judge(row, &mut changes)?,
                None => refused(id, ErrorCode::CertificateNotFound),
            });
        }
        if !changes.is_empty() {
            let write = self.batch_write(order, &changes, before.is_some())?;
            fail_point!("secure_revoke_batch_before_store");
            self.commit(write).await?;
            fail_point!("secure_revoke_batch_after_store");
            self.parts.crl_due.notify_one();
            tracing::info!(mass_revocation_id = %batch.mass_revocation_id, revoked = changes.len(), "revoked a batch");
        }
        Ok(outcomes)
    }

    fn batch_write(&self, order: &Order, changes: &[Change<'_>], known: bool) -> Result<Write, SecureError> {
        let batch = &order.batch;
        let mut write = Write::default();
        let mut blocked = HashSet::new();
        for change in changes {
            let (row, record) = (change.row, &change.record);
            write.status_changes.push(StatusChange {
                certificate_id: row.certificate_id,
                from: row.status.clone(),
                to: record.status.as_str().into(),
                revoked_at: Some(record.revoked_at),
                reason: Some(batch.reason.as_str().into()),
            });
            if change.from == CertificateStatus::OnHold {
                write.hold_ends.push(HoldEnd {
                    certificate_id: row.certificate_id,
                    operation_id: row.operation_id,
                    ocsp_status: "revoked".into(),
                });
            }
            write.revocations.push(self.batched_revocation(order, change));
            if says_compromised(batch.reason) && blocked.insert(&row.public_key_sha256) {
                write.blocked_keys.push(BlockedKeyRow {
                    id: new_uuid(order.now, &self.parts.entropy),
                    public_key_sha256: row.public_key_sha256.clone(),
                    source: "revocation".into(),
                    certificate_id: Some(row.certificate_id),
                    comment: None,
                    created_at: order.now,
                });
            }
            write.audit.push(order.audit(record)?);
            write.events.push(EventDraft {
                operation_id: record.operation_id,
                certificate_id: Some(record.certificate_id),
                organization_id: record.organization_id,
                event: SecureEvent::CertificateRevoked(record.clone()),
            });
        }
        // A repeated batch that finds something left to do is the same operation.
        if !known {
            write.operations.push(OperationRow {
                id: new_uuid(order.now, &self.parts.entropy),
                operation_id: order.mandate.operation_id.into(),
                kind: KIND.into(),
                request_sha256: order.request_sha256.clone(),
                mandate: Some(order.mandate_json.clone()),
                outcome: Some(json!({ "revoked": changes.len() })),
                created_at: order.now,
            });
        }
        Ok(write)
    }

    fn batched_revocation(&self, order: &Order, change: &Change<'_>) -> RevocationRow {
        let (batch, row) = (&order.batch, change.row);
        RevocationRow {
            id: new_uuid(order.now, &self.parts.entropy),
            certificate_id: Some(row.certificate_id),
            operation_id: row.operation_id,
            authority_id: batch.authority_id.into(),
            serial_number: row.serial_number.clone(),
            reason_code: batch.reason.code().into(),
            reason: batch.reason.as_str().into(),
            revocation_date: change.record.revoked_at,
            invalidity_date: batch.invalidity_date,
            requested_by_user_id: Some(batch.requested_by.into()),
            comment: batch.comment.clone(),
        }
    }
}

impl Order {
    /// What becomes of one certificate; what is still to be done goes into `changes`.
    fn judge<'a>(
        &self,
        row: &'a BatchedRow,
        changes: &mut Vec<Change<'a>>,
    ) -> Result<BatchedOutcome, SecureError> {
        let damaged = |_| SecureError::Damaged(format!("the status of certificate {}", row.certificate_id));
        if let Some(done_at) = row.done_at {
            let to = if self.batch.reason == RevocationReason::CertificateHold {
                CertificateStatus::OnHold
            } else {
                CertificateStatus::Revoked
            };
            return Ok(BatchedOutcome::Revoked(self.record(row, to, done_at)));
        }
        let reason = row.revocation_reason.as_deref().map(str::parse).transpose().map_err(damaged)?;
        let stored: CertificateStatus = row.status.parse().map_err(damaged)?;
        let from = stored.at(self.now, row.not_after, reason);
        match from.revoke(self.batch.reason) {
            _ if row.of_authority => Ok(refused(row.certificate_id, ErrorCode::PermissionDenied)),
            Err(refusal) => Ok(refused(row.certificate_id, refusal.code)),
            Ok(to) => {
                // A revocation that follows a hold counts from the hold: what was signed meanwhile stays doubtful.
                let since = row.revoked_at.filter(|_| to == CertificateStatus::Revoked).unwrap_or(self.now);
                let record = self.record(row, to, since);
                changes.push(Change { row, from, record: record.clone() });
                Ok(BatchedOutcome::Revoked(record))
            }
        }
    }

    fn record(&self, row: &BatchedRow, to: CertificateStatus, revoked_at: Time) -> RevocationRecord {
        RevocationRecord {
            certificate_id: row.certificate_id.into(),
            operation_id: row.operation_id.into(),
            organization_id: Some(self.batch.organization_id),
            authority_id: self.batch.authority_id,
            serial_number: hex::encode(&row.serial_number),
            status: to,
            reason: self.batch.reason,
            revoked_at,
            invalidity_date: self.batch.invalidity_date,
        }
    }

    fn audit(&self, record: &RevocationRecord) -> Result<AuditDraft, SecureError> {
        let hold = self.batch.reason == RevocationReason::CertificateHold;
        let result = serde_json::to_value(record)
            .map_err(|_| SecureError::Damaged("a revocation has no JSON form".into()))?;
        Ok(AuditDraft {
            occurred_at: self.now,
            actor: Actor::User(self.batch.requested_by),
            organization_id: Some(self.batch.organization_id),
            operation_id: Some(record.operation_id),
            action: if hold { "certificate.hold" } else { "certificate.revoke" },
            object_type: "certificate",
            object_id: Some(record.certificate_id.into()),
            outcome: Outcome::Allowed,
            reason: self.batch.comment.clone(),
            detail: json!({
                "mandate_id": self.mandate.id, "mass_revocation_id": self.batch.mass_revocation_id, "result": result,
            }),
        })
    }
}

fn refused(certificate_id: Uuid, code: ErrorCode) -> BatchedOutcome {
    BatchedOutcome::Refused { certificate_id: certificate_id.into(), code }
}
