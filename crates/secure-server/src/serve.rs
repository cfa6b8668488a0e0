//! Running the service.

use anyhow::Context;
use clm_pg::PgPool;
use clm_rpc::PeerAllowList;
use clm_rpc::v1::secure_service_server::SecureServiceServer;
use clm_secure::Secure;
use clm_service::{Health, Metrics};
use clm_types::{Clock, Entropy};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;

use crate::config::{Config, MigrationConfig};
use crate::rpc::Rpc;

/// Months for which partitions are made ahead.
const MONTHS_AHEAD: u32 = 3;

/// Largest message from Core: a request with its mandate.
const LARGEST_MESSAGE: usize = 1024 * 1024;

pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    clm_service::init_logging(&config.log)?;
    let shutdown = clm_service::shutdown_on_signal()?;
    let (secure, pool) = open(&config).await?;
    let health = Health::new();
    let checked = pool.clone();
    health.add("database", move || {
        let pool = checked.clone();
        async move { clm_pg::ping(&pool).await.map_err(|error| error.to_string()) }
    });
    let admin = clm_service::serve_admin(
        &config.admin,
        health,
        Metrics::new("clm-secure", env!("CARGO_PKG_VERSION")),
        shutdown.clone(),
    );
    let admin = async { admin.await.context("the admin listener failed") };
    tokio::select! {
        // Both drain what they are at before they end.
        outcome = async { tokio::try_join!(admin, listen(&config, secure.clone(), shutdown.clone())) } => drop(outcome?),
        () = secure.publish_crls() => {}
        () = Box::pin(secure.run_expiry()) => {}
        () = keep_partitions(pool) => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// The service's rules on its database, which must have the schema of this program.
pub(crate) async fn open(config: &Config) -> anyhow::Result<(Secure, PgPool)> {
    let master_key = crate::open_master(config)?;
    let pool = clm_pg::connect(&config.database, "clm-secure").await.context("clm_secure_db")?;
    clm_pg::check_schema(&pool, &clm_secure_db::MIGRATOR).await?;
    make_partitions(&pool).await?;
    Ok((Secure::new(pool.clone(), master_key, Clock::system(), Entropy::system()), pool))
}

pub(crate) async fn migrate(config: &MigrationConfig) -> anyhow::Result<()> {
    let pool = clm_pg::connect_migrator(&config.migration_database).await?;
    clm_pg::migrate(&pool, &clm_secure_db::MIGRATOR).await?;
    make_partitions(&pool).await?;
    eprintln!("clm_secure_db has the schema of this program");
    Ok(())
}

async fn listen(config: &Config, secure: Secure, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = SecureServiceServer::new(Rpc::new(secure)).max_decoding_message_size(LARGEST_MESSAGE);
    let guarded =
        InterceptedService::new(service, PeerAllowList::new(config.rpc.allowed_peers.iter().cloned()));
    tracing::info!(listen = %config.rpc.listen, "ready");
    tonic::transport::Server::builder()
        .tls_config(config.rpc.files().server()?)?
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
        .concurrency_limit_per_connection(256)
        .add_service(guarded)
        .serve_with_shutdown(config.rpc.listen, shutdown.cancelled_owned())
        .await
        .context("the RPC listener failed")
}

async fn make_partitions(pool: &PgPool) -> Result<(), clm_pg::DbError> {
    clm_pg::ensure_partitions(pool, clm_secure_db::PARTITIONED_TABLES, Clock::system().now(), MONTHS_AHEAD)
        .await
}

/// Makes partitions ahead, once an hour.
async fn keep_partitions(pool: PgPool) {
    loop {
        tokio::time::sleep(std::time::Duration::from_hours(1)).await;
        if let Err(error) = make_partitions(&pool).await {
            tracing::error!(error = &error as &dyn std::error::Error, "partitions could not be made ahead");
        }
    }
}
