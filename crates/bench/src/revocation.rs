//! The section `revocation`: lists of very many entries, mass revocations, and OCSP, beside what bounds them.

mod crl;
mod mass;
mod ocsp;
mod planted;
mod shards;

use anyhow::Result;

use crate::installation::BenchInstallation;
use crate::load::client;
use crate::options::RevocationOptions;
use crate::progress;
use crate::report::table;
use crate::tenant::Tenant;

/// Certificates that are revoked one after the other.
const ONE_BY_ONE: u64 = 200;

/// Runs the section and prints its figures.
pub(crate) async fn run(options: &RevocationOptions) -> Result<()> {
    let installation = BenchInstallation::start(false)?;
    let tenant = Tenant::create(&installation, &client(&installation.ca_file())?).await?;
    let mut table = table(&["Revocation", ""]);
    for (name, figure) in ocsp::measure(&installation, options).await? {
        table.add_row([name, figure]);
    }
    progress(&format!("planting {} certificates to be revoked", options.revoked));
    planted::active(&installation, options.revoked)?;
    for (name, figure) in mass::measure(&installation, options.revoked)? {
        table.add_row([name, figure]);
    }
    progress(&format!("planting {} revoked certificates", options.entries));
    planted::revoked(&installation, options.entries)?;
    for (name, figure) in crl::measure(&installation).await? {
        table.add_row([name, figure]);
    }
    for (name, figure) in shards::measure(&installation, &tenant, ONE_BY_ONE).await? {
        table.add_row([name, figure]);
    }
    println!("\n{table}");
    Ok(())
}
