//! Running the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use chrono::TimeDelta;
use clm_pg::PgPool;
use clm_rpc::PeerAllowList;
use clm_rpc::v1::secure_service_server::SecureServiceServer;
use clm_secure::{KeyStores, Secure};
use clm_service::{Health, Metrics};
use clm_types::{Clock, Entropy};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;

use crate::config::{Config, MigrationConfig};
use crate::rpc::Rpc;
use crate::{key_stores, keys};

/// Months for which partitions are made ahead.
const MONTHS_AHEAD: u32 = 3;

/// Largest message from Core: a request with its mandate.
const LARGEST_MESSAGE: usize = 1024 * 1024;

pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    clm_service::init_logging(&config.log)?;
    match clm_service::lock_memory() {
        Ok(true) => {}
        Ok(false) => {
            tracing::info!("memory is not locked: the limit is not unlimited (LimitMEMLOCK=infinity)");
        }
        Err(error) => tracing::warn!(%error, "memory could not be locked"),
    }
    let shutdown = clm_service::shutdown_on_signal()?;
    let health = Health::new();
    let metrics = Metrics::new("clm-secure", env!("CARGO_PKG_VERSION"));
    let admin = clm_service::serve_admin(&config.admin, health.clone(), metrics.clone(), shutdown.clone());
    let admin = async { admin.await.context("the admin listener failed") };
    // Both drain what they are at before they end.
    tokio::try_join!(admin, work(&config, &health, &metrics, &shutdown))?;
    tracing::info!("stopped");
    Ok(())
}

/// Everything but the admin listener, which tells of it from the start.
async fn work(
    config: &Config,
    health: &Health,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let unlocked = Arc::new(AtomicBool::new(false));
    let checked = Arc::clone(&unlocked);
    health.add("master_key", move || {
        let unlocked = checked.load(Ordering::Relaxed);
        async move { if unlocked { Ok(()) } else { Err("waiting for shares of the master key".to_owned()) } }
    });
    let stores = tokio::select! {
        stores = key_stores::open_when_unlocked(config) => stores?,
        () = shutdown.cancelled() => return Ok(()),
    };
    unlocked.store(true, Ordering::Relaxed);
    let (secure, pool) = open_with(config, stores).await?;
    secure.ensure_crl_scopes().await?;
    let checked = pool.clone();
    health.add("database", move || {
        let pool = checked.clone();
        async move { clm_pg::ping(&pool).await.map_err(|error| error.to_string()) }
    });
    tokio::select! {
        outcome = listen(config, secure.clone(), shutdown.clone()) => outcome?,
        () = sign_audit_chain(&secure, config.audit.checkpoint_every()) => {}
        () = secure.publish_crls() => {}
        () = Box::pin(secure.run_expiry()) => {}
        () = Box::pin(secure.run_ocsp_responders()) => {}
        () = Box::pin(secure.run_ocsp_presigning()) => {}
        () = keys::watch(config, &secure, metrics) => {}
        () = secure.fill_key_pool() => {}
        () = erase_deleted_keys(&secure, config.retention.deleted_keys()) => {}
        () = delete_superseded_crls(&secure, config.retention.crls()) => {}
        () = keep_partitions(pool) => {}
    }
    // What was done since the last look is signed before the process ends.
    if let Err(error) = secure.make_checkpoint(None).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the end of the audit chain could not be signed"
        );
    }
    Ok(())
}

/// Signs the end of the audit chain when it is due, for ever.
async fn sign_audit_chain(secure: &Secure, every: TimeDelta) {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        if let Err(error) = secure.make_checkpoint(Some(every)).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the end of the audit chain could not be signed"
            );
        }
    }
}

/// The service's rules on its database, which must have the schema of this program.
pub(crate) async fn open(config: &Config) -> anyhow::Result<(Secure, PgPool)> {
    open_with(config, key_stores::open(config)?).await
}

async fn open_with(config: &Config, stores: KeyStores) -> anyhow::Result<(Secure, PgPool)> {
    let pool = connect(config).await?;
    make_partitions(&pool).await?;
    let secure = Secure::new(pool.clone(), stores, Clock::system(), Entropy::system());
    secure.record_older_rows().await?;
    Ok((secure, pool))
}

/// The database alone, for what needs no keys.
pub(crate) async fn connect(config: &Config) -> anyhow::Result<PgPool> {
    let pool = clm_pg::connect(&config.database, "clm-secure").await.context("clm_secure_db")?;
    clm_pg::check_schema(&pool, &clm_secure_db::MIGRATOR).await?;
    Ok(pool)
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

/// Erases deleted keys whose time is over, once an hour.
async fn erase_deleted_keys(secure: &Secure, kept: TimeDelta) {
    loop {
        match secure.erase_deleted_keys(kept).await {
            // There may be more.
            Ok(erased) if erased > 0 => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "deleted keys could not be erased");
            }
        }
        tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    }
}

/// Deletes the octets of superseded revocation lists, once an hour.
async fn delete_superseded_crls(secure: &Secure, kept: TimeDelta) {
    loop {
        match secure.delete_superseded_crls(kept).await {
            // There may be more.
            Ok(deleted) if deleted > 0 => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "superseded CRLs could not be deleted"
                );
            }
        }
        tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    }
}
