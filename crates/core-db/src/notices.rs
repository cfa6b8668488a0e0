//! Messages to every process on the same database: what it may no longer believe from its caches.

use clm_pg::DbError;
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool};

/// Users, roles, assignments, API keys or organizations have changed.
pub const IDENTITY: &str = "clm_identity";
/// Policies or workflows have changed.
pub const POLICY: &str = "clm_policy";

/// A certificate's status or a CRL has changed; the payload says which.
pub const VALIDATION: &str = "clm_validation";

/// Hears the notices of all processes, its own too.
pub struct Listener(PgListener);

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// One of the channels above.
    pub channel: String,
    /// What its sender added.
    pub payload: String,
}

impl Listener {
    /// Takes a connection of the pool for as long as it lives.
    pub async fn open(pool: &PgPool) -> Result<Self, DbError> {
        let mut listener = PgListener::connect_with(pool).await?;
        // The loss is to be told at once, not after the next connection has been made.
        listener.eager_reconnect(false);
        listener.listen_all([IDENTITY, POLICY, VALIDATION]).await?;
        Ok(Self(listener))
    }

    /// Waits for the next notice; none when the connection was lost meanwhile, and notices with it.
    pub async fn next(&mut self) -> Result<Option<Heard>, DbError> {
        let heard = self.0.try_recv().await?;
        Ok(heard.map(|notice| Heard {
            channel: notice.channel().to_owned(),
            payload: notice.payload().to_owned(),
        }))
    }
}

/// Sends a notice when the transaction commits.
pub async fn send(conn: &mut PgConnection, channel: &str) -> Result<(), DbError> {
    sqlx::query!("SELECT pg_notify($1, '')", channel).fetch_one(conn).await?;
    Ok(())
}
