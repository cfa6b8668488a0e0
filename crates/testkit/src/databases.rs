//! A fresh pair of migrated databases for each test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use clm_local::OsUser;
use clm_local::cluster::{Credentials, Database};
use clm_local::databases::{DatabaseOptions, Databases};
use clm_local::platform_ca::PlatformCa;
use clm_local::throwaway::{ThrowawayFolder, free_ports};
use clm_pg::PgConfig;
use clm_types::{Clock, Entropy};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::sync::OnceCell;

/// Two databases that nobody else uses, with every migration applied and partitions for the months
/// around the present.
#[derive(Clone)]
pub struct TestDatabases {
    /// A copy of `clm_core_db`.
    pub core: TestDatabase,
    /// A copy of `clm_secure_db`.
    pub secure: TestDatabase,
}

/// One database, and a way in for every role.
#[derive(Clone)]
pub struct TestDatabase {
    /// Its name in the cluster.
    pub name: String,
    database: Database,
    server: &'static Server,
}

/// The clusters of this test process. Statics are not dropped: the folder's reaper notices that the
/// process is gone.
struct Server {
    folder: ThrowawayFolder,
    ca: PlatformCa,
    databases: Databases,
    copies: AtomicU32,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();

impl TestDatabases {
    /// Copies the migrated databases; the first call of a test process starts the clusters.
    pub async fn start() -> Self {
        let server = SERVER.get_or_init(async || Server::start().await.expect("the databases start")).await;
        Self {
            core: TestDatabase::copy(server, Database::Core),
            secure: TestDatabase::copy(server, Database::Secure),
        }
    }
}

impl TestDatabase {
    fn copy(server: &'static Server, database: Database) -> Self {
        let number = server.copies.fetch_add(1, Ordering::Relaxed);
        let template = database.name();
        let name = format!("{template}_{number}");
        let sql = format!(
            "CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy;\nREVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;\nALTER DATABASE {name} SET search_path = clm, ext;"
        );
        server.databases.cluster(database).psql("postgres", &sql).expect("the template can be copied");
        Self { name, database, server }
    }

    /// How `role` (as `clm_core_app`) connects; `postgres` is the superuser.
    pub fn config(&self, role: &str) -> PgConfig {
        let credentials = self.server.credentials(self.database, role).expect("a certificate for the role");
        pg_config(&Credentials { database: self.name.clone(), ..credentials })
    }

    /// A pool that logs in as `role`.
    pub async fn pool(&self, role: &str) -> PgPool {
        clm_pg::connect(&self.config(role), "test").await.expect("the role can log in")
    }

    /// A pool that may do everything: to plant and to tamper.
    pub async fn superuser(&self) -> PgPool {
        self.pool("postgres").await
    }

    /// A connection URL for `role`.
    pub fn url(&self, role: &str) -> String {
        let credentials = self.server.credentials(self.database, role).expect("a certificate for the role");
        Credentials { database: self.name.clone(), ..credentials }.url()
    }
}

impl Server {
    async fn start() -> Result<Self> {
        let folder = ThrowawayFolder::new()?;
        let ca = PlatformCa::open_or_create(
            &folder.path().join("platform-ca"),
            Clock::system().now(),
            &Entropy::system(),
        )?;
        let [core_port, secure_port] = free_ports()?;
        let options = DatabaseOptions { core_port, secure_port, durable: false, throwaway: true };
        let databases = Databases::new(&folder.path().join("databases"), options)?;
        databases.up(&ca)?;
        std::fs::create_dir(folder.path().join("roles"))?;
        let server = Self { folder, ca, databases, copies: AtomicU32::new(0) };
        for database in Database::ALL {
            server.migrate(database).await.with_context(|| format!("migrating {}", database.name()))?;
        }
        Ok(server)
    }

    async fn migrate(&self, database: Database) -> Result<()> {
        // Read from the source tree, so that a test of the schema does not wait for the queries on
        // it to compile.
        let migrator = Migrator::new(migrations(database)).await?;
        let pool = self.connect(database, "migrator").await?;
        clm_pg::migrate(&pool, &migrator).await?;
        pool.close().await;
        let pool = self.connect(database, "app").await?;
        clm_pg::ensure_partitions(&pool, partitioned(database), Clock::system().now(), 3).await?;
        pool.close().await;
        Ok(())
    }

    async fn connect(&self, database: Database, role: &str) -> Result<PgPool> {
        let role = format!("clm_{}_{role}", database.word());
        let config = pg_config(&self.credentials(database, &role)?);
        Ok(clm_pg::connect(&config, "testkit").await?)
    }

    fn credentials(&self, database: Database, role: &str) -> Result<Credentials> {
        let folder = self.folder.path().join("roles");
        self.databases.cluster(database).credentials(&self.ca, role, &folder, &OsUser::current()?)
    }
}

/// The tables with monthly partitions.
fn partitioned(database: Database) -> &'static [&'static str] {
    match database {
        Database::Core => &["audit_log", "notifications"],
        Database::Secure => &["secure_audit_log", "events"],
    }
}

fn migrations(database: Database) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{}-db/migrations", database.word()))
}

pub(crate) fn pg_config(credentials: &Credentials) -> PgConfig {
    PgConfig {
        host: credentials.host.clone(),
        port: credentials.port,
        database: credentials.database.clone(),
        user: credentials.user.clone(),
        ca_file: credentials.ca_file.clone(),
        cert_file: credentials.files.cert_file.clone(),
        key_file: credentials.files.key_file.clone(),
        max_connections: 5,
        statement_timeout_ms: 30_000,
    }
}
