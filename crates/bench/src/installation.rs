//! The installation under load: as in production, but in a temporary folder and on free ports.

use std::fs;
use std::ops::Deref;

use anyhow::{Context, Result};
use clm_local::cluster::{Cluster, Database};
use clm_local::throwaway::ThrowawayFolder;
use clm_local::{Installation, Options, Ports};
use clm_types::{Clock, Entropy};

use crate::progress;

/// Rates and numbers that nothing here reaches.
const LIFTED: &str =
    "reads_per_second = 1000000\nreads_burst = 1000000\nwrites_per_second = 1000000\nwrites_burst = 1000000
concurrent_per_caller = 256\nconnections_per_address = 4096\n";

/// Both databases and both services, gone when dropped. A commit is on the disk before it is
/// acknowledged.
pub(crate) struct BenchInstallation {
    installation: Installation,
    _folder: ThrowawayFolder,
}

impl BenchInstallation {
    /// Starts everything. `statements` makes the databases keep figures per statement.
    pub(crate) fn start(statements: bool) -> Result<Self> {
        let folder = ThrowawayFolder::new()?;
        let program = std::env::current_exe()?;
        let options = Options {
            folder: folder.path().to_owned(),
            ports: Ports::free()?,
            programs: program.parent().context("this program has no folder")?.to_owned(),
            durable: true,
            throwaway: false,
        };
        let installation = Installation::new(options)?;
        installation.up(Clock::system().now(), &Entropy::system(), progress)?;
        let started = Self { installation, _folder: folder };
        started.lift_rates()?;
        if statements {
            started.count_statements()?;
        }
        Ok(started)
    }

    /// Runs SQL as the superuser of one database.
    pub(crate) fn sql(&self, database: Database, sql: &str) -> Result<String> {
        self.cluster(database).psql(database.name(), sql)
    }

    /// The cluster of one database.
    pub(crate) fn cluster(&self, database: Database) -> &Cluster {
        self.databases.cluster(database)
    }

    /// One caller is all callers here, at one address. Everything else is limited as usual.
    fn lift_rates(&self) -> Result<()> {
        let file = self.core.config_file();
        let config = fs::read_to_string(&file)?;
        fs::write(&file, format!("{config}\n[limits]\n{LIFTED}"))?;
        self.start_services()
    }

    /// The library that counts is loaded only at the start of a server.
    fn count_statements(&self) -> Result<()> {
        progress("restarting the databases with pg_stat_statements");
        self.core.stop()?;
        self.secure.stop()?;
        for database in Database::ALL {
            let cluster = self.cluster(database);
            self.sql(database, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")?;
            cluster.stop()?;
            cluster.start()?;
            self.sql(
                database,
                "CREATE EXTENSION pg_stat_statements SCHEMA public;
                ALTER SYSTEM SET pg_stat_statements.track_planning = on;
                SELECT pg_reload_conf();",
            )?;
        }
        self.start_services()
    }
}

impl Deref for BenchInstallation {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
