//! Who answers for a certificate: Core decides it, Secure writes it down.

use clm_secure_db::operations::OperationRow;
use clm_secure_db::owners::OwnerChangeRow;
use clm_types::ids::new_uuid;
use clm_types::{ErrorCode, OperationId, OwnerChange, Refusal, SecureEvent, Time, UserId};
use fail::fail_point;
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::{EventDraft, Write};
use crate::mandates::request_digest;
use crate::{Secure, SecureError};

/// `operations.kind`.
const KIND: &str = "owner";

impl Secure {
    /// Writes down the owner that Core decided on, once per operation id. False, and nothing happens, when a later
    /// decision is there already. One that is there already is no change.
    ///
    /// # Errors
    /// `certificate_not_found`, `operation_id_reused`, `conflict`, or trouble of ours.
    pub async fn change_owner(
        &self,
        operation_id: OperationId,
        change: &OwnerChange,
    ) -> Result<bool, SecureError> {
        let request_sha256 = digest(change)?;
        if self.done_before(operation_id, KIND, &request_sha256).await? {
            return Ok(true);
        }
        let certificate = self.certificate_of(change.certificate_id, change.organization_id).await?;
        if certificate.owner_version > change.version {
            return Ok(false);
        }
        if certificate.owner_user_id == Some(change.to.into()) && certificate.owner_version == change.version
        {
            return Ok(true);
        }
        let now = self.parts.clock.now();
        let write =
            self.owner_write(operation_id, change, certificate.owner_user_id, request_sha256.clone(), now);
        fail_point!("secure_owner_before_store");
        let outcome = self.commit(write).await;
        fail_point!("secure_owner_after_store");
        match outcome {
            Err(error) if error.is_conflict() => {
                if self.done_before(operation_id, KIND, &request_sha256).await? {
                    return Ok(true);
                }
                let detail = "the certificate's owner changed at the same time";
                Err(Refusal::new(ErrorCode::Conflict, detail).hint("try again").into())
            }
            outcome => outcome.map(|()| true),
        }
    }

    fn owner_write(
        &self,
        operation_id: OperationId,
        change: &OwnerChange,
        before: Option<Uuid>,
        request_sha256: Vec<u8>,
        now: Time,
    ) -> Write {
        Write {
            owner_changes: vec![OwnerChangeRow {
                certificate_id: change.certificate_id.into(),
                owner_user_id: change.to.into(),
                version: change.version,
            }],
            operations: vec![OperationRow {
                id: new_uuid(now, &self.parts.entropy),
                operation_id: operation_id.into(),
                kind: KIND.into(),
                request_sha256,
                mandate: None,
                outcome: Some(json!({ "owner_user_id": change.to })),
                created_at: now,
            }],
            audit: vec![audit(operation_id, change, before, now)],
            events: vec![EventDraft {
                operation_id,
                certificate_id: Some(change.certificate_id),
                organization_id: Some(change.organization_id),
                event: SecureEvent::OwnerChanged(change.clone()),
            }],
            ..Write::default()
        }
    }
}

fn digest(change: &OwnerChange) -> Result<Vec<u8>, SecureError> {
    let json = clm_types::canonical_json(change);
    let json = json.map_err(|_| SecureError::Damaged("a change of owner has no JSON form".into()))?;
    Ok(request_digest(format!("owner/{json}").as_bytes()))
}

fn audit(operation_id: OperationId, change: &OwnerChange, before: Option<Uuid>, now: Time) -> AuditDraft {
    let by_itself = change.changed_by == UserId(Uuid::nil());
    AuditDraft {
        occurred_at: now,
        actor: if by_itself { Actor::Core } else { Actor::User(change.changed_by) },
        organization_id: Some(change.organization_id),
        operation_id: Some(operation_id),
        action: "certificate.change_owner",
        object_type: "certificate",
        object_id: Some(change.certificate_id.into()),
        outcome: Outcome::Allowed,
        reason: None,
        detail: json!({ "from": before, "to": change.to, "version": change.version }),
    }
}
