//! Both database clusters of an installation, which start side by side.

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow};

use crate::cluster::{Cluster, ClusterOptions, Database};
use crate::files::make_folder;
use crate::os_user::OsUser;
use crate::platform_ca::PlatformCa;

/// How the two clusters are made.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseOptions {
    /// Port of the core cluster.
    pub core_port: u16,
    /// Port of the secure cluster.
    pub secure_port: u16,
    /// Whether a commit is on the disk before it is acknowledged.
    pub durable: bool,
    /// For tests, see [`ClusterOptions::throwaway`].
    pub throwaway: bool,
}

/// The two clusters.
#[derive(Clone, Debug)]
pub struct Databases {
    folder: PathBuf,
    /// With `clm_core_db`.
    pub core: Cluster,
    /// With `clm_secure_db`.
    pub secure: Cluster,
}

impl Databases {
    /// The clusters below `folder`, whether they exist yet or not.
    pub fn new(folder: &Path, options: DatabaseOptions) -> Result<Self> {
        let os_user = OsUser::for_databases()?;
        let cluster = |database: Database, port| {
            let folder = folder.join(database.word());
            let DatabaseOptions { durable, throwaway, .. } = options;
            Cluster::new(ClusterOptions {
                database,
                folder,
                port,
                durable,
                throwaway,
                os_user: os_user.clone(),
            })
        };
        Ok(Self {
            folder: folder.to_owned(),
            core: cluster(Database::Core, options.core_port)?,
            secure: cluster(Database::Secure, options.secure_port)?,
        })
    }

    /// The cluster of one database.
    pub fn cluster(&self, database: Database) -> &Cluster {
        match database {
            Database::Core => &self.core,
            Database::Secure => &self.secure,
        }
    }

    /// Makes, starts and provisions what is not yet.
    pub fn up(&self, ca: &PlatformCa) -> Result<()> {
        make_folder(&self.folder, 0o711, &OsUser::current()?)?;
        thread::scope(|scope| {
            let secure = scope.spawn(|| self.secure.up(ca));
            self.core.up(ca)?;
            secure.join().map_err(|_| anyhow!("starting the secure cluster panicked"))?
        })
    }

    /// Stops both.
    pub fn stop(&self) -> Result<()> {
        let core = self.core.stop();
        self.secure.stop().and(core)
    }
}
