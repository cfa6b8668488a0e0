//! The section `inventory`: pages of one tenant's certificates, alone in the database and among very many tenants.

mod pages;
mod planted;

use anyhow::Result;

use crate::installation::BenchInstallation;
use crate::load::client;
use crate::options::InventoryOptions;
use crate::progress;
use crate::report::table;
use crate::tenant::Tenant;

/// Goal of the time of a page among other tenants, over the time of the same page alone.
const GOAL: f64 = 1.2;

/// Runs the section and prints its figures.
pub(crate) async fn run(options: &InventoryOptions) -> Result<()> {
    let installation = BenchInstallation::start(false)?;
    let tenant = Tenant::create(&installation, &client(&installation.ca_file())?).await?;
    let among = async |organizations: u32| {
        let certificates = options.certificates;
        progress(&format!("planting {certificates} certificates for each of {organizations} organizations"));
        planted::plant(&installation, tenant.organization_id, organizations, certificates)?;
        progress("asking for pages");
        pages::milliseconds(&installation, &tenant, options.repeats).await
    };
    let alone = among(1).await?;
    let together = among(options.organizations).await?;

    let heading = format!("Pages of {} certificates, median (goal: ratio {GOAL})", pages::LENGTH);
    let others = format!("one of {} tenants", options.organizations);
    let mut table = table(&[&heading, "the only tenant", &others, "ratio"]);
    for ((name, alone), (_, together)) in alone.iter().zip(&together) {
        let ratio = together / alone;
        let milliseconds = |figure: f64| format!("{figure:.2} ms");
        table.add_row([
            (*name).to_owned(),
            milliseconds(*alone),
            milliseconds(*together),
            format!("{ratio:.2}"),
        ]);
    }
    print(&table.to_string());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures")]
fn print(text: &str) {
    println!("\n{text}");
}
