//! `clm audit export` and `check-export`: files that say by themselves whether they are whole.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Utc};
use clap::Args;
use clm_api::audit::{AuditEntry, AuditExportEnd, AuditExportManifest, AuditExportQuery};
use reqwest::Response;
use uuid::Uuid;

use crate::error::{CliError, ExitCode};
use crate::files::Replacement;
use crate::output;
use crate::session::Session;

/// Longest wait for the next piece of an export.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

#[derive(Args)]
pub(crate) struct Export {
    /// From this moment (RFC 3339)
    #[arg(long)]
    since: DateTime<Utc>,
    /// To before this moment, which is past, and at most 366 days later
    #[arg(long)]
    until: DateTime<Utc>,
    /// The file, which is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Those about the whole installation, and not those of your organization
    #[arg(long)]
    installation: bool,
}

pub(crate) async fn export(arguments: &Export, session: &Session) -> Result<ExitCode, CliError> {
    let mut file = Replacement::begin(&arguments.out)?;
    match receive(arguments, session, &mut file).await {
        Ok(manifest) => {
            file.finish()?;
            output::json(&manifest);
            Ok(ExitCode::Done)
        }
        Err(error) => {
            file.discard();
            Err(error)
        }
    }
}

/// Writes what the server sends, and reads it again: what is on the disk is what counts.
async fn receive(
    arguments: &Export,
    session: &Session,
    file: &mut Replacement,
) -> Result<AuditExportManifest, CliError> {
    let query = AuditExportQuery {
        since: arguments.since,
        until: arguments.until,
        installation: arguments.installation,
    };
    let mut answer = session.client.stream("/api/v1/audit/export", &query).await?;
    while let Some(piece) = next_piece(&mut answer).await? {
        file.write(&piece)?;
    }
    let manifest = read(file.new_path())?;
    if (manifest.since, manifest.until) != (arguments.since, arguments.until)
        || manifest.organization_id.is_none() != arguments.installation
    {
        return Err(CliError::Answer("the export is not what was asked for".to_owned()));
    }
    Ok(manifest)
}

async fn next_piece(answer: &mut Response) -> Result<Option<Vec<u8>>, CliError> {
    let piece = tokio::time::timeout(LONGEST_PAUSE, answer.chunk()).await;
    let piece = piece.map_err(|_| CliError::Answer("the export stands still; begin again".to_owned()))?;
    let piece = piece.map_err(|source| CliError::Lost {
        advice: "nothing of the export was kept; begin again",
        source: source.without_url(),
    })?;
    Ok(piece.map(Into::into))
}

pub(crate) fn check(path: &Path) -> Result<ExitCode, CliError> {
    output::json(&read(path)?);
    Ok(ExitCode::Done)
}

/// The manifest of an export that is whole.
fn read(path: &Path) -> Result<AuditExportManifest, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut lines = Lines::default();
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        lines.take(&line).map_err(|fault| not_whole(path, &fault))?;
        line.clear();
    }
    lines.finish().map_err(|fault| not_whole(path, &fault))
}

fn not_whole(path: &Path, fault: &str) -> CliError {
    CliError::Answer(format!("{} is no whole export: {fault}; export it again", path.display()))
}

/// The lines of an export as far as they were read.
struct Lines {
    digest: Context,
    count: u64,
    first: Option<Uuid>,
    last: Option<AuditEntry>,
    end: Option<AuditExportManifest>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { digest: Context::new(&SHA256), count: 0, first: None, last: None, end: None }
    }
}

impl Lines {
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let number = self.count + 1;
        if self.end.is_some() {
            return Err("there is more behind its manifest".to_owned());
        }
        if line.last() != Some(&b'\n') {
            return Err(format!("line {number} is cut off"));
        }
        if let Ok(end) = serde_json::from_slice::<AuditExportEnd>(line) {
            self.end = Some(end.manifest);
            return Ok(());
        }
        let entry: AuditEntry =
            serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))?;
        if self.last.as_ref().is_some_and(|last| last.id >= entry.id) {
            return Err(format!("line {number} is not in order"));
        }
        self.digest.update(line);
        self.count = number;
        self.first = self.first.or(Some(entry.id));
        self.last = Some(entry);
        Ok(())
    }

    fn finish(self) -> Result<AuditExportManifest, String> {
        let manifest = self.end.ok_or_else(|| "it has no manifest at its end".to_owned())?;
        let last = self.last.map(|entry| entry.id);
        if (self.count, self.first, last) != (manifest.count, manifest.first_id, manifest.last_id) {
            return Err(format!("it has {} entries, and its manifest says {}", self.count, manifest.count));
        }
        if hex::encode(self.digest.finish()) != manifest.sha256 {
            return Err("its lines are not those that its manifest was made of".to_owned());
        }
        Ok(manifest)
    }
}
