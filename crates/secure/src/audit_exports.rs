//! The audit log as a file that proves itself: one JSON document a line, and a signed manifest. Checking needs the public
//! audit key and nothing else.

use std::io::BufRead;

use aws_lc_rs::digest::{Context, SHA256, digest};
use clm_secure_db::audit::AuditRow;
use clm_x509::{PublicKey, algorithm};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{Actor, AuditDraft, BrokenChain, Outcome, chain_hash};
use crate::audit_keys::SignedStatement;
use crate::committer::Write;
use crate::verification::{Range, verify_chain};
use crate::{Secure, SecureError};

/// What the manifest says it is.
const WHAT: &str = "an export of the audit log";

/// What was exported. Its canonical JSON is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `an export of the audit log`.
    pub what: String,
    /// First sequence.
    pub from: i64,
    /// Last sequence.
    pub to: i64,
    /// Lines of the file.
    pub entries: i64,
    /// Chain hash before the first entry, hexadecimal.
    pub previous_hash: String,
    /// Chain hash of the last entry, hexadecimal.
    pub chain_hash: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Microseconds since 1970-01-01 UTC.
    pub exported_at: i64,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence: i64,
    chain_hash: String,
    /// What the entry's hash covers, as canonical JSON (RFC 8785).
    entry: Value,
}

/// Why an export proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// The manifest.
    #[error("manifest.json: {0}")]
    Manifest(&'static str),
    /// The file as a whole.
    #[error("entries.ndjson: {0}")]
    File(&'static str),
    /// A line of it.
    #[error(transparent)]
    Entry(#[from] BrokenChain),
    /// It cannot be read.
    #[error("cannot read entries.ndjson: {0}")]
    Io(#[from] std::io::Error),
}

/// What is known of the lines so far.
struct Written {
    sha256: Context,
    first: Option<(i64, String)>,
    entries: i64,
}

impl Secure {
    /// Writes the entries of a range to `out`, each verified before, and signs what was written. `progress` hears of the
    /// entries written so far. The export itself is recorded first.
    ///
    /// # Errors
    /// `conflict` when the chain does not hold; when `out` or the database fails.
    pub async fn export_audit(
        &self,
        range: Range,
        operator: &str,
        mut out: impl std::io::Write,
        mut progress: impl FnMut(i64),
    ) -> Result<SignedStatement, SecureError> {
        self.record_export(range, operator).await?;
        let mut written = Written { sha256: Context::new(&SHA256), first: None, entries: 0 };
        let mut tx = clm_pg::begin_snapshot(&self.parts.pool).await?;
        let verified = verify_chain(&mut tx, range, |rows| {
            for row in rows {
                written.add(row, &mut out)?;
            }
            progress(written.entries);
            Ok(())
        });
        let verified = verified.await?.map_err(|broken| {
            let detail = format!("the audit log does not hold, and is not exported: {broken}");
            clm_types::Refusal::new(clm_types::ErrorCode::Conflict, detail)
                .hint("run `clm-secure audit verify`, and treat it as an incident")
        })?;
        drop(tx);
        out.flush().map_err(write_failed)?;
        let (from, previous_hash) =
            written.first.unwrap_or_else(|| (verified.entries + 1, verified.chain_hash.clone()));
        let manifest = Manifest {
            what: WHAT.into(),
            from,
            to: verified.entries,
            entries: written.entries,
            previous_hash,
            chain_hash: verified.chain_hash,
            sha256: hex::encode(written.sha256.finish()),
            exported_at: self.parts.clock.now().timestamp_micros(),
        };
        let statement = serde_json::to_value(manifest);
        self.sign_statement(
            statement.map_err(|_| SecureError::Damaged("a manifest has no JSON form".into()))?,
        )
        .await
    }

    async fn record_export(&self, range: Range, operator: &str) -> Result<(), SecureError> {
        let entry = AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Operator(operator.to_owned()),
            organization_id: None,
            operation_id: None,
            action: "audit.export",
            object_type: "secure_audit_log",
            object_id: None,
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({ "from": range.from, "to": range.to }),
        };
        self.commit(Write { audit: vec![entry], ..Write::default() }).await
    }
}

impl Written {
    fn add(&mut self, row: &AuditRow, out: &mut impl std::io::Write) -> Result<(), SecureError> {
        // The payload is written as it is: it is canonical JSON already.
        let line = format!(
            "{{\"sequence\":{},\"chain_hash\":\"{}\",\"entry\":{}}}\n",
            row.sequence,
            hex::encode(&row.chain_hash),
            row.canonical_payload
        );
        self.first.get_or_insert_with(|| (row.sequence, hex::encode(&row.previous_hash)));
        self.sha256.update(line.as_bytes());
        self.entries += 1;
        out.write_all(line.as_bytes()).map_err(write_failed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn write_failed(error: std::io::Error) -> SecureError {
    SecureError::Damaged(format!("the export cannot be written: {error}"))
}

/// Checks an export: the manifest's signature by `key`, and that the lines are exactly what the manifest says.
///
/// # Errors
/// The first fault.
pub fn check_export(
    manifest: &[u8],
    signature: &[u8],
    key: &PublicKey,
    entries: impl BufRead,
) -> Result<Manifest, ExportFault> {
    if algorithm::verify(key, manifest, signature).is_err() {
        return Err(ExportFault::Manifest("it is not signed by this key"));
    }
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|_| ExportFault::Manifest("it is no manifest of this program"))?;
    if manifest.what != WHAT {
        return Err(ExportFault::Manifest("it was signed for something else"));
    }
    check_lines(&manifest, entries)?;
    Ok(manifest)
}

fn check_lines(manifest: &Manifest, entries: impl BufRead) -> Result<(), ExportFault> {
    let mut sha256 = Context::new(&SHA256);
    let mut previous = hex::decode(&manifest.previous_hash)
        .map_err(|_| ExportFault::Manifest("its previous hash is no hash"))?;
    let mut sequence = manifest.from - 1;
    for line in entries.lines() {
        let line = line?;
        sha256.update(line.as_bytes());
        sha256.update(b"\n");
        previous = check_line(&line, sequence + 1, &previous)?;
        sequence += 1;
    }
    if sequence != manifest.to || sequence - manifest.from + 1 != manifest.entries {
        return Err(ExportFault::File("it has more or fewer lines than the manifest says"));
    }
    if hex::encode(previous) != manifest.chain_hash {
        return Err(ExportFault::File("its last entry is not the manifest's"));
    }
    if hex::encode(sha256.finish()) != manifest.sha256 {
        return Err(ExportFault::File("its SHA-256 is not the manifest's"));
    }
    Ok(())
}

fn check_line(line: &str, sequence: i64, previous: &[u8]) -> Result<Vec<u8>, BrokenChain> {
    let broken = |fault: &str| BrokenChain { sequence, fault: fault.into() };
    let line: Line = serde_json::from_str(line).map_err(|_| broken("its line cannot be read"))?;
    if line.sequence != sequence {
        return Err(broken("missing, or not in its place"));
    }
    let payload = clm_types::canonical_json(&line.entry).map_err(|_| broken("its line cannot be read"))?;
    let hash = chain_hash(previous, sequence, digest(&SHA256, payload.as_bytes()).as_ref());
    if hex::encode(&hash) != line.chain_hash {
        return Err(broken("it has been changed"));
    }
    Ok(hash)
}
