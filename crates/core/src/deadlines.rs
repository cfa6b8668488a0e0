//! What happens because time passes: requests that nobody decided expire, and so do certificates.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::{DbError, certificates};
use clm_types::ids;
use tokio_util::sync::CancellationToken;

use crate::{Core, CoreError};

/// How often deadlines are looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// Certificates written down as expired at once.
const MOST_EXPIRED: i64 = 1_000;

impl Core {
    /// Looks at the deadlines until told to stop. Every process may: rows that another one holds are passed over.
    pub async fn run_deadlines(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.meet_deadlines().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "deadlines could not be looked at");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn meet_deadlines(&self) -> Result<(), CoreError> {
        self.expire_requests().await?;
        self.expire_certificates().await?;
        Ok(())
    }

    /// Writes down which certificates are past their end, in every organization, each with its audit entry; how many
    /// there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_certificates(&self) -> Result<u64, CoreError> {
        let now = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let ended = certificates::list_ended(&mut conn, now, MOST_EXPIRED).await?;
        if ended.is_empty() {
            return Ok(0);
        }
        let audit_ids: Vec<_> = ended.iter().map(|_| ids::new_uuid(now, &self.entropy)).collect();
        Ok(certificates::expire(&mut conn, &ended, &audit_ids, now).await?)
    }
}
