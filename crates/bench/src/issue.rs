//! The section `issue`: certificates per second over the REST API.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clm_local::cluster::Database;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use crate::installation::BenchInstallation;
use crate::load::{Load, Outcome, client};
use crate::options::IssueOptions;
use crate::pgbench::Pgbench;
use crate::report::{CpuShare, DatabaseShare, IssueReport, LatencyMs};
use crate::statistics::{Counters, Statements};
use crate::tenant::Tenant;
use crate::usage::Usage;
use crate::{csrs, disk, pgbench, progress, signing, verification};

/// For each ceiling that is measured in this process.
const CEILING_TIME: Duration = Duration::from_secs(2);

/// Runs the section and prints its figures.
pub(crate) async fn run(options: &IssueOptions) -> Result<()> {
    let installation = Arc::new(BenchInstallation::start(options.statements > 0)?);
    progress("measuring signatures on one core and the disk");
    let ceilings = Ceilings {
        signatures_per_second: signing::signatures_per_second(CEILING_TIME)?,
        syncs_per_second: disk::syncs_per_second(installation.folder(), CEILING_TIME)?,
    };
    let tenant = Tenant::create(&installation, &client(&installation.ca_file())?).await?;
    progress(&format!("making {} signing requests", options.request_count()));
    let bodies = csrs::request_bodies(options.request_count())?;
    progress(&format!("{} clients for {} s + {} s", options.clients, options.warmup, options.seconds));
    let measured = measure(&installation, &tenant, bodies, options).await?;
    progress("comparing answers, both databases and both audit logs");
    verification::check(&installation, tenant.organization_id, &measured.outcome.issued)?;
    progress(&format!("pgbench for {} s", options.seconds));
    let pgbench = pgbench::run(&installation, options, tenant.organization_id)?;
    let report = measured.report(options, &ceilings, pgbench);
    report.print();
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !report.failures.is_empty() {
        bail!("not every request got its certificate");
    }
    Ok(())
}

/// What one core and the disk can do.
struct Ceilings {
    signatures_per_second: f64,
    syncs_per_second: f64,
}

/// The load and what was used during its measured time.
struct Measured {
    outcome: Outcome,
    before: Usage,
    after: Usage,
    statements: Vec<Statements>,
}

async fn measure(
    installation: &Arc<BenchInstallation>,
    tenant: &Tenant,
    bodies: Vec<Vec<u8>>,
    options: &IssueOptions,
) -> Result<Measured> {
    let api = installation.api_url();
    let load = Arc::new(Load::new(&api, tenant, bodies, options.warmup(), options.window())?);
    let (from, until) = (load.from, load.until);
    let ca_file = installation.ca_file();
    let clients = options.clients;
    let running = tokio::spawn(async move { load.run(clients, &ca_file).await });
    let (before, _) = look(installation, from, options.statements, false).await?;
    let (after, statements) = look(installation, until, options.statements, true).await?;
    let outcome = running.await??;
    Ok(Measured { outcome, before, after, statements })
}

/// Looks at everything at the time `at`, on another thread than the clients'.
async fn look(
    installation: &Arc<BenchInstallation>,
    at: Instant,
    statements: u32,
    end: bool,
) -> Result<(Usage, Vec<Statements>)> {
    sleep_until(at.into()).await;
    let installation = installation.clone();
    spawn_blocking(move || {
        let usage = Usage::read(&installation)?;
        let mut read = Vec::new();
        match (statements, end) {
            (0, _) => {}
            (_, false) => Statements::reset(&installation)?,
            (_, true) => {
                for database in Database::ALL {
                    read.push(Statements::read(&installation, database, statements)?);
                }
            }
        }
        Ok((usage, read))
    })
    .await?
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn report(self, options: &IssueOptions, ceilings: &Ceilings, pgbench: Pgbench) -> IssueReport {
        let Self { outcome, before, after, statements } = self;
        let count = outcome.certificates as f64;
        let per_second = count / options.window().as_secs_f64();
        let shares = after.since(&before);
        let cpu = shares.into_iter().map(|(name, seconds)| CpuShare::new(name, seconds, count)).collect();
        let mut statements = statements.into_iter();
        let mut database = |name, now: Counters, then| {
            DatabaseShare::new(name, now.per_certificate(then, count), statements.next(), count)
        };
        IssueReport {
            clients: options.clients,
            seconds: options.seconds,
            certificates: outcome.certificates,
            certificates_per_second: per_second,
            latency_ms: LatencyMs::of(&outcome.latency),
            ratio_to_pgbench: per_second / pgbench.transactions_per_second,
            ratio_to_signing: per_second / ceilings.signatures_per_second,
            signatures_per_second: ceilings.signatures_per_second,
            syncs_per_second: ceilings.syncs_per_second,
            pgbench,
            cpu,
            databases: vec![
                database("core", after.core_counters, before.core_counters),
                database("secure", after.secure_counters, before.secure_counters),
            ],
            failures: outcome.failures,
        }
    }
}
