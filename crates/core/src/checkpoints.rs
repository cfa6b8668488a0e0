//! Signed states of Secure's audit chain, kept here: Secure cannot take back what Core has seen.

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_core_db::checkpoints::{self, CheckpointRow, PinnedKeyRow};
use clm_core_db::{DbError, PgConnection};
use clm_types::checkpoint::AuditCheckpoint;
use clm_types::{Entropy, Permission, Time, canonical_json, ids};
use clm_x509::{PublicKey, algorithm};

use crate::{Core, CoreError, Ctx};

impl Core {
    /// A page of the checkpoints that Core keeps, newest first.
    ///
    /// # Errors
    /// `permission_denied`: it needs `audit:read` for all organizations.
    pub async fn list_checkpoints(
        &self,
        ctx: &Ctx,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditCheckpoint>, CoreError> {
        ctx.require_global(Permission::AuditRead)?;
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let keys = checkpoints::list_keys(&mut conn).await?;
        let rows = checkpoints::list(&mut conn, before, limit).await?;
        Ok(rows.into_iter().map(|row| told(row, &keys)).collect())
    }
}

/// Keeps a checkpoint that Secure told of, in the follower's transaction. One that is not believed is reported, and not
/// kept.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    checkpoint: &AuditCheckpoint,
    now: Time,
    entropy: &Entropy,
) -> Result<(), CoreError> {
    let sequence = checkpoint.sequence;
    let keys = checkpoints::list_keys(conn).await?;
    let Some(row) = believed(checkpoint, &keys, now, entropy) else {
        tracing::error!(
            sequence,
            key_reference = checkpoint.key_reference,
            "a checkpoint of Secure's audit chain bears no signature that Core believes: a person must look"
        );
        return Ok(());
    };
    if keys.is_empty() {
        let key = PinnedKeyRow {
            key_reference: checkpoint.key_reference.clone(),
            public_key: STANDARD.decode(&checkpoint.public_key).unwrap_or_default(),
        };
        checkpoints::pin_key(conn, ids::new_uuid(now, entropy), &key, now).await?;
        tracing::info!(key_reference = key.key_reference, "pinned the audit key of Secure");
    }
    if !checkpoints::insert(conn, &row, now).await? {
        let kept = checkpoints::find(conn, sequence).await?;
        if kept.is_some_and(|kept| kept.chain_hash != row.chain_hash) {
            tracing::error!(
                sequence,
                "Secure's audit chain says something else than before: a person must look"
            );
        }
    }
    Ok(())
}

/// The checkpoint as Core keeps it, if the key that it pinned (or, at first sight, the one that is named) signed it.
fn believed(
    checkpoint: &AuditCheckpoint,
    keys: &[PinnedKeyRow],
    now: Time,
    entropy: &Entropy,
) -> Option<CheckpointRow> {
    let pinned = keys.iter().find(|key| key.key_reference == checkpoint.key_reference);
    let public_key = match pinned {
        Some(key) => key.public_key.clone(),
        None if keys.is_empty() => STANDARD.decode(&checkpoint.public_key).ok()?,
        None => return None,
    };
    let key = PublicKey::from_spki_der(&public_key).ok()?;
    let octets = canonical_json(&checkpoint.statement()).ok()?;
    let signature = STANDARD.decode(&checkpoint.signature).ok()?;
    algorithm::verify(&key, octets.as_bytes(), &signature).ok()?;
    Some(CheckpointRow {
        id: ids::new_uuid(now, entropy),
        sequence: checkpoint.sequence,
        chain_hash: hex::decode(&checkpoint.chain_hash).ok()?,
        entry_count: checkpoint.entry_count,
        signed_at: checkpoint.signed_at,
        signature,
        key_reference: checkpoint.key_reference.clone(),
    })
}

fn told(row: CheckpointRow, keys: &[PinnedKeyRow]) -> AuditCheckpoint {
    let key = keys.iter().find(|key| key.key_reference == row.key_reference);
    AuditCheckpoint {
        sequence: row.sequence,
        chain_hash: hex::encode(row.chain_hash),
        entry_count: row.entry_count,
        signed_at: row.signed_at,
        signature: STANDARD.encode(row.signature),
        key_reference: row.key_reference,
        public_key: key.map(|key| STANDARD.encode(&key.public_key)).unwrap_or_default(),
    }
}
