//! `clm-secure audit …`.

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ConfigFile;
use crate::serve::open;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Recompute the whole chain and compare its end with the recorded one.
    Verify(ConfigFile),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::Verify(file) = self;
        let (secure, _) = open(&file.load()?).await?;
        let style = ProgressStyle::with_template("{spinner} {pos} entries, {per_sec}")?;
        let progress = ProgressBar::no_length().with_style(style);
        let verified = secure.verify_audit(|entries| progress.set_position(entries.unsigned_abs())).await?;
        progress.finish_and_clear();
        let verified = verified?;
        eprintln!("the audit chain holds: {} entries, end {}", verified.entries, verified.chain_hash);
        Ok(())
    }
}
