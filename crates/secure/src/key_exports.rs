//! Private keys that leave Secure: sealed to the recipient that was named, on a mandate with approvals, for a day.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use clm_secure_db::operations::OperationRow;
use clm_secure_db::private_keys::KeyStateRow;
use clm_types::ids::new_uuid;
use clm_types::private_key::{EXPORT_INFO, sealed_for};
use clm_types::{
    ErrorCode, ExportedKey, KeyExportGrant, KeyExportPurpose, KeyExportSpec, Mandate, OperationId,
    OrganizationId, Refusal, Time, UserId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::mandates::{check_key_export, request_digest};
use crate::order::read;
use crate::private_keys::PrivateKey;
use crate::stored_keys::{key_not_found, users_of};
use crate::{Secure, SecureError, sealing};

/// `operations.kind`.
const KIND: &str = "key_export";

/// How long a granted key may be fetched.
const OPEN_FOR: TimeDelta = TimeDelta::days(1);

/// What is stored of a grant.
#[derive(serde::Serialize, serde::Deserialize)]
struct Granted {
    spec: KeyExportSpec,
    until: Time,
}

impl Secure {
    /// Lets a private key be fetched, once per operation id.
    ///
    /// `spec` and `mandate` are the canonical JSON octets of [`KeyExportSpec`] and [`Mandate`].
    ///
    /// # Errors
    /// `mandate_invalid`, `mandate_outside_envelope`, `certificate_not_found`, `key_not_found`, `key_not_exportable`,
    /// `permission_denied`, `operation_id_reused`, or trouble of ours.
    pub async fn grant_key_export(
        &self,
        spec_octets: &[u8],
        mandate_octets: &[u8],
    ) -> Result<KeyExportGrant, SecureError> {
        let spec: KeyExportSpec = read("the order to export a key", spec_octets)?;
        let mandate: Mandate = read("the mandate", mandate_octets)?;
        let digest = request_digest(spec_octets);
        let operation_id = mandate.operation_id;
        if let Some(granted) = self.granted(operation_id, Some(&digest)).await? {
            return Ok(KeyExportGrant { operation_id, until: granted.until });
        }
        let now = self.parts.clock.now();
        let key = match self.check_export(&spec, &mandate, spec_octets, now).await {
            Ok(key) => key,
            Err(error) => {
                if let SecureError::Refused(refusal) = &error {
                    let entry =
                        audit(&spec, operation_id, "private_key.grant_export", None, Some(refusal), now);
                    self.record_refused_access(entry).await;
                }
                return Err(error);
            }
        };
        let granted = Granted { until: now + OPEN_FOR, spec };
        let spec = &granted.spec;
        let outcome = serde_json::to_value(&granted);
        let mandate_json: Value = read("the mandate", mandate_octets)?;
        let mut entry = audit(spec, operation_id, "private_key.grant_export", Some(key.id), None, now);
        entry.detail = json!({
            "certificate_id": spec.certificate_id, "purpose": spec.purpose, "mandate_id": mandate.id,
            "approvals": mandate.approvals, "until": granted.until,
            "recipient_sha256": hex::encode(clm_x509::sha256(spec.recipient.as_bytes())),
        });
        let write = Write {
            operations: vec![OperationRow {
                id: new_uuid(now, &self.parts.entropy),
                operation_id: operation_id.into(),
                kind: KIND.into(),
                request_sha256: digest,
                mandate: Some(mandate_json),
                outcome: Some(outcome.map_err(|_| SecureError::Damaged("a grant has no JSON form".into()))?),
                created_at: now,
            }],
            audit: vec![entry],
            ..Write::default()
        };
        self.commit(write).await?;
        Ok(KeyExportGrant { operation_id, until: granted.until })
    }

    /// The granted key, sealed to its recipient. It may be fetched again while the grant is open: each time is recorded.
    ///
    /// # Errors
    /// `key_export_not_open` unless this requester's grant is open now; `key_not_found` when the key is gone.
    pub async fn fetch_key(
        &self,
        operation_id: OperationId,
        organization_id: OrganizationId,
        requested_by: UserId,
    ) -> Result<ExportedKey, SecureError> {
        let now = self.parts.clock.now();
        let not_open = |detail: &str| Refusal::new(ErrorCode::KeyExportNotOpen, detail);
        let granted = self.granted(operation_id, None).await?;
        let Granted { spec, until } = granted.ok_or_else(|| not_open("it is not granted"))?;
        if (spec.organization_id, spec.requested_by) != (organization_id, requested_by) {
            let refusal = not_open("it was granted to somebody else");
            let mut entry = audit(&spec, operation_id, "private_key.export", None, Some(&refusal), now);
            entry.actor = Actor::User(requested_by);
            self.record_refused_access(entry).await;
            return Err(refusal.into());
        }
        if until <= now {
            let refusal = not_open(&format!("it could be fetched until {until}"));
            let entry = audit(&spec, operation_id, "private_key.export", None, Some(&refusal), now);
            self.record_refused_access(entry).await;
            return Err(refusal.into());
        }
        let state = self.key_state(spec.certificate_id.into()).await?.ok_or_else(key_not_found)?;
        check_state(&state, &spec)?;
        let key = self.open_stored(&state).await?;
        let recipient = STANDARD.decode(&spec.recipient).unwrap_or_default();
        let sealed =
            sealing::seal(&recipient, EXPORT_INFO, &sealed_for(spec.certificate_id), &key.to_pkcs8()?)?;
        let write = Write {
            key_accesses: vec![state.id],
            audit: vec![audit(&spec, operation_id, "private_key.export", Some(state.id), None, now)],
            ..Write::default()
        };
        // Nothing leaves unless the access is on record.
        self.commit(write).await?;
        Ok(ExportedKey {
            certificate_id: spec.certificate_id,
            key_algorithm: key.public().algorithm(),
            sealed,
        })
    }

    async fn check_export(
        &self,
        spec: &KeyExportSpec,
        mandate: &Mandate,
        octets: &[u8],
        now: Time,
    ) -> Result<KeyStateRow, SecureError> {
        let certificate = self.certificate_of(spec.certificate_id, spec.organization_id).await?;
        check_key_export(mandate, spec, certificate.authority_id.into(), octets, now)?;
        let authority = self.authority(certificate.authority_id.into()).await?;
        authority.envelope.check_export(mandate)?;
        let recipient = STANDARD.decode(&spec.recipient).unwrap_or_default();
        // A recipient that nothing can be sealed to is found now, not after the approvals.
        sealing::seal(&recipient, EXPORT_INFO, b"", b"")?;
        let state = self.key_state(certificate.certificate_id).await?.ok_or_else(key_not_found)?;
        check_state(&state, spec)?;
        Ok(state)
    }

    async fn granted(
        &self,
        operation_id: OperationId,
        digest: Option<&[u8]>,
    ) -> Result<Option<Granted>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let operation = clm_secure_db::operations::find(&mut conn, operation_id.into()).await?;
        let Some(operation) = operation else { return Ok(None) };
        if operation.kind != KIND || digest.is_some_and(|digest| operation.request_sha256 != digest) {
            return Err(crate::recall::reused().into());
        }
        let damaged = |_| SecureError::Damaged(format!("the grant of operation {operation_id}"));
        operation.outcome.map(serde_json::from_value).transpose().map_err(damaged)
    }

    async fn open_stored(&self, state: &KeyStateRow) -> Result<PrivateKey, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let row = clm_secure_db::private_keys::find_kept(&mut conn, state.certificate_id).await?;
        drop(conn);
        self.unwrap_private_key(&row.ok_or_else(key_not_found)?).await
    }
}

/// The key's own rules. Recovery is for keys that their users cannot or must not reach any more.
fn check_state(state: &KeyStateRow, spec: &KeyExportSpec) -> Result<(), Refusal> {
    if state.destroyed_at.is_some()
        || (state.deleted_at.is_some() && spec.purpose == KeyExportPurpose::Export)
    {
        return Err(key_not_found());
    }
    if !state.exportable {
        return Err(Refusal::new(ErrorCode::KeyNotExportable, "the private key may not leave Secure")
            .hint("whoever manages keys may allow it: clm cert key set-access CERTIFICATE --exportable"));
    }
    let users = users_of(&state.access_control);
    let named = users.is_empty() || users.contains(&spec.requested_by);
    if spec.purpose == KeyExportPurpose::Export && !named {
        return Err(Refusal::new(ErrorCode::PermissionDenied, "the private key's rules do not name you"));
    }
    Ok(())
}

fn audit(
    spec: &KeyExportSpec,
    operation_id: OperationId,
    action: &'static str,
    key_id: Option<Uuid>,
    refusal: Option<&Refusal>,
    now: Time,
) -> AuditDraft {
    let why = format!("{}: {}", spec.purpose, spec.reason);
    AuditDraft {
        occurred_at: now,
        actor: Actor::User(spec.requested_by),
        organization_id: Some(spec.organization_id),
        operation_id: Some(operation_id),
        action,
        object_type: "private_key",
        object_id: key_id.or(Some(spec.certificate_id.into())),
        outcome: if refusal.is_some() { Outcome::Refused } else { Outcome::Allowed },
        reason: Some(refusal.map_or(why, |refusal| refusal.detail.clone())),
        detail: json!({ "certificate_id": spec.certificate_id, "purpose": spec.purpose }),
    }
}
