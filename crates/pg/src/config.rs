//! How to reach one database as one role.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Address, role and client certificate of one database connection pool.
///
/// There is no password: every role logs in by client certificate, and the server must present a
/// certificate for `host` under `ca_file`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PgConfig {
    /// Host name or address, as it stands in the server's certificate.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role to log in as.
    pub user: String,
    /// PEM file with the authority of the server's certificate.
    pub ca_file: PathBuf,
    /// PEM file with the client certificate of `user`.
    pub cert_file: PathBuf,
    /// PEM file with the private key of `cert_file`.
    pub key_file: PathBuf,
    /// Most connections the pool opens.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// Longest time one statement may run, in milliseconds; 0 is no limit.
    #[serde(default = "default_statement_timeout_ms")]
    pub statement_timeout_ms: u32,
}

fn default_max_connections() -> u32 {
    10
}

fn default_statement_timeout_ms() -> u32 {
    30_000
}
