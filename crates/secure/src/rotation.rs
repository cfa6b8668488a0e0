//! Rotation of encryption keys: a new version takes over, what the old one protects moves to it in batches while
//! everything goes on, and the old one is destroyed when nothing is left under it.
//!
//! What is still under the old version is the work left: a rotation that was cut off goes on from there.

use std::collections::HashSet;

use chrono::TimeDelta;
use clm_secure_db::encryption_keys::{self, EncryptionKeyRow, KeyQuery};
use clm_secure_db::rotations::{self, BatchRow, EndRow, RotationRow};
use clm_secure_db::wrapped_keys::{self, RewrappedRow, WrappedIn, WrappedKeyRow};
use clm_types::ids::new_uuid;
use clm_types::{ErrorCode, Refusal};
use fail::fail_point;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::audit_keys::SignedStatement;
use crate::committer::Write;
use crate::custody::{DataKey, Purpose, Table, place as place_of};
use crate::{Secure, SecureError};

/// Ciphertexts of one commit.
const BATCH: i64 = 1_000;

/// Keys that one look of the schedule rotates.
const MOST_AT_ONCE: i64 = 100;

/// Failed rows that a batch names.
const MOST_NAMED: usize = 50;

/// Why a rotation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationReason {
    /// Its time has come.
    Scheduled,
    /// An operator wants it.
    Operator,
    /// The old version may be known to others.
    Compromise,
}

impl RotationReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Operator => "operator",
            Self::Compromise => "compromise",
        }
    }
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy)]
pub struct RotationProgress<'a> {
    /// The version that is left.
    pub key_identifier: &'a str,
    /// Ciphertexts tried so far.
    pub done: i64,
    /// Ciphertexts at the start.
    pub total: i64,
}

/// What a rotation did.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The rotation's identity.
    pub rotation_id: Uuid,
    /// The version that was left.
    pub from: String,
    /// The version that took over.
    pub to: String,
    /// Ciphertexts moved by this call.
    pub moved: i64,
    /// Ciphertexts that do not open; they stay, and so does their key.
    pub failed: i64,
    /// The receipt when the old version was destroyed.
    pub receipt: Option<SignedStatement>,
}

/// A pass over the ciphertexts of one place.
struct Pass {
    rotation_id: Uuid,
    batch: i32,
    moved: i64,
    /// Rows that do not open: each is tried once.
    failed: HashSet<Uuid>,
}

impl Pass {
    fn failed(&self) -> i64 {
        i64::try_from(self.failed.len()).unwrap_or(i64::MAX)
    }
}

/// One batch, made anew in memory.
struct Rewrapped {
    place: WrappedIn,
    rows: Vec<RewrappedRow>,
    failures: Vec<(Uuid, String)>,
    last: Uuid,
}

impl Rewrapped {
    fn tried(&self) -> i64 {
        i64::try_from(self.rows.len() + self.failures.len()).unwrap_or(i64::MAX)
    }
}

impl Secure {
    /// Rotates one key: the active version of a purpose and organization to a new version, or a version that wraps no
    /// more to the active one. Goes on with a rotation that was cut off. `progress` hears of every batch.
    ///
    /// # Errors
    /// `not_found` for an unknown name, `conflict` for a destroyed key, or trouble of ours.
    pub async fn rotate_key(
        &self,
        key_identifier: &str,
        reason: RotationReason,
        actor: &Actor,
        mut progress: impl FnMut(RotationProgress<'_>) + Send,
    ) -> Result<Rotated, SecureError> {
        let from = self.find_key(key_identifier).await?;
        let to = self.successor_of(&from, actor).await?;
        let mut pass = self.begin_rotation(&from, &to, reason, actor).await?;
        let (old, new) = (self.encryption_key(from.id).await?, self.encryption_key(to.id).await?);
        let total = self.blast_radius(from.id).await?.rows();
        // A key that waits in an intent moves to `private_keys` meanwhile, and may do so behind the reader's back.
        let ended = loop {
            for place in WrappedIn::ALL {
                let mut after = Uuid::nil();
                while let Some(batch) = self.next_batch(&pass, place, &mut after, (&old, &new)).await? {
                    if batch.tried() > 0 {
                        self.commit_batch(&mut pass, &from, &to, batch, actor).await.map_err(interrupted)?;
                        progress(RotationProgress {
                            key_identifier,
                            done: pass.moved + pass.failed(),
                            total,
                        });
                    }
                }
            }
            if self.blast_radius(from.id).await?.rows() <= pass.failed() {
                break self.end_rotation(pass, &from, &to, actor).await;
            }
        };
        ended.map_err(interrupted)
    }

    /// The ciphertexts that follow `after`, under the new key; none when all were seen.
    async fn next_batch(
        &self,
        pass: &Pass,
        place: WrappedIn,
        after: &mut Uuid,
        (old, new): (&DataKey, &DataKey),
    ) -> Result<Option<Rewrapped>, SecureError> {
        let mut rows = self.wrapped_under(place, old.id, *after).await?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
        *after = last;
        rows.retain(|row| !pass.failed.contains(&row.id));
        Ok(Some(self.rewrap(place, &rows, old, new, last)))
    }

    /// Rotates what is due: keys near the end of their crypto-period or of their uses, and what earlier versions still
    /// protect. How many keys were rotated.
    ///
    /// # Errors
    /// The first failure; what was rotated before stays so.
    pub async fn rotate_due_keys(&self, before_end: TimeDelta) -> Result<usize, SecureError> {
        let now = self.parts.clock.now();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let retry = now - TimeDelta::days(1);
        let due = encryption_keys::list_due(&mut conn, now + before_end, retry, MOST_AT_ONCE).await?;
        drop(conn);
        for key in &due {
            let reason = if key.state == "compromised" {
                RotationReason::Compromise
            } else {
                RotationReason::Scheduled
            };
            self.rotate_key(&key.key_identifier, reason, &Actor::Secure, |_| {}).await?;
        }
        Ok(due.len())
    }

    /// Rotations, newest first, `limit` at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_rotations(&self, limit: i64) -> Result<Vec<RotationRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(rotations::list(&mut conn, limit).await?)
    }

    /// The version that takes over from `from`: made, tried, and active.
    async fn successor_of(
        &self,
        from: &EncryptionKeyRow,
        actor: &Actor,
    ) -> Result<EncryptionKeyRow, SecureError> {
        if from.state == "destroyed" {
            let detail = format!("`{}` is destroyed: nothing is under it", from.key_identifier);
            return Err(Refusal::new(ErrorCode::Conflict, detail).into());
        }
        let owner = Purpose::owner_of(from)?;
        if from.state != "active" {
            // What wraps now takes the rest over.
            self.active_key(owner).await?;
            let active = self.find_active(owner).await?;
            return active.ok_or(SecureError::Crypto("no active encryption key"));
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let newest = encryption_keys::newest_version(&mut conn, &from.purpose, from.organization_id).await?;
        drop(conn);
        let query = KeyQuery {
            purpose: Some(from.purpose.clone()),
            organization_id: from.organization_id,
            not_destroyed: true,
            after: from.id,
            limit: 100,
            ..KeyQuery::default()
        };
        let waiting = self
            .list_keys(&query)
            .await?
            .into_iter()
            .find(|key| key.state == "pre_active" && key.organization_id == from.organization_id);
        let made = match waiting {
            Some(made) => made,
            None => self.make_ahead(from, newest + 1, actor).await?,
        };
        // A key that its master key does not give back must never become active.
        self.parts.custody.unwrap_octets(&made).await?;
        self.activate_key(from, &made, actor).await?;
        Ok(made)
    }

    async fn make_ahead(
        &self,
        from: &EncryptionKeyRow,
        version: i32,
        actor: &Actor,
    ) -> Result<EncryptionKeyRow, SecureError> {
        let row = self.new_key_row(Purpose::owner_of(from)?, version, "pre_active").await?;
        let audit =
            self.key_audit("encryption_key.create", &row, actor, json!({ "takes_over_from": from.id }));
        let write = Write { new_encryption_keys: vec![row.clone()], audit: vec![audit], ..Write::default() };
        self.commit(write).await?;
        fail_point!("secure_rotation_after_make");
        Ok(row)
    }

    async fn activate_key(
        &self,
        from: &EncryptionKeyRow,
        to: &EncryptionKeyRow,
        actor: &Actor,
    ) -> Result<(), SecureError> {
        let audit =
            self.key_audit("encryption_key.activate", to, actor, json!({ "takes_over_from": from.id }));
        let write = Write {
            retired_encryption_keys: vec![from.id],
            activated_encryption_keys: vec![to.id],
            audit: vec![audit],
            ..Write::default()
        };
        self.commit(write).await?;
        self.parts.custody.forget_active();
        fail_point!("secure_rotation_after_activate");
        Ok(())
    }

    /// Takes a running rotation up, or begins one.
    async fn begin_rotation(
        &self,
        from: &EncryptionKeyRow,
        to: &EncryptionKeyRow,
        reason: RotationReason,
        actor: &Actor,
    ) -> Result<Pass, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let running = rotations::find_running(&mut conn, Some(from.id), None).await?;
        drop(conn);
        let started = |rotation_id, batch| Pass { rotation_id, batch, moved: 0, failed: HashSet::new() };
        if let Some(running) = running {
            return Ok(started(running.rotation_id, running.last_batch));
        }
        let now = self.parts.clock.now();
        let row = RotationRow {
            rotation_id: new_uuid(now, &self.parts.entropy),
            purpose: from.purpose.clone(),
            organization_id: from.organization_id,
            from_encryption_key_id: Some(from.id),
            to_encryption_key_id: Some(to.id),
            from_master_key: None,
            to_master_key: None,
            rotation_reason: reason.as_str().into(),
            status: "running".into(),
            rows_total: self.blast_radius(from.id).await?.rows(),
            rows_reencrypted: 0,
            rows_failed: 0,
            initiated_by: actor.to_string(),
            started_at: now,
            finished_at: None,
        };
        let rotation_id = row.rotation_id;
        let detail = json!({ "rotation_id": rotation_id, "to": to.id, "rows": row.rows_total, "why": reason.as_str() });
        let audit = self.key_audit("encryption_key.rotate", from, actor, detail);
        self.commit(Write { rotations: vec![row], audit: vec![audit], ..Write::default() }).await?;
        Ok(started(rotation_id, 0))
    }

    async fn wrapped_under(
        &self,
        place: WrappedIn,
        id: Uuid,
        after: Uuid,
    ) -> Result<Vec<WrappedKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(wrapped_keys::list(&mut conn, place, id, after, BATCH).await?)
    }

    fn rewrap(
        &self,
        place: WrappedIn,
        rows: &[WrappedKeyRow],
        old: &DataKey,
        new: &DataKey,
        last: Uuid,
    ) -> Rewrapped {
        let mut batch = Rewrapped { place, rows: Vec::with_capacity(rows.len()), failures: vec![], last };
        for row in rows {
            let (table, id) = (Table::of(place), row.secret_id);
            let made = old
                .key
                .unwrap(&place_of(table, id, old), &row.ciphertext)
                .and_then(|octets| new.key.wrap(&self.parts.entropy, &place_of(table, id, new), &octets));
            match made {
                Ok(made) => {
                    batch.rows.push(RewrappedRow { id: row.id, old: row.ciphertext.clone(), new: made });
                }
                Err(error) => batch.failures.push((row.id, error.to_string())),
            }
        }
        batch
    }

    async fn commit_batch(
        &self,
        pass: &mut Pass,
        from: &EncryptionKeyRow,
        to: &EncryptionKeyRow,
        batch: Rewrapped,
        actor: &Actor,
    ) -> Result<(), SecureError> {
        let now = self.parts.clock.now();
        let failed = i64::try_from(batch.failures.len()).unwrap_or(i64::MAX);
        let tried = batch.tried();
        pass.batch += 1;
        let named = batch.failures.iter().take(MOST_NAMED);
        let named = named.map(|(id, why)| json!({ "row": id, "why": why })).collect();
        let detail = json!({
            "rotation_id": pass.rotation_id, "batch": pass.batch, "to": to.id, "rows": tried, "failed": failed,
        });
        let write = Write {
            rotation_batches: vec![BatchRow {
                id: new_uuid(now, &self.parts.entropy),
                rotation_id: pass.rotation_id,
                batch: pass.batch,
                rows_total: tried,
                rows_failed: failed,
                last_row_id: Some(batch.last),
                failures: Value::Array(named),
                at: now,
            }],
            rewraps: vec![Rewrap { place: batch.place, from: from.id, to: to.id, rows: batch.rows }],
            audit: vec![self.key_audit("encryption_key.rewrap", from, actor, detail)],
            ..Write::default()
        };
        self.commit(write).await?;
        fail_point!("secure_rotation_after_batch");
        pass.moved += tried - failed;
        pass.failed.extend(batch.failures.iter().map(|(id, _)| id));
        Ok(())
    }

    async fn end_rotation(
        &self,
        pass: Pass,
        from: &EncryptionKeyRow,
        to: &EncryptionKeyRow,
        actor: &Actor,
    ) -> Result<Rotated, SecureError> {
        let now = self.parts.clock.now();
        let clean = pass.failed.is_empty();
        let receipt = if clean {
            let statement = json!({
                "what": "no row is left under this encryption key, and its material was erased",
                "rotation_id": pass.rotation_id, "encryption_key": from.key_identifier,
                "encryption_key_id": from.id, "rows_left": 0, "at": now,
            });
            Some(self.sign_statement(statement).await?)
        } else {
            None
        };
        let status = if clean { "succeeded" } else { "partial" };
        let detail = json!({ "rotation_id": pass.rotation_id, "status": status, "failed": pass.failed(), "receipt": receipt });
        let action = if clean { "encryption_key.destroy" } else { "encryption_key.rotate" };
        let write = Write {
            destroyed_encryption_keys: clean.then_some(from.id).into_iter().collect(),
            rotation_ends: vec![EndRow {
                rotation_id: pass.rotation_id,
                status: status.into(),
                receipt: receipt.as_ref().map(|receipt| json!(receipt)),
                at: now,
            }],
            audit: vec![self.key_audit(action, from, actor, detail)],
            ..Write::default()
        };
        self.commit(write).await?;
        self.parts.custody.forget(from.id);
        tracing::info!(from = %from.key_identifier, to = %to.key_identifier, moved = pass.moved, failed = pass.failed(), "rotated an encryption key");
        Ok(Rotated {
            rotation_id: pass.rotation_id,
            from: from.key_identifier.clone(),
            to: to.key_identifier.clone(),
            moved: pass.moved,
            failed: pass.failed(),
            receipt,
        })
    }

    pub(crate) fn key_audit(
        &self,
        action: &'static str,
        key: &EncryptionKeyRow,
        actor: &Actor,
        detail: Value,
    ) -> AuditDraft {
        AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: actor.clone(),
            organization_id: key.organization_id.map(Into::into),
            operation_id: None,
            action,
            object_type: "encryption_key",
            object_id: Some(key.id),
            outcome: Outcome::Allowed,
            reason: None,
            detail,
        }
    }
}

/// Nothing that a rotation reads changes under it but by another rotation.
fn interrupted(error: SecureError) -> SecureError {
    if !error.is_conflict() {
        return error;
    }
    let detail = "another rotation changed these keys at the same time";
    Refusal::new(ErrorCode::Conflict, detail).hint("call it again: it goes on from here").into()
}

/// Ciphertexts that move from one encryption key to another.
#[derive(Debug, Clone)]
pub(crate) struct Rewrap {
    pub(crate) place: WrappedIn,
    pub(crate) from: Uuid,
    pub(crate) to: Uuid,
    pub(crate) rows: Vec<RewrappedRow>,
}
