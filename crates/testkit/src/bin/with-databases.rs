//! `with-databases PROGRAM [ARGUMENT…]`: runs a program while a fresh, migrated pair of throwaway
//! databases exists, whose addresses are in `CLM_CORE_DATABASE_URL` and `CLM_SECURE_DATABASE_URL`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clm_testkit::TestDatabases;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: with-databases PROGRAM [ARGUMENT…]")?;
    let databases = TestDatabases::start().await;
    let status = Command::new(program)
        .args(arguments)
        .env("CLM_CORE_DATABASE_URL", databases.core.url("clm_core_migrator"))
        .env("CLM_SECURE_DATABASE_URL", databases.secure.url("clm_secure_migrator"))
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
