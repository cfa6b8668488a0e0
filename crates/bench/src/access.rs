//! The section `access`: what it costs to know who calls and what they may, beside what bounds it.

mod constant;
mod permission;
mod requests;
mod sign_in;

use std::time::Duration;

use anyhow::Result;

use crate::cores::Cores;
use crate::installation::BenchInstallation;
use crate::load::client;
use crate::options::AccessOptions;
use crate::progress;
use crate::report::table;
use crate::tenant::Tenant;

/// Goal of a permission check whose answer is kept.
const GOAL_MICROS: f64 = 50.0;
const PERMISSION_TIME: Duration = Duration::from_secs(2);

/// Runs the section and prints its figures.
pub(crate) async fn run(options: &AccessOptions) -> Result<()> {
    let cores = Cores::of_this_machine()?;
    // What is started from here inherits it.
    cores.move_to_services()?;
    let installation = BenchInstallation::start(false)?;
    let constant = constant::start(&installation)?;
    let tenant = Tenant::create(&installation, &client(&installation.ca_file())?).await?;
    progress("permission checks");
    let micros = permission::microseconds(&installation, &tenant, PERMISSION_TIME).await?;
    progress("sign-ins, then hashes alone on the same cores");
    let password = sign_in::prepare(&installation, &tenant).await?;
    let hashes = sign_in::hashes_per_second(&installation, cores.services(), options.window())?;
    cores.move_to_generator()?;
    let sign_ins = sign_in::per_second(&installation, &password, options).await?;
    progress("authenticated requests, then a constant answer");
    let measure =
        async |url: &str| requests::per_second(&installation, url, &tenant.administrator_key, options).await;
    let api = installation.api_url();
    let read = measure(&format!("{api}/api/v1/me")).await?;
    let kept = measure(&format!("{api}/api/v1/authorities")).await?;
    let constants = measure(&constant).await?;

    let mut table = table(&["Access", ""]);
    let mut row = |name: &str, figure: String| {
        table.add_row([name.to_owned(), figure]);
    };
    row("cores of the services, of the load generator", cores.to_string());
    row(&format!("permission check, kept (goal {GOAL_MICROS} µs)"), format!("{micros:.1} µs"));
    row("sign-ins", format!("{sign_ins:.1}/s"));
    row("ceiling: argon2id at the same cost", format!("{hashes:.1}/s, ratio {:.2}", sign_ins / hashes));
    row(
        "authenticated requests that read the database",
        format!("{read:.0}/s, ratio {:.2}", read / constants),
    );
    row("authenticated requests answered from memory", format!("{kept:.0}/s, ratio {:.2}", kept / constants));
    row("ceiling of both: the same server, a constant", format!("{constants:.0}/s"));
    print(&table.to_string());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures")]
fn print(text: &str) {
    println!("\n{text}");
}
