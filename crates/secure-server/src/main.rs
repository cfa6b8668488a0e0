//! `clm-secure`: the program of the Secure Service, and the operator's commands on its database.

mod audit;
mod audit_export;
mod authority;
mod authority_import;
mod ceremony;
mod config;
mod key_stores;
mod keys;
mod master;
mod operator;
mod rpc;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use clm_secure::SecureError;

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
    Master(master::Command),
    /// Encryption keys: what protects private keys in the database.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Certificate authorities.
    #[command(subcommand)]
    Authority(authority::Command),
    /// Making authorities by a plan that operators signed.
    #[command(subcommand)]
    Ceremony(ceremony::Command),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Command),
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

fn main() -> ExitCode {
    match start(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            if let Some(SecureError::Refused(refusal)) = error.downcast_ref()
                && let Some(hint) = &refusal.hint
            {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    clm_service::harden_process().context("core dumps could not be switched off")?;
    clm_service::install_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    // For every command: a ceremony may die half way too.
    #[cfg(feature = "failpoints")]
    clm_service::init_failpoints()?;
    match command {
        Command::Serve(file) => Box::pin(serve::serve(file.load()?)).await,
        Command::Migrate(file) => serve::migrate(&file.load()?).await,
        Command::CheckConfig(file) => check_config(&file.load()?),
        Command::Master(command) => command.run().await,
        Command::Keys(command) => command.run().await,
        Command::Authority(command) => command.run().await,
        Command::Ceremony(command) => command.run().await,
        Command::Audit(command) => command.run().await,
    }
}

fn check_config(config: &Config) -> anyhow::Result<()> {
    let rpc = config.rpc.files();
    check_files(&rpc.ca_file, &rpc.cert_file, &rpc.key_file).context("[rpc]")?;
    let database = &config.database;
    check_files(&database.ca_file, &database.cert_file, &database.key_file).context("[database]")?;
    key_stores::open(config)?;
    eprintln!("the configuration is complete and readable");
    Ok(())
}

/// An authority, and a certificate with the key that belongs to it.
fn check_files(ca_file: &Path, cert_file: &Path, key_file: &Path) -> anyhow::Result<()> {
    clm_service::public_client(ca_file)?;
    clm_service::public_server(cert_file, key_file)?;
    Ok(())
}
