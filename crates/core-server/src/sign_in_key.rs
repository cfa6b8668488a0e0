//! `clm-core sign-in-key`: a new key for `[sign_in] secrets_key_file`.

use std::path::PathBuf;

use anyhow::bail;
use clm_core::sealed_secrets::SecretsKeys;
use clm_types::Entropy;

use crate::secret_file::SecretFile;

/// Where the key goes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A file that does not exist yet. To change keys, put its line before those of the old file: old secrets stay readable.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

impl Arguments {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.output.metadata().is_ok_and(|found| found.len() > 0) {
            bail!(
                "{} holds something already: without the old key, no one-time code works any more",
                self.output.display()
            );
        }
        let key = SecretsKeys::generate(&Entropy::system());
        SecretFile::open(self.output.clone())?.write(key.trim_end())?;
        eprintln!("wrote a key to {}", self.output.display());
        Ok(())
    }
}
