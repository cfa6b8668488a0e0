//! The program `clm-bench`: load on a throwaway installation, beside the ceilings of the machine.
#![expect(clippy::print_stdout, reason = "standard output is this program's purpose")]

mod access;
mod cores;
mod cpu;
mod csrs;
mod custody;
mod disk;
mod installation;
mod inventory;
mod issue;
mod load;
mod options;
mod overload;
mod pgbench;
mod report;
mod revocation;
mod signing;
mod statistics;
mod tenant;
mod usage;
mod verification;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::options::{
    AccessOptions, AllOptions, CustodyOptions, InventoryOptions, IssueOptions, OverloadOptions,
    RevocationOptions,
};

/// Puts load on a throwaway installation and measures the machine's ceilings beside it.
///
/// The programs are those in the folder of this one.
#[derive(Parser)]
#[command(name = "clm-bench", version)]
struct Arguments {
    #[command(subcommand)]
    section: Section,
}

#[derive(Subcommand)]
enum Section {
    /// Certificates issued per second over the REST API, beside signing and beside pgbench.
    Issue(IssueOptions),
    /// Lists of very many entries, mass revocations and OCSP, beside COPY and signing.
    Revocation(RevocationOptions),
    /// Audited events, their verification and the rotation of keys, beside inserts, COPY and an update.
    Custody(CustodyOptions),
    /// Permission checks, sign-ins and authenticated requests, beside argon2id and a constant answer.
    Access(AccessOptions),
    /// Three times as many requests as the API can answer, beside what it answers at most.
    Overload(OverloadOptions),
    /// Pages of one tenant's certificates among very many tenants, beside the same pages alone in the database.
    Inventory(InventoryOptions),
    /// Every section.
    All(AllOptions),
}

// One thread: the load generator shares the machine with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    clm_service::install_provider();
    match Arguments::parse().section {
        Section::Issue(options) => issue::run(&options).await,
        Section::Revocation(options) => revocation::run(&options).await,
        Section::Custody(options) => custody::run(&options),
        Section::Access(options) => access::run(&options).await,
        Section::Overload(options) => overload::run(&options).await,
        Section::Inventory(options) => inventory::run(&options).await,
        Section::All(options) => {
            issue::run(&options.issue).await?;
            revocation::run(&options.revocation()).await?;
            custody::run(&options.custody())
        }
    }
}

/// Tells on standard error what happens next.
#[expect(clippy::print_stderr, reason = "progress does not belong to the figures")]
fn progress(text: &str) {
    eprintln!("-- {text}");
}
