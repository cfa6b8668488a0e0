//! `clm-core bootstrap-token`: the operator's one-time token.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::TimeDelta;

use crate::{ConfigFile, serve};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to write the token; only its owner may read the file.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Hours until it ends.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=168))]
    hours: i64,
}

impl Arguments {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let core = serve::open(&self.config.load()?).await?.core;
        let token = core.create_bootstrap_token(TimeDelta::hours(self.hours)).await?;
        write(&self.output, token.expose().as_bytes())
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        eprintln!("wrote a token that is good once, for {} hours, to {}", self.hours, self.output.display());
        Ok(())
    }
}

fn write(path: &Path, token: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(path)?;
    // The mode above is for a new file; this one may have been there. A device keeps its mode.
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    file.write_all(token)?;
    file.write_all(b"\n")?;
    file.sync_all()
}
