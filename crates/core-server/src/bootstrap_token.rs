//! `clm-core bootstrap-token`: the operator's one-time token.

use std::path::PathBuf;

use chrono::TimeDelta;

use clm_core::passwords::PasswordCost;

use crate::secret_file::SecretFile;
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
        let core = serve::open(&self.config.load()?, PasswordCost::LEAST).await?.core;
        let file = SecretFile::open(self.output.clone())?;
        let token = core.create_bootstrap_token(TimeDelta::hours(self.hours)).await?;
        file.write(token.expose())?;
        eprintln!("wrote a token that is good once, for {} hours, to {}", self.hours, self.output.display());
        Ok(())
    }
}
