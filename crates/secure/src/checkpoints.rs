//! Checkpoints: now and then the end of the audit chain is signed, kept here, told to Core, and printed to the log. Whoever
//! keeps one can tell later whether the chain was cut, rewritten or put back.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use clm_secure_db::audit_checkpoints::{self, CheckpointRow};
use clm_types::checkpoint::{AuditCheckpoint, statement};
use clm_types::ids::new_uuid;
use clm_types::{OperationId, SecureEvent, Time};
use clm_x509::{PublicKey, algorithm};
use serde_json::json;

use crate::audit::{Actor, AuditDraft, BrokenChain, Outcome};
use crate::committer::{EventDraft, Write};
use crate::{Secure, SecureError, verification};

/// Entries after which the next checkpoint is due, whatever the time.
const MOST_ENTRIES: i64 = 10_000;

impl Secure {
    /// Signs the end of the chain, if it has grown for `every` since the last checkpoint, or by 10,000 entries; with
    /// none, if it has grown at all.
    ///
    /// # Errors
    /// When the audit key cannot be used or the database fails.
    pub async fn make_checkpoint(
        &self,
        every: Option<TimeDelta>,
    ) -> Result<Option<AuditCheckpoint>, SecureError> {
        let now = self.parts.clock.now();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let last = audit_checkpoints::find_newest(&mut conn).await?;
        let end = clm_secure_db::audit::find_end(&mut conn).await?;
        drop(conn);
        if !is_due(last.as_ref(), end.sequence, every, now) {
            return Ok(None);
        }
        // Its making has entries of its own, which shall be covered too.
        self.ready_audit_key().await?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let end = clm_secure_db::audit::find_end(&mut conn).await?;
        drop(conn);
        let chain_hash = hex::encode(&end.chain_hash);
        let signed = self.sign_statement(statement(end.sequence, &chain_hash, end.sequence, now)).await?;
        let row = CheckpointRow {
            id: new_uuid(now, &self.parts.entropy),
            sequence: end.sequence,
            chain_hash: end.chain_hash,
            entry_count: end.sequence,
            signed_at: now,
            signature: STANDARD.decode(&signed.signature).unwrap_or_default(),
            key_reference: signed.key_reference,
        };
        let checkpoint = told(&row, &self.audit_public_keys().await?)?;
        match self.commit(self.checkpoint_write(row, &checkpoint)).await {
            // Another process signed this very state.
            Err(error) if error.is_conflict() => return Ok(None),
            outcome => outcome?,
        }
        tracing::info!(sequence = checkpoint.sequence, chain_hash, signed_at = %checkpoint.signed_at,
            signature = checkpoint.signature, key_reference = checkpoint.key_reference, "signed the audit chain");
        Ok(Some(checkpoint))
    }

    /// Checkpoints after a sequence, in order, 1,000 at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_checkpoints(&self, after: i64) -> Result<Vec<AuditCheckpoint>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        verification::list_checkpoints(&mut conn, after).await
    }

    /// The chain hash of one entry; none when the log has no such entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn chain_hash_at(&self, sequence: i64) -> Result<Option<Vec<u8>>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(clm_secure_db::audit::find_chain_hash(&mut conn, sequence).await?)
    }

    /// Compares the chain with checkpoints: those kept here, and those of `others`. Every fault is named.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify_checkpoints(
        &self,
        others: &[AuditCheckpoint],
    ) -> Result<Vec<BrokenChain>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        verification::verify_checkpoints(&mut conn, others).await
    }

    fn checkpoint_write(&self, row: CheckpointRow, checkpoint: &AuditCheckpoint) -> Write {
        let now = row.signed_at;
        let operation_id = OperationId::generate(now, &self.parts.entropy);
        let entry = AuditDraft {
            occurred_at: now,
            actor: Actor::Secure,
            organization_id: None,
            operation_id: Some(operation_id),
            action: "audit.checkpoint",
            object_type: "audit_checkpoint",
            object_id: Some(row.id),
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({ "sequence": row.sequence, "chain_hash": checkpoint.chain_hash, "signature": checkpoint.signature }),
        };
        let event = SecureEvent::AuditCheckpoint(checkpoint.clone());
        Write {
            checkpoints: vec![row],
            audit: vec![entry],
            events: vec![EventDraft { operation_id, certificate_id: None, organization_id: None, event }],
            ..Write::default()
        }
    }

    /// Public keys by reference, DER in base64.
    async fn audit_public_keys(&self) -> Result<BTreeMap<String, String>, SecureError> {
        let keys = self.list_audit_keys().await?;
        Ok(keys.into_iter().map(|key| (key.key_reference, STANDARD.encode(key.public_key))).collect())
    }
}

/// Entries that a checkpoint itself makes: its own, and the one that records its row.
const OWN_ENTRIES: i64 = 2;

/// What the last checkpoint made itself is no growth.
fn is_due(last: Option<&CheckpointRow>, end: i64, every: Option<TimeDelta>, now: Time) -> bool {
    let Some(last) = last else { return end > 0 };
    let grown = end - last.sequence - OWN_ENTRIES;
    grown > 0 && every.is_none_or(|every| grown >= MOST_ENTRIES || now - last.signed_at >= every)
}

pub(crate) fn told(
    row: &CheckpointRow,
    keys: &BTreeMap<String, String>,
) -> Result<AuditCheckpoint, SecureError> {
    let public_key = keys.get(&row.key_reference).cloned();
    Ok(AuditCheckpoint {
        sequence: row.sequence,
        chain_hash: hex::encode(&row.chain_hash),
        entry_count: row.entry_count,
        signed_at: row.signed_at,
        signature: STANDARD.encode(&row.signature),
        key_reference: row.key_reference.clone(),
        public_key: public_key
            .ok_or_else(|| SecureError::Damaged(format!("the audit key {} is missing", row.key_reference)))?,
    })
}

/// Whether the signature is the named key's.
pub fn is_signed(checkpoint: &AuditCheckpoint) -> bool {
    let checked = || {
        let key = PublicKey::from_spki_der(&STANDARD.decode(&checkpoint.public_key).ok()?).ok()?;
        let octets = clm_types::canonical_json(&checkpoint.statement()).ok()?;
        let signature = STANDARD.decode(&checkpoint.signature).ok()?;
        algorithm::verify(&key, octets.as_bytes(), &signature).ok()
    };
    checked().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_when_time_or_entries_say_so() {
        let now = Time::from_timestamp(1_800_000_000, 0).unwrap();
        let last = CheckpointRow {
            id: uuid::Uuid::nil(),
            sequence: 100,
            chain_hash: vec![],
            entry_count: 100,
            signed_at: now - TimeDelta::minutes(4),
            signature: vec![],
            key_reference: String::new(),
        };
        let every = Some(TimeDelta::minutes(5));
        assert!(is_due(None, 1, every, now) && !is_due(None, 0, every, now));
        assert!(!is_due(Some(&last), 102, None, now), "its own entries");
        assert!(!is_due(Some(&last), 5_000, every, now) && is_due(Some(&last), 5_000, None, now));
        assert!(is_due(Some(&last), 10_102, every, now));
        assert!(is_due(Some(&last), 103, every, now + TimeDelta::minutes(1)));
    }
}
