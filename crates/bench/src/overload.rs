//! The section `overload`: what the API still does when three times as much is asked of it as it can do.

mod memory;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clm_local::cluster::Database;
use clm_local::process::Pid;

use crate::cores::Cores;
use crate::installation::BenchInstallation;
use crate::load::client;
use crate::options::OverloadOptions;
use crate::report::{LatencyMs, table};
use crate::tenant::Tenant;
use crate::{csrs, progress};

use memory::MemoryWatch;
use traffic::{Outcome, Traffic};

/// Goal of the ratio of goodputs.
const GOAL: f64 = 0.90;
/// More than is answered in a second here.
const MOST_PER_SECOND: u64 = 4_000;
const WARMUP: Duration = Duration::from_secs(3);

/// Runs the section and prints its figures.
pub(crate) async fn run(options: &OverloadOptions) -> Result<()> {
    let cores = Cores::of_this_machine()?;
    // What is started from here inherits it.
    cores.move_to_services()?;
    let installation = BenchInstallation::start(false)?;
    cores.move_to_generator()?;
    let pid = installation.core.pid().map(Pid::number).context("clm-core has ended")?;
    let tenant = Tenant::create(&installation, &client(&installation.ca_file())?).await?;
    let window = options.window();
    let count = u64::from(options.seconds + 3) * 2 * MOST_PER_SECOND / u64::from(options.write_every);
    progress(&format!("making {count} signing requests"));
    let traffic = Traffic::new(&installation, &tenant, csrs::request_bodies(count)?, options.write_every)?;
    progress("warming up");
    let warmup = traffic.closed(options.clients, WARMUP).await?;
    progress(&format!("{} clients for {} s, each waits for its answer", options.clients, options.seconds));
    let saturated = traffic.closed(options.clients, window).await?;
    let capacity = saturated.goodput(window);
    let offered = capacity * options.factor;
    progress(&format!("{offered:.0} requests a second for {} s, answered or not", options.seconds));
    let watch = MemoryWatch::start(pid)?;
    let overloaded = traffic.open(offered, window).await?;
    let memory = watch.stop()?;
    progress("looking for what was acknowledged");
    let outcomes = [&warmup, &saturated, &overloaded];
    let acknowledged: BTreeSet<_> = outcomes.into_iter().flat_map(|outcome| &outcome.acknowledged).collect();
    let lost = lost(&installation, &tenant, &acknowledged)?;

    let mut table = table(&["Overload", ""]);
    let mut row = |name: &str, figure: String| {
        table.add_row([name.to_owned(), figure]);
    };
    row("cores of the services, of the load generator", cores.to_string());
    row("answered at saturation", format!("{capacity:.0}/s"));
    row("latency then, p50 and p99", latency(&saturated));
    row("offered in overload", format!("{offered:.0}/s"));
    row("answered of it", format!("{:.0}/s", overloaded.goodput(window)));
    row(&format!("ratio of both (goal {GOAL:.2})"), format!("{:.3}", overloaded.goodput(window) / capacity));
    row("latency of what was answered, p50 and p99", latency(&overloaded));
    row("answers at saturation", in_words(&saturated.answers));
    row("answers in overload", in_words(&overloaded.answers));
    row("CRLs fetched meanwhile", in_words(&overloaded.validation));
    row("memory of clm-core before, at most, after", memory);
    row("writes acknowledged, lost", format!("{}, {lost}", acknowledged.len()));
    print(&table.to_string());
    ensure!(lost == 0, "{lost} acknowledged writes are not in the database");
    let strange: Vec<_> = overloaded.answers.keys().filter(|answer| !is_expected(answer)).collect();
    ensure!(strange.is_empty(), "other answers than success, 429 and 503: {strange:?}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures")]
fn print(text: &str) {
    println!("\n{text}");
}

fn is_expected(answer: &str) -> bool {
    ["200", "201", "202", "429", "503"].iter().any(|status| answer.starts_with(status))
}

fn latency(outcome: &Outcome) -> String {
    let LatencyMs { p50, p99, .. } = LatencyMs::of(&outcome.latency);
    format!("{p50:.0} ms, {p99:.0} ms")
}

fn in_words(answers: &BTreeMap<String, u64>) -> String {
    let words: Vec<_> = answers.iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
    words.join("; ")
}

/// How many of the acknowledged requests are not in Core's database.
fn lost(
    installation: &BenchInstallation,
    tenant: &Tenant,
    acknowledged: &BTreeSet<&String>,
) -> Result<usize> {
    let sql =
        format!("SELECT id FROM workflow_instances WHERE organization_id = '{}'", tenant.organization_id);
    let text = installation.sql(Database::Core, &sql)?;
    let stored: BTreeSet<&str> = text.lines().map(str::trim).collect();
    Ok(acknowledged.iter().filter(|id| !stored.contains(id.as_str())).count())
}
