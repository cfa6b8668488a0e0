//! `clm-secure master …`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use clm_secure::master_key::{Opener, SealedKey, Share};
use clm_secure::master_rotation::MasterRotated;
use clm_types::{Clock, Entropy};
use indicatif::{ProgressBar, ProgressStyle};

use crate::ConfigFile;
use crate::config::{Config, MasterKeyConfig, SealedFileConfig};
use crate::key_stores::{self, Means, means};
use crate::operator::{actor, hand_over, print_line};
use crate::serve::open;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the master key, unless it is there: a sealed file, or a key in the token.
    ///
    /// With `shares_directory` in the configuration, the sealed file opens by shares: --shares of them are written into
    /// --output, one file for each custodian, and --threshold of them open it.
    Init(Init),
    /// Lay down a custodian's share; enough of them start the waiting service.
    Unlock(Unlock),
    /// Put every encryption key under [next_master_key]. Safe to call again after a kill.
    Rotate(Rotate),
    /// Show the configured master keys, and how many encryption keys are under each.
    Show(ConfigFile),
    /// Take all laid down shares away: the next start needs the custodians again.
    Lock(ConfigFile),
}

#[derive(Args)]
pub(crate) struct Init {
    #[command(flatten)]
    config: ConfigFile,
    /// Make the key of [next_master_key] instead, for `clm-secure master rotate`.
    #[arg(long)]
    next: bool,
    /// Shares to make.
    #[arg(long, requires = "threshold", requires = "output")]
    shares: Option<u8>,
    /// Shares that open the file together, 2 at least.
    #[arg(long)]
    threshold: Option<u8>,
    /// Folder for the shares' files. Give each to its custodian, then erase it here.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    config: ConfigFile,
    /// Tell what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Folder for the receipt: master-key.json, and its signature master-key.json.sig.
    #[arg(long, value_name = "FOLDER")]
    receipts: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Unlock {
    #[command(flatten)]
    config: ConfigFile,
    /// The share's file.
    share: PathBuf,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Init(init) => init.run().await,
            Self::Unlock(unlock) => unlock.run(),
            Self::Rotate(rotate) => rotate.run().await,
            Self::Show(file) => show(&file.load()?).await,
            Self::Lock(file) => lock(&file.load()?),
        }
    }
}

impl Init {
    async fn run(&self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let which = if self.next {
            config.next_master_key.as_ref().context("the configuration has no [next_master_key]")?
        } else {
            &config.master_key
        };
        match which {
            MasterKeyConfig::SealedFile(sealed) => self.make_file(sealed),
            MasterKeyConfig::Pkcs11(key) => {
                let token = config.hsm.as_ref().map(key_stores::token).transpose()?;
                let key = key_stores::token_key(key, token.as_ref())?;
                let made = key.create().await?;
                eprintln!("the token {} the key", if made { "made" } else { "has" });
                Ok(())
            }
        }
    }

    fn make_file(&self, config: &SealedFileConfig) -> anyhow::Result<()> {
        let path = &config.file;
        if path.exists() {
            eprintln!("{} exists; nothing to do", path.display());
            return Ok(());
        }
        let (now, entropy) = (Clock::system().now(), Entropy::system());
        match (means(config)?, self.shares, self.threshold, &self.output) {
            (Means::Passphrase(passphrase), None, None, None) => {
                SealedKey::create(path, passphrase.expose(), now, &entropy)?;
            }
            (Means::Shares(_), Some(count), Some(threshold), Some(output)) => {
                std::fs::create_dir_all(output)
                    .with_context(|| format!("cannot make {}", output.display()))?;
                let (_, shares) = SealedKey::create_shared(path, threshold, count, now, &entropy)?;
                for share in &shares {
                    share.write(&output.join(format!("master-key-{}.share", share.number)))?;
                }
                eprintln!("wrote {count} shares into {}: any {threshold} open the file", output.display());
            }
            (Means::Passphrase(_), ..) => {
                bail!("shares need `shares_directory` in the configuration, in place of the passphrase")
            }
            (Means::Shares(_), ..) => bail!("say --shares, --threshold and --output: who holds the key"),
        }
        eprintln!("made a master key in {}", path.display());
        Ok(())
    }
}

impl Rotate {
    async fn run(&self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        if self.dry_run {
            return show(&config).await;
        }
        let (secure, _) = open(&config).await?;
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} encryption keys {eta}")?;
        let bar = ProgressBar::no_length().with_style(style);
        let who = actor();
        let rotated = secure.rotate_master_key(&who, |done, total| {
            bar.set_length(total.unsigned_abs());
            bar.set_position(done.unsigned_abs());
        });
        let rotated = rotated.await;
        bar.finish_and_clear();
        let MasterRotated { from, to, moved, failed, receipt } = rotated?;
        eprintln!("{moved} encryption keys moved from {from} to {to}, {failed} failed");
        if let Some(receipt) = receipt {
            hand_over(&receipt, self.receipts.as_deref(), "master-key")?;
            eprintln!("now make [next_master_key] the [master_key] of every configuration, and restart");
        }
        Ok(())
    }
}

async fn show(config: &Config) -> anyhow::Result<()> {
    let (secure, _) = open(config).await?;
    let (current, next) = secure.master_keys();
    print_line(&format!("current  {current}"));
    print_line(&format!("next     {}", next.unwrap_or("none")));
    for (reference, keys) in secure.master_key_counts().await? {
        print_line(&format!("{keys:>8} encryption keys under {reference}"));
    }
    Ok(())
}

impl Unlock {
    fn run(&self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let (sealed, folder) = shared(&config)?;
        let share = Share::read(&self.share)?;
        SealedKey::check_share(&sealed.file, &share)?;
        let place = folder.join(format!("{}.share", share.number));
        if !place.exists() {
            share.write(&place)?;
        }
        let laid_down = key_stores::read_shares(&folder)?;
        match SealedKey::open(&sealed.file, Opener::Shares(&laid_down)) {
            Ok(_) => eprintln!("{} of {} shares: unlocked", laid_down.len(), share.threshold),
            Err(error) => eprintln!("share {} is laid down; {error}", share.number),
        }
        Ok(())
    }
}

fn lock(config: &Config) -> anyhow::Result<()> {
    let (_, folder) = shared(config)?;
    for share in key_stores::read_shares(&folder)? {
        std::fs::remove_file(folder.join(format!("{}.share", share.number)))?;
    }
    eprintln!("no share is left in {}; a running service stays unlocked until it stops", folder.display());
    Ok(())
}

/// The sealed file that opens by shares, and where those are laid down.
fn shared(config: &Config) -> anyhow::Result<(&SealedFileConfig, PathBuf)> {
    let masters = [Some(&config.master_key), config.next_master_key.as_ref()];
    for master in masters.into_iter().flatten() {
        if let MasterKeyConfig::SealedFile(sealed) = master
            && let Some(folder) = &sealed.shares_directory
        {
            return Ok((sealed, folder.clone()));
        }
    }
    bail!("no master key of this configuration opens by shares")
}
