//! `cargo xtask`: the project's own rules, checked, and its generated files, made.

mod dependencies;
mod generated;
mod migrations;
mod repository;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use repository::Repository;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own rules and generated files")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks who depends on whom, the tidy rules, frozen migrations and the OpenAPI file
    Check,
    /// Makes the query caches `crates/*-db/.sqlx` anew, with throwaway databases
    Sqlx,
    /// Writes docs/reference/openapi.json as the API's code has it
    Openapi,
    /// Freezes all migrations there are: from now on `check` refuses a change to any of them
    Freeze,
}

fn main() -> Result<ExitCode> {
    let repository = Repository::find()?;
    match Arguments::parse().task {
        Task::Check => return check(&repository),
        Task::Sqlx => generated::sqlx(&repository)?,
        Task::Openapi => generated::write_openapi(&repository)?,
        Task::Freeze => migrations::freeze(&repository)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(repository: &Repository) -> Result<ExitCode> {
    let mut problems = dependencies::check(repository)?;
    problems.extend(tidy::check(repository)?);
    problems.extend(migrations::check(repository)?);
    problems.extend(generated::check_openapi(repository)?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
