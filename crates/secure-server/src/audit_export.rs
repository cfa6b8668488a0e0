//! `clm-secure audit export` and `check-export`.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use clm_secure::audit_exports::check_export;
use clm_secure::audit_keys::read_public_key;
use clm_secure::verification::Range;

use crate::ConfigFile;
use crate::audit::progress_bar;
use crate::operator::{account, hand_over};
use crate::serve::open;

const ENTRIES: &str = "entries.ndjson";

#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    config: ConfigFile,
    /// Folder for entries.ndjson, manifest.json and manifest.json.sig. It must not have an export already.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// First entry.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Last entry; the end of the log by default.
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
}

#[derive(Args)]
pub(crate) struct CheckExport {
    /// Folder that `audit export` wrote.
    folder: PathBuf,
    /// Public audit key (PEM), as `audit keys` printed it. Take it from another place than the export.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(crate) async fn export(arguments: &Export) -> anyhow::Result<()> {
    if let Some(to) = arguments.to
        && to < arguments.from
    {
        bail!("--to {to} lies before --from {}: give the first entry first", arguments.from);
    }
    let (secure, _) = open(&arguments.config.load()?).await?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let path = arguments.out.join(ENTRIES);
    let file = File::create_new(&path)
        .with_context(|| format!("cannot make {}: choose another folder", path.display()))?;
    let bar = progress_bar("entries")?;
    let range = Range { from: arguments.from, to: arguments.to };
    let operator = account();
    let exported = secure.export_audit(range, &operator, BufWriter::new(file), |entries| {
        bar.set_position(entries.unsigned_abs());
    });
    let exported = exported.await;
    bar.finish_and_clear();
    match exported {
        Ok(signed) => hand_over(&signed, Some(&arguments.out), "manifest"),
        Err(error) => {
            // Half an export would look like one.
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            Err(error.into())
        }
    }
}

pub(crate) fn check(arguments: &CheckExport) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let manifest = read(&arguments.folder.join("manifest.json"))?;
    let signature = read(&arguments.folder.join("manifest.json.sig"))?;
    let key = read_public_key(std::str::from_utf8(&read(&arguments.key)?)?)
        .with_context(|| format!("{} holds no public key", arguments.key.display()))?;
    let path = arguments.folder.join(ENTRIES);
    let entries = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest = check_export(&manifest, &signature, &key, BufReader::new(entries))?;
    eprintln!(
        "the export holds: {} entries, {} to {}, end {}",
        manifest.entries, manifest.from, manifest.to, manifest.chain_hash
    );
    Ok(())
}
