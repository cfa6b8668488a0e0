//! Where an installation lies and which ports it uses.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::databases::DatabaseOptions;
use crate::throwaway::{ThrowawayFolder, free_ports};

/// What an installation is made from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything of the installation is below.
    pub folder: PathBuf,
    /// Where it listens, always on 127.0.0.1.
    pub ports: Ports,
    /// The folder with the programs `clm-core` and `clm-secure`.
    pub programs: PathBuf,
    /// Whether a commit is on the disk before it is acknowledged.
    pub durable: bool,
    /// For tests, see [`crate::cluster::ClusterOptions::throwaway`].
    pub throwaway: bool,
}

impl Options {
    /// For tests: in a temporary folder, on free ports, with the programs that cargo has built for
    /// the same profile. A crash of the machine would lose data, a crash of a process does not.
    pub fn throwaway(folder: &ThrowawayFolder) -> Result<Self> {
        let test = std::env::current_exe()?;
        // target/debug/deps/test-0123 lies beside target/debug/clm-core.
        let programs = test.ancestors().nth(2).context("the test program has no folder")?.to_owned();
        let folder = folder.path().to_owned();
        Ok(Self { folder, ports: Ports::free()?, programs, durable: false, throwaway: true })
    }

    /// Where the services' users can run the programs.
    pub(crate) fn placed_programs(&self) -> PathBuf {
        self.folder.join("programs")
    }

    /// Credentials for people and for `migrate`; closed to the services.
    pub(crate) fn operator_folder(&self) -> PathBuf {
        self.folder.join("operator")
    }

    pub(crate) fn databases(&self) -> DatabaseOptions {
        DatabaseOptions {
            core_port: self.ports.core,
            secure_port: self.ports.secure,
            durable: self.durable,
            throwaway: self.throwaway,
        }
    }
}

/// The ports of an installation.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// `clm_core_db`.
    pub core: u16,
    /// `clm_secure_db`.
    pub secure: u16,
    /// REST API, HTTPS.
    pub api: u16,
    /// OCSP, CRL and authority certificates, HTTP.
    pub validation: u16,
    /// Secure's listener for Core, mutual TLS.
    pub rpc: u16,
    /// Health and metrics of Core, HTTP.
    pub core_admin: u16,
    /// Health and metrics of Secure, HTTP.
    pub secure_admin: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            core: 5432,
            secure: 5433,
            api: 8443,
            validation: 8080,
            rpc: 7443,
            core_admin: 9441,
            secure_admin: 9442,
        }
    }
}

impl Ports {
    /// Ports that nobody uses now.
    pub fn free() -> Result<Self> {
        let [core, secure, api, validation, rpc, core_admin, secure_admin] = free_ports()?;
        Ok(Self { core, secure, api, validation, rpc, core_admin, secure_admin })
    }
}
