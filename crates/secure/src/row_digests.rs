//! Rows and the audit log answer for each other: every commit records the digests of the rows that it wrote, and a
//! verification finds each row that is not as the log says.

use std::collections::HashMap;

use clm_pg::PgConnection;
use clm_secure_db::audit::AuditRow;
use clm_secure_db::row_digests::{self, RowDigest, RowKind, RowSelection};
use clm_secure_db::wrapped_keys::WrappedIn;
use clm_types::Time;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::{Secure, SecureError};

/// The action of the entries that hold digests.
pub(crate) const ACTION: &str = "row.record";

/// Digests of one entry at most.
const LARGEST_ENTRY: usize = 1_000;

/// Rows of one read.
const BATCH: u16 = 2_000;

/// A row that is not as the audit log says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {id}: {fault}")]
pub struct ChangedRow {
    /// Kind of row.
    pub kind: &'static str,
    /// Which one.
    pub id: Uuid,
    /// What is wrong.
    pub fault: &'static str,
}

/// What an entry with digests says: kind, row, SHA-256 in hexadecimal.
#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    detail: RecordedRows<'a>,
}

#[derive(Deserialize)]
struct RecordedRows<'a> {
    #[serde(borrow)]
    rows: Vec<(&'a str, Uuid, &'a str)>,
}

/// The last digest of every row, as the chain says. About 100 octets a row.
#[derive(Debug, Default)]
pub struct LastDigests {
    rows: HashMap<(RowKind, Uuid), [u8; 32]>,
}

impl LastDigests {
    /// Reads on in the chain, whose entries were verified.
    ///
    /// # Errors
    /// When an entry is not of this program's making.
    pub fn read(&mut self, entries: &[AuditRow]) -> Result<(), SecureError> {
        for entry in entries.iter().filter(|entry| entry.action == ACTION) {
            let damaged = || SecureError::Damaged(format!("audit entry {} holds no digests", entry.sequence));
            let recorded: Recorded<'_> =
                serde_json::from_str(&entry.canonical_payload).map_err(|_| damaged())?;
            for (kind, id, sha256) in recorded.detail.rows {
                let kind = RowKind::named(kind).ok_or_else(damaged)?;
                let mut digest = [0; 32];
                hex::decode_to_slice(sha256, &mut digest).map_err(|_| damaged())?;
                self.rows.insert((kind, id), digest);
            }
        }
        Ok(())
    }

    /// Compares every row with its last digest; `progress` hears of the rows compared so far.
    ///
    /// The entries must have been read, and the rows be read, in one snapshot of the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compare(
        mut self,
        conn: &mut PgConnection,
        mut progress: impl FnMut(u64),
    ) -> Result<Vec<ChangedRow>, SecureError> {
        let mut faults = Vec::new();
        let mut compared = 0;
        for kind in RowKind::ALL {
            let mut after = Uuid::nil();
            loop {
                let ids = row_digests::list_ids(conn, kind, after, i64::from(BATCH)).await?;
                let Some(last) = ids.last() else { break };
                after = *last;
                let more = ids.len() == usize::from(BATCH);
                compared += ids.len() as u64;
                let found = row_digests::list(conn, &RowSelection::of_kind(kind, ids)).await?;
                faults.extend(found.iter().filter_map(|row| self.fault_of(kind, row)));
                progress(compared);
                if !more {
                    break;
                }
            }
        }
        faults.extend(self.rows.into_keys().map(|(kind, id)| ChangedRow {
            kind: kind.as_str(),
            id,
            fault: "it was deleted: the audit log has it, its table has not",
        }));
        Ok(faults)
    }

    fn fault_of(&mut self, kind: RowKind, row: &RowDigest) -> Option<ChangedRow> {
        let fault = match self.rows.remove(&(kind, row.id)) {
            Some(recorded) if recorded.as_slice() == row.sha256 => return None,
            Some(_) => "it was changed: the audit log says something else",
            None => "it was put in: the audit log does not know it",
        };
        Some(ChangedRow { kind: kind.as_str(), id: row.id, fault })
    }
}

/// Entries that hold the digests of the rows that `write` wrote, read back in the same transaction.
pub(crate) async fn record(
    conn: &mut PgConnection,
    write: &Write,
    now: Time,
) -> Result<Vec<AuditDraft>, SecureError> {
    let rows = written(write);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    Ok(entries(&row_digests::list(conn, &rows).await?, now))
}

fn entries(digests: &[RowDigest], now: Time) -> Vec<AuditDraft> {
    let entry = |rows: &[RowDigest]| AuditDraft {
        occurred_at: now,
        actor: Actor::Secure,
        organization_id: None,
        operation_id: None,
        action: ACTION,
        object_type: "row",
        object_id: None,
        outcome: Outcome::Allowed,
        reason: None,
        detail: json!({ "rows": rows.iter().map(|row| (&row.kind, row.id, hex::encode(&row.sha256))).collect::<Vec<_>>() }),
    };
    digests.chunks(LARGEST_ENTRY).map(entry).collect()
}

/// Which rows a write writes.
fn written(write: &Write) -> RowSelection {
    RowSelection {
        audit_checkpoints: write.checkpoints.iter().map(|row| row.id).collect(),
        audit_keys: audit_keys(write),
        authorities: authorities(write),
        blocked_keys: write.blocked_keys.iter().map(|row| row.id).collect(),
        certificates: certificates(write),
        encryption_keys: encryption_keys(write),
        private_keys: private_keys(write),
        private_keys_of: taken_from_intents(write),
        revocations: revocations(write),
        holds_ended_by: write.hold_ends.iter().map(|row| row.operation_id).collect(),
    }
}

fn audit_keys(write: &Write) -> Vec<Uuid> {
    let new = write.audit_keys.iter().map(|row| row.id);
    new.chain(rewrapped(write, WrappedIn::AuditKeys)).collect()
}

fn authorities(write: &Write) -> Vec<Uuid> {
    let new = write.new_authorities.iter().map(|row| row.id);
    new.chain(write.activations.iter().map(|row| row.authority_id))
        .chain(write.authority_renewals.iter().map(|row| row.authority))
        .chain(write.authority_changes.iter().map(|row| row.authority))
        .chain(write.successors.iter().map(|(authority, _)| *authority))
        .chain(write.envelopes.iter().map(|(authority, _)| *authority))
        .collect()
}

fn certificates(write: &Write) -> Vec<Uuid> {
    let new = write
        .certificates
        .iter()
        .flat_map(|row| [Some(row.certificate_id), row.renewal_of_certificate_id].into_iter().flatten());
    new.chain(write.imported_certificates.iter().map(|row| row.certificate_id))
        .chain(write.adopted_certificates.iter().map(|(certificate, _)| *certificate))
        .chain(write.owner_changes.iter().map(|row| row.certificate_id))
        .chain(write.status_changes.iter().map(|row| row.certificate_id))
        .collect()
}

fn revocations(write: &Write) -> Vec<Uuid> {
    let new = write.revocations.iter().map(|row| row.id);
    new.chain(write.adopted_revocations.iter().map(|(revocation, _)| *revocation)).collect()
}

fn encryption_keys(write: &Write) -> Vec<Uuid> {
    let new = write.new_encryption_keys.iter().map(|row| row.id);
    let used = write.intents.iter().filter_map(|row| row.encryption_key_id);
    new.chain(used)
        .chain(write.imported_keys.iter().map(|row| row.encryption_key_id))
        .chain(write.audit_keys.iter().map(|row| row.encryption_key_id))
        .chain(write.rewraps.iter().map(|moved| moved.to))
        .chain(write.rewrapped_encryption_keys.iter().map(|row| row.id))
        .chain(write.retired_encryption_keys.iter().copied())
        .chain(write.activated_encryption_keys.iter().copied())
        .chain(write.compromised_encryption_keys.iter().copied())
        .chain(write.destroyed_encryption_keys.iter().copied())
        .collect()
}

fn private_keys(write: &Write) -> Vec<Uuid> {
    let new = write.token_keys.iter().map(|row| row.id);
    new.chain(write.imported_keys.iter().map(|row| row.id))
        .chain(write.key_changes.iter().map(|row| row.id))
        .chain(write.erased_keys.iter().copied())
        .chain(write.key_accesses.iter().copied())
        .chain(rewrapped(write, WrappedIn::PrivateKeys))
        .collect()
}

fn rewrapped(write: &Write, place: WrappedIn) -> impl Iterator<Item = Uuid> {
    let moved = write.rewraps.iter().filter(move |moved| moved.place == place);
    moved.flat_map(|moved| &moved.rows).map(|row| row.id)
}

/// Their rows are made by the database from the intents of the same operations.
fn taken_from_intents(write: &Write) -> Vec<Uuid> {
    if write.private_keys.is_empty() {
        return Vec::new();
    }
    write.certificates.iter().map(|row| row.certificate_id).collect()
}

impl Secure {
    /// Records the rows of a database that was written before rows were recorded. Nothing else may write meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_older_rows(&self) -> Result<(), SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        if row_digests::are_recorded(&mut conn, ACTION).await? {
            return Ok(());
        }
        let mut audit = Vec::new();
        for kind in RowKind::ALL {
            let mut after = Uuid::nil();
            loop {
                let ids = row_digests::list_ids(&mut conn, kind, after, i64::from(BATCH)).await?;
                let Some(last) = ids.last() else { break };
                after = *last;
                let found = row_digests::list(&mut conn, &RowSelection::of_kind(kind, ids)).await?;
                audit.extend(entries(&found, self.parts.clock.now()));
            }
        }
        drop(conn);
        if audit.is_empty() {
            return Ok(());
        }
        tracing::info!(entries = audit.len(), "recorded the rows that were there before");
        self.commit(Write { audit, ..Write::default() }).await
    }
}
