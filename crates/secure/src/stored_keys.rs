//! The private keys that Secure holds for certificates: brought in, given rules, deleted, erased.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use clm_secure_db::operations::OperationRow;
use clm_secure_db::private_keys::{self, AccessRow, ImportedKeyRow, KeyStateRow};
use clm_types::ids::new_uuid;
use clm_types::private_key::{IMPORT_INFO, sealed_for};
use clm_types::{
    CertificateId, ErrorCode, KeyAlgorithm, KeyChange, KeyOrder, KeyRecord, OperationId, OrganizationId,
    Refusal, Sealed, SecureAuditEntry, Time, TransportKey,
};
use clm_x509::PublicKey;
use clm_x509::foreign::ForeignCertificate;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::custody::Purpose;
use crate::mandates::request_digest;
use crate::private_keys::PrivateKey;
use crate::{Secure, SecureError};

/// `operations.kind`.
const KIND: &str = "key";

/// Keys erased by one commit.
const ERASED_AT_ONCE: i64 = 200;

impl Secure {
    /// The key that private keys are sealed to on their way here.
    pub fn transport_key(&self) -> TransportKey {
        let point = self.parts.recipient.public();
        TransportKey { id: transport_key_id(point), public_key: STANDARD.encode(point) }
    }

    /// What is known of a certificate's private key.
    ///
    /// # Errors
    /// `certificate_not_found`, `key_not_found`, or the database fails.
    pub async fn find_key_record(
        &self,
        id: CertificateId,
        organization_id: OrganizationId,
    ) -> Result<KeyRecord, SecureError> {
        let certificate = self.certificate_of(id, organization_id).await?;
        let row = self.key_state(certificate.certificate_id).await?;
        record(&row.ok_or_else(key_not_found)?)
    }

    /// Changes a certificate's private key, once per operation id.
    ///
    /// # Errors
    /// `certificate_not_found`, `key_not_found`, `key_exists`, `key_mismatch`, `key_unsealable`, `operation_id_reused`, or
    /// trouble of ours.
    pub async fn change_key(
        &self,
        operation_id: OperationId,
        order: &KeyOrder,
    ) -> Result<KeyRecord, SecureError> {
        let digest = digest(order)?;
        if !self.done_before(operation_id, KIND, &digest).await? {
            let certificate = self.certificate_of(order.certificate_id, order.organization_id).await?;
            let state = self.key_state(certificate.certificate_id).await?;
            let outcome = match (&order.change, state) {
                (KeyChange::Import { transport_key_id, sealed }, None) => {
                    let certificate = ForeignCertificate::parse(&certificate.der_encoded_cert)?;
                    self.import_write(order, &certificate.public_key, transport_key_id, sealed).await
                }
                (KeyChange::Import { .. }, Some(_)) => Err(key_exists().into()),
                (_, None) => Err(key_not_found().into()),
                (_, Some(state)) => change_write(order, &state, self.parts.clock.now()),
            };
            let (mut write, action, key_id) = match outcome {
                Ok(made) => made,
                Err(error) => return Err(self.refuse_key_order(operation_id, order, error).await),
            };
            write.operations = vec![self.key_operation(operation_id, digest.clone())];
            write.audit = vec![self.key_order_audit(operation_id, order, action, Some(key_id), None)];
            match self.commit(write).await {
                Err(error)
                    if error.is_conflict() && !self.done_before(operation_id, KIND, &digest).await? =>
                {
                    self.parts.custody.forget_active();
                    return Err(Refusal::new(
                        ErrorCode::Conflict,
                        "the private key changed at the same time",
                    )
                    .hint("try again")
                    .into());
                }
                Err(error) if !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        self.find_key_record(order.certificate_id, order.organization_id).await
    }

    /// Every access to a certificate's private key, allowed or refused, newest first, 200 at most.
    ///
    /// # Errors
    /// `certificate_not_found`, or the database fails.
    pub async fn list_key_accesses(
        &self,
        id: CertificateId,
        organization_id: OrganizationId,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<SecureAuditEntry>, SecureError> {
        let certificate = self.certificate_of(id, organization_id).await?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let certificate_id = certificate.certificate_id;
        let limit = limit.clamp(1, 200);
        let rows = clm_secure_db::audit::list_key_accesses(&mut conn, certificate_id, before, limit).await?;
        Ok(rows.into_iter().map(crate::audit::entry).collect())
    }

    /// Erases keys that were deleted longer than `kept` ago; how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_deleted_keys(&self, kept: TimeDelta) -> Result<usize, SecureError> {
        let now = self.parts.clock.now();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let due = private_keys::list_to_erase(&mut conn, now - kept, ERASED_AT_ONCE).await?;
        drop(conn);
        if due.is_empty() {
            return Ok(0);
        }
        let audit = due.iter().map(|key| AuditDraft {
            occurred_at: now,
            actor: Actor::Secure,
            organization_id: key.organization_id.map(Into::into),
            operation_id: None,
            action: "private_key.erase",
            object_type: "private_key",
            object_id: Some(key.id),
            outcome: Outcome::Allowed,
            reason: Some("its time after deletion is over".into()),
            detail: json!({ "certificate_id": key.certificate_id, "deleted_at": key.deleted_at }),
        });
        let audit = audit.collect();
        let erased_keys = due.iter().map(|key| key.id).collect();
        self.commit(Write { erased_keys, audit, ..Write::default() }).await?;
        tracing::info!(keys = due.len(), "erased private keys that were deleted");
        Ok(due.len())
    }

    pub(crate) async fn key_state(&self, certificate_id: Uuid) -> Result<Option<KeyStateRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(private_keys::find_state(&mut conn, certificate_id).await?)
    }

    async fn import_write(
        &self,
        order: &KeyOrder,
        public: &PublicKey,
        transport_key_id: &str,
        sealed: &Sealed,
    ) -> Result<(Write, &'static str, Uuid), SecureError> {
        let recipient = &self.parts.recipient;
        if transport_key_id != self::transport_key_id(recipient.public()) {
            return Err(Refusal::new(ErrorCode::KeyUnsealable, "the transport key is not the one in use")
                .hint("fetch it again, and seal to it")
                .into());
        }
        let octets = recipient.open(IMPORT_INFO, &sealed_for(order.certificate_id), sealed)?;
        let algorithm = public.algorithm();
        let mismatch =
            |_| Refusal::new(ErrorCode::KeyMismatch, format!("it is no PKCS#8 key of type {algorithm}"));
        let key = PrivateKey::from_pkcs8(algorithm, &octets).map_err(mismatch)?;
        if key.public() != public {
            return Err(
                Refusal::new(ErrorCode::KeyMismatch, "its public half is not the certified one").into()
            );
        }
        let wrapped = self.wrap_private_key(Purpose::Certificates, Some(order.organization_id), &key).await?;
        let row = ImportedKeyRow {
            id: wrapped.private_key_id.into(),
            certificate_id: order.certificate_id.into(),
            organization_id: Some(order.organization_id.into()),
            encrypted_key_material: wrapped.ciphertext,
            encryption_key_id: wrapped.encryption_key_id,
            encryption_algorithm: crate::wrapping::ALGORITHM.into(),
            key_algorithm: algorithm.as_str().into(),
            key_size: i32::try_from(algorithm.bits()).unwrap_or(i32::MAX),
            public_key_sha256: public.fingerprint().to_vec(),
            created_at: self.parts.clock.now(),
        };
        let id = row.id;
        Ok((Write { imported_keys: vec![row], ..Write::default() }, "private_key.import", id))
    }

    /// A refused order is an event that auditors must see.
    async fn refuse_key_order(
        &self,
        operation_id: OperationId,
        order: &KeyOrder,
        error: SecureError,
    ) -> SecureError {
        if let SecureError::Refused(refusal) = &error {
            let action = action_of(&order.change);
            let entry = self.key_order_audit(operation_id, order, action, None, Some(refusal));
            self.record_refused_access(entry).await;
        }
        error
    }

    /// Writes an entry about an access that was refused. The refusal stands whether or not this succeeds.
    pub(crate) async fn record_refused_access(&self, entry: AuditDraft) {
        if let Err(error) = self.commit(Write { audit: vec![entry], ..Write::default() }).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refusal could not be recorded");
        }
    }

    fn key_operation(&self, operation_id: OperationId, request_sha256: Vec<u8>) -> OperationRow {
        let now = self.parts.clock.now();
        OperationRow {
            id: new_uuid(now, &self.parts.entropy),
            operation_id: operation_id.into(),
            kind: KIND.into(),
            request_sha256,
            mandate: None,
            outcome: Some(json!({})),
            created_at: now,
        }
    }

    fn key_order_audit(
        &self,
        operation_id: OperationId,
        order: &KeyOrder,
        action: &'static str,
        key_id: Option<Uuid>,
        refusal: Option<&Refusal>,
    ) -> AuditDraft {
        let mut detail = json!({ "certificate_id": order.certificate_id });
        if let KeyChange::SetAccess { exportable, users } = &order.change {
            detail =
                json!({ "certificate_id": order.certificate_id, "exportable": exportable, "users": users });
        }
        AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::User(order.ordered_by),
            organization_id: Some(order.organization_id),
            operation_id: Some(operation_id),
            action,
            object_type: "private_key",
            object_id: key_id.or(Some(order.certificate_id.into())),
            outcome: if refusal.is_some() { Outcome::Refused } else { Outcome::Allowed },
            reason: refusal.map(|refusal| refusal.detail.clone()).or_else(|| order.reason.clone()),
            detail,
        }
    }
}

const fn action_of(change: &KeyChange) -> &'static str {
    match change {
        KeyChange::Import { .. } => "private_key.import",
        KeyChange::SetAccess { .. } => "private_key.set_access",
        KeyChange::Delete => "private_key.delete",
        KeyChange::Restore => "private_key.restore",
    }
}

/// The change of a key that is there; its state must still be the one that was read.
fn change_write(
    order: &KeyOrder,
    state: &KeyStateRow,
    now: Time,
) -> Result<(Write, &'static str, Uuid), SecureError> {
    if state.destroyed_at.is_some() {
        return Err(key_not_found().into());
    }
    let unchanged = AccessRow {
        id: state.id,
        version: state.version,
        exportable: state.exportable,
        access_control: state.access_control.clone(),
        deleted_at: state.deleted_at,
    };
    let row = match &order.change {
        KeyChange::SetAccess { exportable, .. } if *exportable && state.hsm => {
            let detail = "the key lives in a token, which gives it to nobody";
            return Err(Refusal::new(ErrorCode::KeyNotExportable, detail).into());
        }
        KeyChange::SetAccess { exportable, users } => {
            AccessRow { exportable: *exportable, access_control: json!({ "users": users }), ..unchanged }
        }
        KeyChange::Delete => AccessRow { deleted_at: state.deleted_at.or(Some(now)), ..unchanged },
        KeyChange::Restore | KeyChange::Import { .. } => AccessRow { deleted_at: None, ..unchanged },
    };
    Ok((Write { key_changes: vec![row], ..Write::default() }, action_of(&order.change), state.id))
}

fn record(row: &KeyStateRow) -> Result<KeyRecord, SecureError> {
    let damaged = |_| SecureError::Damaged(format!("the algorithm of private key {}", row.id));
    Ok(KeyRecord {
        certificate_id: row.certificate_id.into(),
        key_algorithm: row.key_algorithm.parse::<KeyAlgorithm>().map_err(damaged)?,
        origin: row.origin.clone(),
        exportable: row.exportable,
        users: users_of(&row.access_control),
        access_count: row.access_count,
        last_accessed_at: row.last_accessed_at,
        deleted_at: row.deleted_at,
        destroyed_at: row.destroyed_at,
        created_at: row.created_at,
    })
}

/// The users whom `private_keys.access_control` names.
pub(crate) fn users_of(access_control: &Value) -> Vec<clm_types::UserId> {
    let users = access_control.get("users").cloned().unwrap_or_default();
    serde_json::from_value(users).unwrap_or_default()
}

fn transport_key_id(point: &[u8]) -> String {
    hex::encode(clm_x509::sha256(point).get(..8).unwrap_or_default())
}

pub(crate) fn key_not_found() -> Refusal {
    Refusal::new(ErrorCode::KeyNotFound, "Secure holds no private key of this certificate")
}

fn key_exists() -> Refusal {
    Refusal::new(ErrorCode::KeyExists, "Secure holds, or held, a private key of this certificate")
}

fn digest(order: &KeyOrder) -> Result<Vec<u8>, SecureError> {
    let json = clm_types::canonical_json(order);
    let json = json.map_err(|_| SecureError::Damaged("an order has no JSON form".into()))?;
    Ok(request_digest(format!("key/{json}").as_bytes()))
}
