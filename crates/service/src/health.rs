//! Whether the process can do its work, check by check.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The named checks behind `/readyz`.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Check>>>);

/// What `/readyz` answers.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    /// `ok`, or what is wrong, per check.
    pub(crate) checks: BTreeMap<&'static str, String>,
}

impl Health {
    /// No checks yet: ready as soon as it is asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check; its error is shown to whoever reaches the admin listener.
    pub fn add<F, Fut>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, check);
    }

    /// Runs all checks at once, three seconds at most.
    pub(crate) async fn readiness(&self) -> Readiness {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut running = JoinSet::new();
        for (name, check) in checks {
            running.spawn(async move {
                let result = timeout(CHECK_TIMEOUT, check()).await;
                (name, result.unwrap_or_else(|_| Err("no answer within 3 s".to_owned())))
            });
        }
        let results = running.join_all().await;
        Readiness {
            ready: results.iter().all(|(_, result)| result.is_ok()),
            checks: results
                .into_iter()
                .map(|(name, result)| (name, result.err().unwrap_or("ok".to_owned())))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_failing_check_makes_the_process_unready_and_is_named() {
        let health = Health::new();
        assert!(health.readiness().await.ready);
        health.add("database", async || Ok(()));
        health.add("rpc", async || Err("refused".to_owned()));
        let readiness = health.readiness().await;
        assert!(!readiness.ready);
        assert_eq!(readiness.checks["database"], "ok");
        assert_eq!(readiness.checks["rpc"], "refused");
    }
}
