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
    /// clm_secure_db as the owner's role; for `migrate` alone.
    #[serde(default)]
    pub(crate) migration_database: Option<PgConfig>,
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_sample_configuration_is_read() {
        let sample = include_str!("../../../deploy/secure.toml");
        toml::from_str::<super::Config>(sample).unwrap();
    }
}
