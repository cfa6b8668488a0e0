//! Rotation of the master key, also from one provider to another: every encryption key is wrapped anew.

use clm_secure_db::encryption_keys::{EncryptionKeyRow, KeyQuery, RewrappedKey};
use clm_secure_db::rotations::{self, BatchRow, EndRow, RotationRow};
use clm_types::ids::new_uuid;
use clm_types::{ErrorCode, Refusal};
use fail::fail_point;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::audit_keys::SignedStatement;
use crate::committer::Write;
use crate::custody::key_place;
use crate::{Secure, SecureError};

/// Encryption keys of one commit.
const BATCH: i64 = 200;

/// What a rotation of the master key did.
#[derive(Debug, Clone)]
pub struct MasterRotated {
    /// The master key that was left.
    pub from: String,
    /// The master key that took over.
    pub to: String,
    /// Encryption keys moved by this call.
    pub moved: i64,
    /// Encryption keys that do not open.
    pub failed: i64,
    /// The receipt when nothing is left under the old master key.
    pub receipt: Option<SignedStatement>,
}

impl Secure {
    /// Puts every encryption key under the next master key. Goes on with a rotation that was cut off. `progress` hears of
    /// encryption keys done and to be done.
    ///
    /// # Errors
    /// `conflict` when no next master key is configured, or trouble of ours.
    pub async fn rotate_master_key(
        &self,
        actor: &Actor,
        mut progress: impl FnMut(i64, i64) + Send,
    ) -> Result<MasterRotated, SecureError> {
        let stores = &self.parts.custody.stores;
        let Some(next) = &stores.next_master else {
            return Err(Refusal::new(ErrorCode::Conflict, "no next master key is configured")
                .hint("name it as [next_master_key], restart the service, and call this again")
                .into());
        };
        let (from, to) = (stores.master.reference().to_owned(), next.reference().to_owned());
        let total = self.master_key_counts().await?.into_iter().filter(|(key, _)| *key != to);
        let total = total.map(|(_, keys)| keys).sum();
        let (rotation_id, mut batch) = self.begin_master_rotation(&from, &to, total, actor).await?;
        let (mut moved, mut failed, mut after) = (0, 0, Uuid::nil());
        loop {
            let query = KeyQuery {
                not_under_master_key: Some(to.clone()),
                after,
                limit: BATCH,
                ..KeyQuery::default()
            };
            let keys = self.list_keys(&query).await?;
            let Some(last) = keys.last().map(|key| key.id) else { break };
            batch += 1;
            let failures = self.rewrap_keys(&keys, (rotation_id, batch), last, actor).await?;
            let tried = i64::try_from(keys.len()).unwrap_or(i64::MAX);
            failed += failures;
            moved += tried - failures;
            after = last;
            progress(moved + failed, total);
        }
        let receipt = self.end_master_rotation(rotation_id, (&from, &to), failed, actor).await?;
        Ok(MasterRotated { from, to, moved, failed, receipt })
    }

    /// The references of the master key, and of the one that takes over.
    pub fn master_keys(&self) -> (&str, Option<&str>) {
        let stores = &self.parts.custody.stores;
        (stores.master.reference(), stores.next_master.as_ref().map(crate::MasterKey::reference))
    }

    /// How many encryption keys are under each master key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn master_key_counts(&self) -> Result<Vec<(String, i64)>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(clm_secure_db::encryption_keys::count_by_master_key(&mut conn).await?)
    }

    /// Wraps `keys` anew and commits that as one batch; how many do not open.
    async fn rewrap_keys(
        &self,
        keys: &[EncryptionKeyRow],
        (rotation_id, batch): (Uuid, i32),
        last: Uuid,
        actor: &Actor,
    ) -> Result<i64, SecureError> {
        let now = self.parts.clock.now();
        let (mut rewrapped, mut failures) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match self.rewrap_key(key).await {
                Ok(row) => rewrapped.push(row),
                // A token that is absent is no fault of the key.
                Err(error @ (SecureError::Token(_) | SecureError::Refused(_))) => return Err(error),
                Err(error) => failures.push(json!({ "row": key.id, "why": error.to_string() })),
            }
        }
        let failed = i64::try_from(failures.len()).unwrap_or(i64::MAX);
        let moved: Vec<_> = rewrapped.iter().map(|row| row.id).collect();
        let detail =
            json!({ "rotation_id": rotation_id, "batch": batch, "encryption_keys": moved, "failed": failed });
        let row = BatchRow {
            id: new_uuid(now, &self.parts.entropy),
            rotation_id,
            batch,
            rows_total: i64::try_from(keys.len()).unwrap_or(i64::MAX),
            rows_failed: failed,
            last_row_id: Some(last),
            failures: Value::Array(failures),
            at: now,
        };
        let write = Write {
            rotation_batches: vec![row],
            rewrapped_encryption_keys: rewrapped,
            audit: vec![self.master_audit("master_key.rewrap", actor, detail)],
            ..Write::default()
        };
        self.commit(write).await?;
        fail_point!("secure_master_rotation_after_batch");
        Ok(failed)
    }

    async fn rewrap_key(&self, key: &EncryptionKeyRow) -> Result<RewrappedKey, SecureError> {
        let custody = &self.parts.custody;
        let octets = custody.unwrap_octets(key).await?;
        let master = custody.stores.wrapping_master();
        let place = key_place(key.id, key.key_version);
        let new = master.wrap(&self.parts.entropy, &place, &octets).await?;
        // A key that does not come back must not replace one that does.
        if master.unwrap(&place, &new).await? != octets {
            return Err(SecureError::Crypto("the next master key does not give back what it wrapped"));
        }
        Ok(RewrappedKey {
            id: key.id,
            old: key.wrapped_key_material.clone().unwrap_or_default(),
            new,
            provider: master.provider().into(),
            master_key_reference: master.reference().into(),
        })
    }

    async fn begin_master_rotation(
        &self,
        from: &str,
        to: &str,
        rows_total: i64,
        actor: &Actor,
    ) -> Result<(Uuid, i32), SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let running = rotations::find_running(&mut conn, None, Some(from)).await?;
        drop(conn);
        if let Some(running) = running {
            return Ok((running.rotation_id, running.last_batch));
        }
        let now = self.parts.clock.now();
        let rotation_id = new_uuid(now, &self.parts.entropy);
        let row = RotationRow {
            rotation_id,
            purpose: "master_key".into(),
            organization_id: None,
            from_encryption_key_id: None,
            to_encryption_key_id: None,
            from_master_key: Some(from.into()),
            to_master_key: Some(to.into()),
            rotation_reason: "operator".into(),
            status: "running".into(),
            rows_total,
            rows_reencrypted: 0,
            rows_failed: 0,
            initiated_by: actor.to_string(),
            started_at: now,
            finished_at: None,
        };
        let detail =
            json!({ "rotation_id": rotation_id, "from": from, "to": to, "encryption_keys": rows_total });
        let audit = self.master_audit("master_key.rotate", actor, detail);
        self.commit(Write { rotations: vec![row], audit: vec![audit], ..Write::default() }).await?;
        Ok((rotation_id, 0))
    }

    async fn end_master_rotation(
        &self,
        rotation_id: Uuid,
        (from, to): (&str, &str),
        failed: i64,
        actor: &Actor,
    ) -> Result<Option<SignedStatement>, SecureError> {
        let now = self.parts.clock.now();
        let clean = failed == 0;
        let receipt = if clean {
            let statement = json!({
                "what": "no encryption key is left under this master key",
                "rotation_id": rotation_id, "master_key": from, "rows_left": 0, "at": now,
            });
            Some(self.sign_statement(statement).await?)
        } else {
            None
        };
        let status = if clean { "succeeded" } else { "partial" };
        let detail = json!({ "rotation_id": rotation_id, "from": from, "to": to, "status": status, "receipt": receipt });
        let write = Write {
            rotation_ends: vec![EndRow {
                rotation_id,
                status: status.into(),
                receipt: receipt.as_ref().map(|receipt| json!(receipt)),
                at: now,
            }],
            audit: vec![self.master_audit("master_key.leave", actor, detail)],
            ..Write::default()
        };
        match self.commit(write).await {
            Err(error) if error.is_conflict() => {
                let detail = format!("encryption keys are still made under {from}");
                return Err(Refusal::new(ErrorCode::Conflict, detail)
                    .hint("restart every service, so that it wraps under the next master key, and call this again")
                    .into());
            }
            outcome => outcome?,
        }
        tracing::info!(from, to, failed, "rotated the master key");
        Ok(receipt)
    }

    fn master_audit(&self, action: &'static str, actor: &Actor, detail: Value) -> AuditDraft {
        AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: actor.clone(),
            organization_id: None,
            operation_id: None,
            action,
            object_type: "master_key",
            object_id: None,
            outcome: Outcome::Allowed,
            reason: None,
            detail,
        }
    }
}
