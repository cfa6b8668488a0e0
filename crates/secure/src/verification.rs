//! Verification of the audit log, the rows it answers for, and its checkpoints. It needs the database alone, no keys, and
//! reads one snapshot: nobody who writes has to wait.

use std::collections::{BTreeMap, HashSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_pg::{PgConnection, PgPool};
use clm_secure_db::audit::AuditRow;
use clm_secure_db::audit_checkpoints;
use clm_secure_db::chain_heads::Head;
use clm_types::checkpoint::AuditCheckpoint;
use tokio::task::JoinHandle;

use crate::audit::{self, BrokenChain};
use crate::checkpoints::{is_signed, told};
use crate::row_digests::{ChangedRow, LastDigests};
use crate::{Secure, SecureError};

/// Entries of one read.
const BATCH: i64 = 2_000;

/// Checkpoints of one read.
const CHECKPOINTS: i64 = 1_000;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries that were checked.
    pub entries: i64,
    /// Hash of the last one, hexadecimal.
    pub chain_hash: String,
    /// What does not hold. After the first fault of the chain, later entries and the rows are not looked at.
    pub faults: Vec<Fault>,
}

/// What does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The log itself, or a checkpoint of it.
    #[error(transparent)]
    Chain(#[from] BrokenChain),
    /// A row of another table.
    #[error(transparent)]
    Row(#[from] ChangedRow),
}

/// How far a verification came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Sequence of the last entry checked.
    pub entries: i64,
    /// Its hash, hexadecimal.
    pub chain_hash: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// This many entries are read.
    Entries(i64),
    /// This many rows are compared.
    Rows(u64),
}

/// Entries from one sequence to another, both included.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// 1 is the first.
    pub from: i64,
    /// None for the end of the log.
    pub to: Option<i64>,
}

impl Range {
    /// The whole log.
    pub const ALL: Self = Self { from: 1, to: None };
}

/// Verifies everything: the chain and its end, every row that the log answers for, the checkpoints kept in this database,
/// and those of `others`.
///
/// # Errors
/// When the database fails. What does not hold is in the report.
pub async fn verify_all(
    conn: &mut PgConnection,
    others: &[AuditCheckpoint],
    mut progress: impl FnMut(Progress),
) -> Result<Report, SecureError> {
    let mut digests = LastDigests::default();
    let chain = verify_chain(conn, Range::ALL, |rows| {
        progress(Progress::Entries(rows.last().map_or(0, |row| row.sequence)));
        digests.read(rows)
    });
    let mut report = Report::default();
    match chain.await? {
        Ok(verified) => {
            (report.entries, report.chain_hash) = (verified.entries, verified.chain_hash);
            let changed = digests.compare(conn, |rows| progress(Progress::Rows(rows))).await?;
            report.faults.extend(changed.into_iter().map(Fault::from));
        }
        Err(broken) => report.faults.push(broken.into()),
    }
    let faults = verify_checkpoints(conn, others).await?;
    report.faults.extend(faults.into_iter().map(Fault::from));
    Ok(report)
}

/// Entries, the head after them, and what is wrong.
type Recomputed = (Vec<AuditRow>, Head, Option<BrokenChain>);

/// Recomputes the chain over a range; over the whole log, its end is compared with the recorded one. `read` gets every
/// batch that holds.
///
/// # Errors
/// When the database or `read` fails; the inner error names the first broken entry.
pub async fn verify_chain(
    conn: &mut PgConnection,
    range: Range,
    mut read: impl FnMut(&[AuditRow]) -> Result<(), SecureError>,
) -> Result<Result<Verified, BrokenChain>, SecureError> {
    let end = clm_secure_db::audit::find_end(conn).await?;
    if end.last_sequence > end.sequence {
        let fault = format!("it lies beyond the recorded end {}", end.sequence);
        return Ok(Err(BrokenChain { sequence: end.last_sequence, fault }));
    }
    let last = range.to.unwrap_or(end.sequence).min(end.sequence);
    let Some(mut head) = head_before(conn, range.from).await? else {
        let fault = "missing: the range has no beginning".to_owned();
        return Ok(Err(BrokenChain { sequence: range.from - 1, fault }));
    };
    // The next entries are read while the last ones are recomputed on another thread.
    let mut asked = head.sequence;
    let mut recomputing: Option<JoinHandle<Recomputed>> = None;
    loop {
        let until = last.min(asked + BATCH);
        let rows = if asked < until {
            clm_secure_db::audit::list_chain(conn, asked, until).await?
        } else {
            Vec::new()
        };
        if let Some(begun) = recomputing.take() {
            let (rows, after, fault) = begun.await.map_err(|_| SecureError::ShuttingDown)?;
            if let Some(broken) = fault {
                return Ok(Err(broken));
            }
            read(&rows)?;
            head = after;
        }
        if asked >= last {
            break;
        }
        asked = until;
        let mut after = head.clone();
        recomputing = Some(tokio::task::spawn_blocking(move || {
            let fault = audit::verify(&rows, &mut after).err();
            (rows, after, fault)
        }));
    }
    if head.sequence < last {
        let fault = format!("missing: the log ends before the recorded end {}", end.sequence);
        return Ok(Err(BrokenChain { sequence: head.sequence + 1, fault }));
    }
    if head.sequence == end.sequence && head.chain_hash != end.chain_hash {
        let fault = "the recorded end has another hash".to_owned();
        return Ok(Err(BrokenChain { sequence: head.sequence, fault }));
    }
    Ok(Ok(Verified { entries: head.sequence, chain_hash: hex::encode(head.chain_hash) }))
}

/// The end of the chain before an entry; none when the log does not have it.
async fn head_before(conn: &mut PgConnection, from: i64) -> Result<Option<Head>, SecureError> {
    if from <= 1 {
        return Ok(Some(Head { sequence: 0, chain_hash: vec![0; 32] }));
    }
    let hash = clm_secure_db::audit::find_chain_hash(conn, from - 1).await?;
    Ok(hash.map(|chain_hash| Head { sequence: from - 1, chain_hash }))
}

/// Compares the chain with checkpoints: those kept in this database, and those of `others`. Every fault is named.
///
/// # Errors
/// When the database fails.
pub async fn verify_checkpoints(
    conn: &mut PgConnection,
    others: &[AuditCheckpoint],
) -> Result<Vec<BrokenChain>, SecureError> {
    let (mut faults, mut kept) = (Vec::new(), HashSet::new());
    let mut after = 0;
    loop {
        let own = list_checkpoints(conn, after).await?;
        let Some(last) = own.last() else { break };
        after = last.sequence;
        for checkpoint in &own {
            kept.insert(checkpoint.sequence);
            faults.extend(compare(conn, checkpoint, "Secure's own checkpoint").await?);
        }
    }
    for checkpoint in others {
        if !kept.contains(&checkpoint.sequence) {
            let fault = "a checkpoint that others keep is not in Secure's table: it was deleted or put back";
            faults.push(BrokenChain { sequence: checkpoint.sequence, fault: fault.into() });
        }
        faults.extend(compare(conn, checkpoint, "a checkpoint that others keep").await?);
    }
    Ok(faults)
}

async fn compare(
    conn: &mut PgConnection,
    checkpoint: &AuditCheckpoint,
    whose: &str,
) -> Result<Option<BrokenChain>, SecureError> {
    let fault = |fault: String| Ok(Some(BrokenChain { sequence: checkpoint.sequence, fault }));
    if !is_signed(checkpoint) {
        return fault(format!("{whose} bears no valid signature"));
    }
    match clm_secure_db::audit::find_chain_hash(conn, checkpoint.sequence).await? {
        Some(hash) if hex::encode(&hash) == checkpoint.chain_hash => Ok(None),
        Some(_) => fault(format!("the log says something else than {whose}: it was rewritten")),
        None => fault(format!("{whose} covers it, and the log has it not: it was cut or put back")),
    }
}

/// Checkpoints after a sequence, in order, 1,000 at most.
///
/// # Errors
/// When the database fails.
pub async fn list_checkpoints(
    conn: &mut PgConnection,
    after: i64,
) -> Result<Vec<AuditCheckpoint>, SecureError> {
    let keys = clm_secure_db::audit_keys::list_public(conn).await?;
    let keys: BTreeMap<_, _> =
        keys.into_iter().map(|key| (key.key_reference, STANDARD.encode(key.public_key))).collect();
    let rows = audit_checkpoints::list_after(conn, after, CHECKPOINTS).await?;
    rows.iter().map(|row| told(row, &keys)).collect()
}

/// [`verify_all`] in one snapshot of the database.
///
/// # Errors
/// When the database fails. What does not hold is in the report.
pub async fn verify_database(
    pool: &PgPool,
    others: &[AuditCheckpoint],
    progress: impl FnMut(Progress),
) -> Result<Report, SecureError> {
    let mut tx = clm_pg::begin_snapshot(pool).await?;
    verify_all(&mut tx, others, progress).await
}

impl Secure {
    /// Recomputes the whole chain and compares its end with the recorded one. `progress` hears of every batch.
    ///
    /// # Errors
    /// The refusal names the first broken entry; or the database fails.
    pub async fn verify_audit(
        &self,
        mut progress: impl FnMut(i64),
    ) -> Result<Result<Verified, BrokenChain>, SecureError> {
        let mut tx = clm_pg::begin_snapshot(&self.parts.pool).await?;
        let read = |rows: &[AuditRow]| {
            progress(rows.last().map_or(0, |row| row.sequence));
            Ok(())
        };
        verify_chain(&mut tx, Range::ALL, read).await
    }
}
