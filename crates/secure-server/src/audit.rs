//! `clm-secure audit …`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use clm_pg::PgPool;
use clm_secure::audit_keys::public_key_pem;
use clm_secure::verification::{self, Progress, Range};
use clm_types::checkpoint::AuditCheckpoint;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ConfigFile;
use crate::audit_export::{self, CheckExport, Export};
use crate::operator::print_line;
use crate::serve::{connect, open};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Recompute the whole chain; compare it with its recorded end, with every signed state of it, and with every
    /// certificate, revocation, key and authority.
    Verify(Verify),
    /// Write entries to a folder, one JSON document a line, with a signed manifest.
    Export(Export),
    /// Check an exported folder. No database and no configuration is needed.
    CheckExport(CheckExport),
    /// Print the signed states of the chain, one JSON document a line, in order. Keep them on another machine.
    Checkpoints(ConfigFile),
    /// Print the public keys that receipts are signed with, newest first (PEM).
    Keys(ConfigFile),
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    config: ConfigFile,
    /// Signed states that were kept elsewhere: what `clm audit checkpoints` (from Core) or `audit checkpoints` printed.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// First entry to look at. With a range, the rows of other tables are not compared.
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// Last entry to look at.
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Verify(arguments) => verify(&arguments).await,
            Self::Export(arguments) => audit_export::export(&arguments).await,
            Self::CheckExport(arguments) => audit_export::check(&arguments),
            Self::Checkpoints(file) => checkpoints(&file).await,
            Self::Keys(file) => keys(&file).await,
        }
    }
}

async fn verify(arguments: &Verify) -> anyhow::Result<()> {
    let others = arguments.against.as_deref().map(read_checkpoints).transpose()?.unwrap_or_default();
    let pool = connect(&arguments.config.load()?).await?;
    if arguments.from.is_some() || arguments.to.is_some() {
        return verify_range(&pool, Range { from: arguments.from.unwrap_or(1), to: arguments.to }).await;
    }
    let bar = progress_bar("entries")?;
    let report = verification::verify_database(&pool, &others, |progress| match progress {
        Progress::Entries(entries) => bar.set_position(entries.unsigned_abs()),
        Progress::Rows(rows) => bar.set_message(format!("; {rows} rows compared")),
    })
    .await?;
    bar.finish_and_clear();
    for fault in &report.faults {
        eprintln!("{fault}");
    }
    if !report.faults.is_empty() {
        bail!(
            "{} faults: see docs/how-to/verify-the-audit-chain.md for what each means",
            report.faults.len()
        );
    }
    eprintln!("the audit chain holds: {} entries, end {}", report.entries, report.chain_hash);
    eprintln!("every row is as the chain says");
    Ok(())
}

async fn verify_range(pool: &PgPool, range: Range) -> anyhow::Result<()> {
    let bar = progress_bar("entries")?;
    let mut snapshot = clm_pg::begin_snapshot(pool).await?;
    let verified = verification::verify_chain(&mut snapshot, range, |rows| {
        bar.inc(rows.len() as u64);
        Ok(())
    });
    let verified = verified.await??;
    bar.finish_and_clear();
    eprintln!(
        "the audit chain holds from {} to {}, end {}",
        range.from, verified.entries, verified.chain_hash
    );
    Ok(())
}

pub(crate) fn progress_bar(unit: &str) -> anyhow::Result<ProgressBar> {
    let template = format!("{{spinner}} {{pos}} {unit}, {{per_sec}}{{msg}}");
    Ok(ProgressBar::no_length().with_style(ProgressStyle::with_template(&template)?))
}

/// One document a line, as `audit checkpoints` and `clm audit checkpoints` print them.
fn read_checkpoints(path: &Path) -> anyhow::Result<Vec<AuditCheckpoint>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = lines.map(serde_json::from_str).collect::<Result<_, _>>();
    read.with_context(|| format!("{} holds no checkpoints", path.display()))
}

async fn checkpoints(file: &ConfigFile) -> anyhow::Result<()> {
    let (secure, _) = open(&file.load()?).await?;
    let mut after = 0;
    loop {
        let page = secure.list_checkpoints(after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.sequence;
        for checkpoint in &page {
            print_line(&serde_json::to_string(checkpoint)?);
        }
    }
}

async fn keys(file: &ConfigFile) -> anyhow::Result<()> {
    let (secure, _) = open(&file.load()?).await?;
    for key in secure.list_audit_keys().await? {
        print_line(&format!("{} made {}", key.key_reference, key.created_at.format("%F %T UTC")));
        print_line(public_key_pem(&key.public_key).trim_end());
    }
    Ok(())
}
