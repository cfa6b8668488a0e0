//! Running the service.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clm_core::passwords::PasswordCost;
use clm_core::sign_in::SignInParts;
use clm_core::{Core, CoreParts};
use clm_core_db::PgPool;
use clm_core_web::{Edge, HttpMetrics, PublicUrl, ValidationUrl};
use clm_rpc::SecureClient;
use clm_service::{Health, Metrics};
use clm_types::{Clock, Entropy};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, MigrationConfig};
use crate::identity_providers;
use crate::listeners;
use crate::metrics::{self, EmailMetrics, IntegrityMetrics};
use crate::password_cost;

/// Months for which partitions are made ahead.
const MONTHS_AHEAD: u32 = 3;
/// How often partitions are made ahead, old messages and forgotten answers deleted.
const HOUSEKEEPING: Duration = Duration::from_mins(10);

/// The rules on their database.
pub(crate) struct Opened {
    pub(crate) core: Arc<Core>,
    app: PgPool,
    system: PgPool,
}

/// Opens the database, which must have the schema of this program, and prepares the link to Secure.
pub(crate) async fn open(config: &Config, password_cost: PasswordCost) -> anyhow::Result<Opened> {
    let sign_in = config.sign_in.parts(&config.api.public_url, password_cost).context("[sign_in]")?;
    let identity_providers =
        identity_providers::open_all(&config.identity_providers).context("[[identity_providers]]")?;
    let sign_in = SignInParts { identity_providers, ..sign_in };
    let mail = config.open_mail()?;
    let app = clm_pg::connect(&config.database, "clm-core").await.context("clm_core_db as [database]")?;
    let system = clm_pg::connect(&config.system_database, "clm-core-system")
        .await
        .context("clm_core_db as [system_database]")?;
    clm_pg::check_schema(&system, &clm_core_db::MIGRATOR).await?;
    make_partitions(&system).await?;
    let secure = SecureClient::new(&config.rpc.endpoint, &config.rpc.server_name, &config.rpc.files())
        .map_err(|error| anyhow!(error))
        .context("[rpc]")?;
    let core = Core::new(CoreParts {
        app: app.clone(),
        system: system.clone(),
        secure,
        clock: Clock::system(),
        entropy: Entropy::system(),
        sign_in,
        mail,
    });
    Ok(Opened { core, app, system })
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    clm_service::init_logging(&config.log)?;
    #[cfg(feature = "failpoints")]
    clm_service::init_failpoints()?;
    let shutdown = clm_service::shutdown_on_signal()?;
    let (limits, of_listeners) = (config.limits.limits().context("[limits]")?, config.limits.of_listeners());
    let tls = clm_service::public_server(&config.api.cert_file, &config.api.key_file)?;
    let api = listeners::bind("[api]", config.api.listen)?;
    let validation = listeners::bind("[validation]", config.validation.listen)?;
    let opened = open(&config, password_cost::tune(config.sign_in.password_time())?).await?;
    let core = Arc::clone(&opened.core);
    core.raise_password_cost().await?;
    let metrics = Metrics::new("clm-core", env!("CARGO_PKG_VERSION"));
    let http = HttpMetrics::default();
    metrics.register(|registry| http.register(registry));

    let mut tasks = JoinSet::new();
    let edge = Edge {
        core: Arc::clone(&core),
        public_url: PublicUrl(config.api.public_url.trim_end_matches('/').into()),
        validation_url: ValidationUrl(config.validation.base_url.trim_end_matches('/').into()),
    };
    let api_router = clm_core_web::api_router(edge, http.clone(), &limits);
    tasks.spawn(listeners::serve_tls(api, tls, api_router, of_listeners, shutdown.clone()));
    let validation_router = clm_core_web::validation_router(Arc::clone(&core), http, &limits);
    tasks.spawn(listeners::serve_plain(validation, validation_router, of_listeners, shutdown.clone()));
    spawn_rules(&mut tasks, &config, &core, &metrics, &shutdown);
    tasks.spawn(keep_house(opened.system.clone(), Arc::clone(&core), shutdown.clone()));
    let (admin, health, stop) = (config.admin.clone(), health(&opened), shutdown.clone());
    tasks.spawn(async move {
        clm_service::serve_admin(&admin, health, metrics, stop).await.context("the admin listener failed")
    });
    tracing::info!(api = %config.api.public_url, validation = %config.validation.base_url, "ready");
    wait(tasks, &shutdown).await
}

/// Waits for the end of all tasks; the first that ends by itself ends the others.
async fn wait(mut tasks: JoinSet<anyhow::Result<()>>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            tracing::error!("a part of the service has ended, so the rest does too");
        }
        let ended = ended.context("a part of the service panicked").and_then(|inner| inner);
        outcome = outcome.and(ended);
    }
    tracing::info!("stopped");
    outcome
}

/// What the rules do of themselves: jobs, e-mail, the follower, deadlines, comparing the databases, notices.
fn spawn_rules(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    core: &Arc<Core>,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) {
    let integrity = IntegrityMetrics::default();
    integrity.register(metrics);
    let stop = || shutdown.clone();
    tasks.spawn(until_stopped(Arc::clone(core).run_jobs(stop())));
    tasks.spawn(until_stopped(Arc::clone(core).run_follower(stop())));
    tasks.spawn(until_stopped(Arc::clone(core).run_deadlines(stop())));
    tasks.spawn(until_stopped(Arc::clone(core).run_mass_revocations(stop())));
    tasks.spawn(until_stopped(Arc::clone(core).run_notices(stop())));
    let email = EmailMetrics::default();
    email.register(metrics);
    tasks.spawn(until_stopped(Arc::clone(core).run_email_messages(stop(), move |report| email.note(report))));
    let dropped = metrics::count_dropped_refusals(metrics);
    let count = move |more| {
        dropped.inc_by(more);
    };
    tasks.spawn(until_stopped(Arc::clone(core).run_refusals(stop(), count)));
    let note = move |report: &_| integrity.note(report);
    let comparing = Arc::clone(core).run_integrity_every(config.integrity.interval(), stop(), note);
    tasks.spawn(until_stopped(comparing));
}

async fn until_stopped(rule: impl Future<Output = ()>) -> anyhow::Result<()> {
    rule.await;
    Ok(())
}

fn health(opened: &Opened) -> Health {
    let health = Health::new();
    for (name, pool) in [("database", &opened.app), ("system_database", &opened.system)] {
        let pool = pool.clone();
        health.add(name, move || {
            let pool = pool.clone();
            async move { clm_pg::ping(&pool).await.map_err(|error| error.to_string()) }
        });
    }
    health
}

/// Makes partitions ahead and deletes messages and stored answers whose time is over.
async fn keep_house(system: PgPool, core: Arc<Core>, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(HOUSEKEEPING) => {}
        }
        if let Err(error) = make_partitions(&system).await {
            tracing::error!(error = &error as &dyn std::error::Error, "partitions could not be made ahead");
        }
        if let Some(Err(error)) = shutdown.run_until_cancelled(core.purge_email_messages()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old messages could not be deleted");
        }
        match shutdown.run_until_cancelled(core.purge_calls()).await {
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old answers could not be deleted");
            }
            Some(Ok(purged)) => tracing::debug!(purged, "deleted old answers"),
            None => return Ok(()),
        }
    }
}

async fn make_partitions(pool: &PgPool) -> Result<(), clm_pg::DbError> {
    let now = Clock::system().now();
    clm_pg::ensure_partitions(pool, clm_core_db::PARTITIONED_TABLES, now, MONTHS_AHEAD).await
}

/// Brings the database to the schema of this program.
pub(crate) async fn migrate(config: &MigrationConfig) -> anyhow::Result<()> {
    let pool = clm_pg::connect_migrator(&config.migration_database).await?;
    clm_pg::migrate(&pool, &clm_core_db::MIGRATOR).await?;
    make_partitions(&pool).await?;
    eprintln!("clm_core_db has the schema of this program");
    Ok(())
}
