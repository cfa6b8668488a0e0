//! The section `custody`: the audit log and encryption keys of Secure, beside what bounds them.

mod audit;
mod desk;
mod rotation;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::custody::desk::Desk;
use crate::installation::BenchInstallation;
use crate::options::CustodyOptions;
use crate::report::table;

/// Runs the section and prints its figures.
pub(crate) fn run(options: &CustodyOptions) -> Result<()> {
    let installation = BenchInstallation::start(false)?;
    let options = options.clone();
    // Secure's own code, on as many threads as in the service, in a process beside it.
    let measured = std::thread::spawn(move || -> Result<Vec<(String, String)>> {
        Runtime::new()?.block_on(async {
            let desk = Desk::open(&installation).await?;
            let mut figures = audit::measure(&installation, &desk, &options).await?;
            figures.extend(rotation::measure(&installation, &desk, options.keys).await?);
            Ok(figures)
        })
    });
    let figures = measured.join().ok().context("the section has panicked")??;
    let mut table = table(&["Custody", ""]);
    for (name, figure) in figures {
        table.add_row([name, figure]);
    }
    println!("\n{table}");
    Ok(())
}
