//! A whole installation for one test.

use std::ops::Deref;

use clm_local::cluster::Database;
use clm_local::throwaway::ThrowawayFolder;
use clm_local::{Installation, Options};
use clm_pg::PgConfig;
use clm_types::{Clock, Entropy};
use reqwest::Client;
use sqlx::PgPool;
use tokio::task::spawn_blocking;

use crate::databases::pg_config;

/// Both databases, both services and the sandbox authorities, on free ports; all gone when dropped.
///
/// The programs are those that cargo has built for the same profile: `make test` builds them before
/// the tests run.
pub struct TestInstallation {
    installation: Installation,
    _folder: ThrowawayFolder,
}

impl TestInstallation {
    /// Starts everything and waits until both services are ready. The databases do not wait for the
    /// disk: a process may be killed without loss, the machine may not.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with other options, as `durable` or the ports.
    pub async fn start_with(change: impl FnOnce(&mut Options) + Send + 'static) -> Self {
        let start = move || {
            let folder = ThrowawayFolder::new().expect("a temporary folder");
            let mut options = Options::throwaway(&folder).expect("free ports");
            change(&mut options);
            let installation = Installation::new(options).expect("PostgreSQL is installed");
            let up = installation.up(Clock::system().now(), &Entropy::system(), |_| {});
            up.expect("the installation starts");
            Self { installation, _folder: folder }
        };
        spawn_blocking(start).await.expect("the installation starts")
    }

    /// A client of the API that trusts the platform authority.
    pub fn client(&self) -> Client {
        let tls = clm_service::public_client(&self.ca_file()).expect("the platform authority");
        Client::builder().tls_backend_preconfigured(tls).build().expect("a client")
    }

    /// A one-time token for the first administrator.
    pub fn bootstrap_token(&self) -> String {
        let file = self.core.folder().join("secrets/bootstrap-token");
        let output = file.display().to_string();
        self.core.run(&["bootstrap-token", "--output", &output]).expect("a bootstrap token");
        std::fs::read_to_string(file).expect("a bootstrap token").trim().to_owned()
    }

    /// How `role` (as `clm_core_app`) connects; `postgres` is the superuser.
    pub fn config(&self, database: Database, role: &str) -> PgConfig {
        let credentials = self.credentials(database, role, Clock::system().now(), &Entropy::system());
        pg_config(&credentials.expect("a certificate for the role"))
    }

    /// A pool that logs in as `role`.
    pub async fn pool(&self, database: Database, role: &str) -> PgPool {
        clm_pg::connect(&self.config(database, role), "test").await.expect("the role can log in")
    }
}

impl Deref for TestInstallation {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
