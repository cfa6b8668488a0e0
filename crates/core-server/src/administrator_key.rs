//! `clm-core administrator-key`: the operator's way to a new key for an administrator who has none any more.

use std::path::PathBuf;

use clm_core::administrators::KEY_LIFETIME;

use clm_core::passwords::PasswordCost;

use crate::secret_file::SecretFile;
use crate::{ConfigFile, serve};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Whose: an active administrator of all organizations.
    #[arg(long, value_name = "USERNAME")]
    user: String,
    /// Where to write the key; only its owner may read the file.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

impl Arguments {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let core = serve::open(&self.config.load()?, PasswordCost::LEAST).await?.core;
        let file = SecretFile::open(self.output.clone())?;
        let (key, token) = core.create_administrator_key(&self.user).await?;
        file.write(token.expose())?;
        let (days, path) = (KEY_LIFETIME.num_days(), self.output.display());
        eprintln!("wrote the API key {}, good for {days} days, to {path}", key.id);
        Ok(())
    }
}
