//! `secure.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clm_pg::PgConfig;
use clm_rpc::TlsFiles;
use clm_service::{AdminConfig, LogConfig};
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where Core calls.
    pub(crate) rpc: RpcConfig,
    /// Health and metrics.
    pub(crate) admin: AdminConfig,
    /// clm_secure_db as the service's own role.
    pub(crate) database: PgConfig,
    /// The master key.
    pub(crate) master_key: MasterKeyConfig,
    /// Log lines.
    #[serde(default)]
    pub(crate) log: LogConfig,
}

/// The RPC listener.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RpcConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    ca_file: PathBuf,
    cert_file: PathBuf,
    key_file: PathBuf,
    /// Common names of the certificates that may call.
    pub(crate) allowed_peers: Vec<String>,
}

impl RpcConfig {
    /// The files of the mutually authenticated link.
    pub(crate) fn files(&self) -> TlsFiles {
        let Self { ca_file, cert_file, key_file, .. } = self;
        TlsFiles { ca_file: ca_file.clone(), cert_file: cert_file.clone(), key_file: key_file.clone() }
    }
}

/// Where the master key is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MasterKeyConfig {
    /// `sealed-file`, the one there is.
    #[expect(dead_code, reason = "read so that a file naming another provider is refused")]
    provider: Provider,
    /// The sealed file.
    pub(crate) file: PathBuf,
    /// What opens it.
    pub(crate) passphrase_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Provider {
    SealedFile,
}

/// `secure-migrate.toml`, which only an operator has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MigrationConfig {
    /// clm_secure_db as the owner's role.
    pub(crate) migration_database: PgConfig,
}

#[cfg(test)]
mod tests {
    const SERVICE: &str = include_str!("../../../deploy/secure.toml");
    const MIGRATION: &str = include_str!("../../../deploy/secure-migrate.toml");

    #[test]
    fn the_sample_configurations_are_read() {
        toml::from_str::<super::Config>(SERVICE).unwrap();
        toml::from_str::<super::MigrationConfig>(MIGRATION).unwrap();
    }

    #[test]
    fn the_service_does_not_take_the_migrators_credentials() {
        let error = toml::from_str::<super::Config>(&format!("{SERVICE}\n{MIGRATION}")).unwrap_err();
        assert!(error.to_string().contains("`migration_database`"), "{error}");
    }
}
