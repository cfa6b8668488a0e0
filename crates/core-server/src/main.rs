//! `clm-core`: the program of the Core Service, and the operator's commands on its database.

mod administrator_key;
mod bootstrap_token;
mod check_config;
mod config;
mod connections;
mod identity_providers;
mod limits_config;
mod listeners;
mod mail_config;
mod metrics;
mod password_cost;
mod secret_file;
mod serve;
mod sign_in_key;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use clm_core::CoreError;

use crate::config::{Config, MigrationConfig};

/// People, policies, workflows, the inventory, the API and the validation services.
#[derive(Parser)]
#[command(name = "clm-core", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT.
    Serve(ConfigFile),
    /// Bring `clm_core_db` to the schema of this program.
    Migrate(MigrationFile),
    /// Read the whole configuration and every file it names, then exit.
    CheckConfig(ConfigFile),
    /// Write a one-time token with which the first administrator is made.
    BootstrapToken(bootstrap_token::Arguments),
    /// Write a new API key for an administrator of all organizations who has none any more.
    AdministratorKey(administrator_key::Arguments),
    /// Write a new key under which the secrets of one-time codes lie.
    SignInKey(sign_in_key::Arguments),
    /// Print the description of the API (OpenAPI 3.1).
    Openapi,
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file (TOML); see deploy/core.toml for a sample.
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
    /// How to log in as the migrator (TOML); see deploy/core-migrate.toml for a sample.
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
    if matches!(arguments.command, Command::Openapi) {
        std::io::stdout().write_all(clm_core_web::openapi::text().as_bytes())?;
        return Ok(());
    }
    clm_service::harden_process().context("core dumps could not be switched off")?;
    clm_service::install_provider();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(arguments.command))
        .map_err(with_hint)
}

/// A refusal with what the operator can do about it.
fn with_hint(error: anyhow::Error) -> anyhow::Error {
    let refusal = match error.downcast_ref::<CoreError>() {
        Some(CoreError::Refused(refusal)) => refusal.clone(),
        _ => return error,
    };
    match refusal.hint {
        Some(hint) => anyhow::anyhow!("{error}\n  hint: {hint}"),
        None => error,
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(file) => Box::pin(serve::serve(file.load()?)).await,
        Command::Migrate(file) => serve::migrate(&file.load()?).await,
        Command::CheckConfig(file) => check_config::run(&file.load()?),
        Command::BootstrapToken(arguments) => arguments.run().await,
        Command::AdministratorKey(arguments) => arguments.run().await,
        Command::SignInKey(arguments) => arguments.run(),
        Command::Openapi => Ok(()),
    }
}
