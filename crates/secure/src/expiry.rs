//! Certificates past their end: marked so, each with its audit entry and its event.
//!
//! What a certificate was before stays visible: date and reason of a hold are kept, and its revocation stays in force,
//! so that OCSP and CRL go on saying what they said. A revoked certificate stays revoked.

use std::time::Duration;

use clm_secure_db::certificates::StatusChange;
use clm_secure_db::expiry::{self, EndedRow};
use clm_types::{CertificateStatus, OperationId, SecureEvent, Time};
use serde_json::json;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::{EventDraft, Write};
use crate::{Secure, SecureError};

/// How often ended certificates are looked for.
const PERIOD: Duration = Duration::from_secs(30);
/// Certificates of one commit.
const MOST_AT_ONCE: u16 = 500;

impl Secure {
    /// Marks what has ended, for ever. Every process may: who comes second finds nothing left.
    pub async fn run_expiry(&self) {
        loop {
            match self.expire_certificates().await {
                Ok(expired) if expired == usize::from(MOST_AT_ONCE) => continue,
                Ok(_) => {}
                // Another process was faster, or somebody revoked one meanwhile.
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "ended certificates could not be marked"
                    );
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Marks some of the certificates that are past their end as expired; how many.
    ///
    /// # Errors
    /// A conflict when the state of one changes at the same time; when the database fails.
    pub async fn expire_certificates(&self) -> Result<usize, SecureError> {
        let now = self.parts.clock.now();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let ended = expiry::list_ended(&mut conn, now, MOST_AT_ONCE.into()).await?;
        drop(conn);
        if ended.is_empty() {
            return Ok(0);
        }
        let operations: Vec<_> =
            ended.iter().map(|_| OperationId::generate(now, &self.parts.entropy)).collect();
        let with_operation = || ended.iter().zip(operations.iter().copied());
        let write = Write {
            status_changes: ended.iter().map(expired).collect(),
            audit: with_operation().map(|(row, operation_id)| audit(row, operation_id, now)).collect(),
            events: with_operation().map(|(row, operation_id)| event(row, operation_id)).collect(),
            ..Write::default()
        };
        self.commit(write).await?;
        tracing::info!(expired = ended.len(), "marked certificates as expired");
        Ok(ended.len())
    }
}

fn expired(row: &EndedRow) -> StatusChange {
    StatusChange {
        certificate_id: row.certificate_id,
        from: row.status.clone(),
        to: CertificateStatus::Expired.as_str().into(),
        revoked_at: row.revoked_at,
        reason: row.revocation_reason.clone(),
    }
}

fn audit(row: &EndedRow, operation_id: OperationId, now: Time) -> AuditDraft {
    AuditDraft {
        occurred_at: now,
        actor: Actor::Secure,
        organization_id: row.organization_id.map(Into::into),
        operation_id: Some(operation_id),
        action: "certificate.expire",
        object_type: "certificate",
        object_id: Some(row.certificate_id),
        outcome: Outcome::Allowed,
        reason: None,
        detail: json!({ "from": row.status, "not_after": row.not_after }),
    }
}

fn event(row: &EndedRow, operation_id: OperationId) -> EventDraft {
    let certificate_id = row.certificate_id.into();
    EventDraft {
        operation_id,
        certificate_id: Some(certificate_id),
        organization_id: row.organization_id.map(Into::into),
        event: SecureEvent::CertificateExpired { certificate_id, not_after: row.not_after },
    }
}
