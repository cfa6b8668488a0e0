//! Opening what the configuration says about keys: the token, the master key, and the one that takes over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clm_secure::master_key::{MasterKeyError, Opener, SealedKey, Share, TokenKey};
use clm_secure::{KeyStores, MasterKey, Token, TokenSettings};
use clm_service::Secret;

use crate::config::{Config, HsmConfig, MasterKeyConfig, SealedFileConfig, TokenKeyConfig};

/// How often a waiting service looks for further shares.
const LOOK_FOR_SHARES: Duration = Duration::from_secs(1);

/// The passphrase or the shares that open a sealed file.
pub(crate) enum Means {
    Passphrase(Secret),
    Shares(PathBuf),
}

/// Everything the configuration names, opened.
pub(crate) fn open(config: &Config) -> anyhow::Result<KeyStores> {
    let token = config.hsm.as_ref().map(token).transpose()?;
    let master = master(&config.master_key, token.as_ref()).context("[master_key]")?;
    let next = config.next_master_key.as_ref();
    let next_master =
        next.map(|next| self::master(next, token.as_ref())).transpose().context("[next_master_key]")?;
    Ok(KeyStores { master, next_master, token })
}

/// The same, waiting for custodians as long as shares are missing.
pub(crate) async fn open_when_unlocked(config: &Config) -> anyhow::Result<KeyStores> {
    let mut told = None;
    loop {
        let error = match open(config) {
            Ok(stores) => return Ok(stores),
            Err(error) => error,
        };
        match error.root_cause().downcast_ref() {
            Some(MasterKeyError::NotEnoughShares { have, need }) if told != Some(*have) => {
                tracing::warn!(
                    have,
                    need,
                    "locked: waiting for shares of the master key; see `clm-secure master unlock`"
                );
                told = Some(*have);
            }
            Some(MasterKeyError::NotEnoughShares { .. }) => {}
            _ => return Err(error),
        }
        tokio::time::sleep(LOOK_FOR_SHARES).await;
    }
}

/// The token's settings; whether it is there shows when it is used.
pub(crate) fn token(config: &HsmConfig) -> anyhow::Result<Arc<Token>> {
    let pin = Secret::from_file(&config.pin_file).context("[hsm]")?;
    Ok(Arc::new(Token::new(TokenSettings {
        module: config.module.clone(),
        label: config.token_label.clone(),
        pin: Box::new(pin.expose().to_vec()).into(),
        sessions: config.sessions,
    })))
}

fn master(config: &MasterKeyConfig, token: Option<&Arc<Token>>) -> anyhow::Result<MasterKey> {
    match config {
        MasterKeyConfig::SealedFile(sealed) => open_sealed(sealed),
        MasterKeyConfig::Pkcs11(key) => Ok(MasterKey::Token(token_key(key, token)?)),
    }
}

/// The token's key of this name, there or not.
pub(crate) fn token_key(config: &TokenKeyConfig, token: Option<&Arc<Token>>) -> anyhow::Result<TokenKey> {
    let token = token.context("a master key of provider `pkcs11` needs the section [hsm]")?;
    Ok(TokenKey::new(Arc::clone(token), &config.key_label))
}

fn open_sealed(config: &SealedFileConfig) -> anyhow::Result<MasterKey> {
    let opened = match means(config)? {
        Means::Passphrase(passphrase) => {
            SealedKey::open(&config.file, Opener::Passphrase(passphrase.expose()))
        }
        Means::Shares(folder) => SealedKey::open(&config.file, Opener::Shares(&read_shares(&folder)?)),
    };
    let missing = matches!(&opened, Err(MasterKeyError::File { .. }));
    let opened = opened.map(MasterKey::from).map_err(anyhow::Error::from);
    if missing { opened.context("`clm-secure master init` makes the first master key") } else { opened }
}

/// What the configuration says that opens the file: exactly one thing.
pub(crate) fn means(config: &SealedFileConfig) -> anyhow::Result<Means> {
    let credential = config.passphrase_credential.as_ref();
    match (&config.passphrase_file, credential, &config.shares_directory) {
        (Some(file), None, None) => Ok(Means::Passphrase(Secret::from_file(file)?)),
        (None, Some(name), None) => Ok(Means::Passphrase(Secret::from_file(&credential_file(name)?)?)),
        (None, None, Some(folder)) => Ok(Means::Shares(folder.clone())),
        _ => bail!("name one of passphrase_file, passphrase_credential and shares_directory"),
    }
}

/// Where systemd lays down a credential of the unit.
fn credential_file(name: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
    let folder =
        folder.context("CREDENTIALS_DIRECTORY is not set: credentials are for services of systemd")?;
    if Path::new(name).components().count() != 1 {
        bail!("`{name}` is no name of a credential");
    }
    Ok(Path::new(&folder).join(name))
}

/// The shares that custodians laid down so far.
pub(crate) fn read_shares(folder: &Path) -> anyhow::Result<Vec<Share>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut shares = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "share") {
            // Others could read it, or have laid it down.
            Secret::from_file(&path)?;
            shares.push(Share::read(&path)?);
        }
    }
    Ok(shares)
}
