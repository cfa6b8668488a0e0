//! What other processes on the same database announce: what this one may no longer believe.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::DbError;
use clm_core_db::notices::{self, Heard, Listener};
use tokio_util::sync::CancellationToken;

use crate::Core;

/// How long to wait before listening again after a loss. Nothing is believed meanwhile.
const AFTER_LOSS: Duration = Duration::from_secs(1);

impl Core {
    /// Listens until told to stop.
    pub async fn run_notices(self: Arc<Self>, shutdown: CancellationToken) {
        let mut is_lost = false;
        while !shutdown.is_cancelled() {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.listen() => ended,
            };
            self.set_deaf(true);
            if let Err(error) = ended
                && !is_lost
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "notices cannot be heard now");
            }
            is_lost = true;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(AFTER_LOSS) => {}
            }
        }
    }

    /// Heeds notices until the connection is lost.
    async fn listen(&self) -> Result<(), DbError> {
        let mut listener = Listener::open(&self.system).await?;
        // Whatever was announced before this moment was not heard.
        self.set_deaf(false);
        while let Some(heard) = listener.next().await? {
            self.heed_notice(&heard);
        }
        Ok(())
    }

    /// Drops what is no longer so.
    pub fn heed_notice(&self, heard: &Heard) {
        match heard.channel.as_str() {
            notices::IDENTITY => {
                self.identities.clear();
                self.references.clear();
            }
            notices::POLICY => self.forget_policies(),
            notices::VALIDATION => self.heed_validation_notice(&heard.payload),
            _ => {}
        }
    }
}
