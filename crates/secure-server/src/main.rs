//! `clm-secure`: the program of the Secure Service, and the operator's commands on its database.

mod audit;
mod authority;
mod config;
mod rpc;
mod serve;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use clm_secure::MasterKey;
use clm_service::Secret;
use clm_types::{Clock, Entropy};

use crate::config::{Config, MigrationConfig};

/// Keeps keys, issues and revokes certificates, signs CRLs and OCSP answers.
#[derive(Parser)]
#[command(name = "clm-secure", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT.
    Serve(ConfigFile),
    /// Bring clm_secure_db to the schema of this program.
    Migrate(MigrationFile),
    /// Read the whole configuration and every file it names, then exit.
    CheckConfig(ConfigFile),
    /// The master key.
    #[command(subcommand)]
    Master(Master),
    /// Certificate authorities.
    #[command(subcommand)]
    Authority(authority::Command),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Command),
}

#[derive(Subcommand)]
enum Master {
    /// Make the sealed master key file, unless it exists.
    Init(ConfigFile),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file (TOML); see deploy/secure.toml for a sample.
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(clm_service::load(&self.path)?)
    }
}

#[derive(clap::Args)]
struct MigrationFile {
    /// How to log in as the migrator (TOML); see deploy/secure-migrate.toml for a sample.
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

impl MigrationFile {
    fn load(&self) -> anyhow::Result<MigrationConfig> {
        Ok(clm_service::load(&self.path)?)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    clm_service::harden_process().context("core dumps could not be switched off")?;
    clm_service::install_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(arguments.command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    // For every command: a ceremony may die half way too.
    #[cfg(feature = "failpoints")]
    clm_service::init_failpoints()?;
    match command {
        Command::Serve(file) => serve::serve(file.load()?).await,
        Command::Migrate(file) => serve::migrate(&file.load()?).await,
        Command::CheckConfig(file) => check_config(&file.load()?),
        Command::Master(Master::Init(file)) => init_master(&file.load()?),
        Command::Authority(command) => command.run().await,
        Command::Audit(command) => command.run().await,
    }
}

fn check_config(config: &Config) -> anyhow::Result<()> {
    let rpc = config.rpc.files();
    check_files(&rpc.ca_file, &rpc.cert_file, &rpc.key_file).context("[rpc]")?;
    let database = &config.database;
    check_files(&database.ca_file, &database.cert_file, &database.key_file).context("[database]")?;
    open_master(config)?;
    eprintln!("the configuration is complete and readable");
    Ok(())
}

/// An authority, and a certificate with the key that belongs to it.
fn check_files(ca_file: &Path, cert_file: &Path, key_file: &Path) -> anyhow::Result<()> {
    clm_service::public_client(ca_file)?;
    clm_service::public_server(cert_file, key_file)?;
    Ok(())
}

fn init_master(config: &Config) -> anyhow::Result<()> {
    let path = &config.master_key.file;
    if path.exists() {
        open_master(config)?;
        eprintln!("{} exists and opens; nothing to do", path.display());
        return Ok(());
    }
    let passphrase = Secret::from_file(&config.master_key.passphrase_file)?;
    let key = MasterKey::create(path, passphrase.expose(), Clock::system().now(), &Entropy::system())?;
    eprintln!("made the master key {} in {}", key.reference(), path.display());
    Ok(())
}

fn open_master(config: &Config) -> anyhow::Result<MasterKey> {
    let passphrase = Secret::from_file(&config.master_key.passphrase_file)?;
    MasterKey::open(&config.master_key.file, passphrase.expose()).context(
        "without its master key the service can do nothing; `clm-secure master init` makes the first one",
    )
}
