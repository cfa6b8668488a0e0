//! Connection pools over mutually authenticated TLS.

use std::sync::Once;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{Connection, PgPool};

use crate::nodelay::set_nodelay;
use crate::{DbError, PgConfig};

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections are renewed, so that a rotated certificate or a moved primary is taken up.
const MAX_LIFETIME: Duration = Duration::from_mins(30);
const STATEMENT_CACHE: usize = 256;
/// A connection that was idle for longer is tried before it is used: the database may have been
/// restarted. On a busy pool that costs no round trip.
const TRIED_AFTER: Duration = Duration::from_secs(1);

/// Opens a pool and its first connection.
///
/// `application_name` is what the database shows in `pg_stat_activity`.
pub async fn connect(config: &PgConfig, application_name: &str) -> Result<PgPool, DbError> {
    let options = connect_options(config, application_name).options([
        ("statement_timeout", format!("{}ms", config.statement_timeout_ms)),
        ("lock_timeout", "10s".to_owned()),
        ("idle_in_transaction_session_timeout", "15s".to_owned()),
    ]);
    open(options, config.max_connections).await
}

/// Opens a pool of one connection for migrations: no statement timeout, and a lock that cannot be
/// had within a minute fails the migration instead of queueing everybody behind it.
pub async fn connect_migrator(config: &PgConfig) -> Result<PgPool, DbError> {
    let options =
        connect_options(config, "clm-migrate").options([("statement_timeout", "0"), ("lock_timeout", "60s")]);
    open(options, 1).await
}

/// One round trip, for health checks.
pub async fn ping(pool: &PgPool) -> Result<(), DbError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

fn connect_options(config: &PgConfig, application_name: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .database(&config.database)
        .username(&config.user)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&config.ca_file)
        .ssl_client_cert(&config.cert_file)
        .ssl_client_key(&config.key_file)
        .statement_cache_capacity(STATEMENT_CACHE)
        .application_name(application_name)
}

async fn open(options: PgConnectOptions, max_connections: u32) -> Result<PgPool, DbError> {
    let port = options.get_port();
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(MAX_LIFETIME)
        .test_before_acquire(false)
        .after_connect(move |_, _| {
            Box::pin(async move {
                send_at_once(port);
                Ok(())
            })
        })
        .before_acquire(|connection, usage| Box::pin(is_alive(connection, usage.idle_for)))
        .connect_with(options)
        .await?;
    Ok(pool)
}

/// Without it the connection works too, only slower.
fn send_at_once(port: u16) {
    static TOLD: Once = Once::new();
    if let Err(error) = set_nodelay(port) {
        TOLD.call_once(|| {
            tracing::warn!(%error, "TCP_NODELAY cannot be set on connections to the database: they are slower");
        });
    }
}

/// An error has the pool close this connection and take another one.
async fn is_alive(connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for > TRIED_AFTER {
        connection.ping().await?;
    }
    Ok(true)
}
