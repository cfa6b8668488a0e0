//! `secure.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::TimeDelta;
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
    /// The master key that takes over, while `clm-secure master rotate` is under way.
    pub(crate) next_master_key: Option<MasterKeyConfig>,
    /// The token.
    pub(crate) hsm: Option<HsmConfig>,
    /// When encryption keys are rotated by themselves.
    #[serde(default)]
    pub(crate) rotation: RotationConfig,
    /// How long what was deleted is kept.
    #[serde(default)]
    pub(crate) retention: RetentionConfig,
    /// The audit log.
    #[serde(default)]
    pub(crate) audit: AuditConfig,
    /// Who may make authorities; without it, any operator.
    pub(crate) ceremony: Option<CeremonyConfig>,
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

/// When encryption keys are rotated by themselves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotationConfig {
    /// Days before the end of a key's crypto-period.
    pub(crate) days_before: u16,
    /// Hours between two looks; 0: never by themselves.
    pub(crate) check_hours: u16,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self { days_before: 30, check_hours: 1 }
    }
}

/// The audit log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditConfig {
    /// Minutes between two signed states of the chain, while it grows.
    checkpoint_minutes: u16,
}

impl AuditConfig {
    pub(crate) fn checkpoint_every(&self) -> TimeDelta {
        TimeDelta::minutes(self.checkpoint_minutes.into())
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { checkpoint_minutes: 5 }
    }
}

/// Who may make authorities.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CeremonyConfig {
    /// How many of them must have signed a plan, 2 at least.
    pub(crate) threshold: usize,
    /// Operators by name, each with the PEM file of a public key.
    pub(crate) operators: BTreeMap<String, PathBuf>,
}

/// How long what was deleted is kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionConfig {
    /// Days from the deletion of a private key to its erasure.
    deleted_keys_days: u16,
    /// Days that the last revocation list of each day is kept.
    crls_days: u16,
}

impl RetentionConfig {
    pub(crate) fn crls(&self) -> TimeDelta {
        TimeDelta::days(self.crls_days.into())
    }

    pub(crate) fn deleted_keys(&self) -> TimeDelta {
        TimeDelta::days(self.deleted_keys_days.into())
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { deleted_keys_days: 90, crls_days: 400 }
    }
}

/// Where a master key is.
#[derive(Debug, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case")]
pub(crate) enum MasterKeyConfig {
    /// A sealed file, opened by a passphrase or a quorum of shares.
    SealedFile(SealedFileConfig),
    /// An AES-256 key in the token of `[hsm]`.
    Pkcs11(TokenKeyConfig),
}

/// A sealed file and what opens it: exactly one of the three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealedFileConfig {
    /// The sealed file.
    pub(crate) file: PathBuf,
    /// A file with the passphrase.
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The name of a systemd credential with the passphrase (`LoadCredentialEncrypted=`).
    pub(crate) passphrase_credential: Option<String>,
    /// Where custodians lay down their shares.
    pub(crate) shares_directory: Option<PathBuf>,
}

/// A key of the token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenKeyConfig {
    /// Its label.
    pub(crate) key_label: String,
}

/// The PKCS#11 token, for the master key, for keys of authorities, or for both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HsmConfig {
    /// The module's shared library.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token_label: String,
    /// A file with the user PIN.
    pub(crate) pin_file: PathBuf,
    /// Calls at the same time.
    #[serde(default = "default_sessions")]
    pub(crate) sessions: usize,
}

const fn default_sessions() -> usize {
    4
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
    fn a_master_key_may_lie_in_the_token() {
        let sample = SERVICE.replace("[log]", "[hsm]\nmodule = \"/m.so\"\ntoken_label = \"clm\"\npin_file = \"/pin\"\n[next_master_key]\nprovider = \"pkcs11\"\nkey_label = \"clm-master\"\n[log]");
        let config = toml::from_str::<super::Config>(&sample).unwrap();
        assert!(matches!(config.next_master_key, Some(super::MasterKeyConfig::Pkcs11(_))));
    }

    #[test]
    fn the_service_does_not_take_the_migrators_credentials() {
        let error = toml::from_str::<super::Config>(&format!("{SERVICE}\n{MIGRATION}")).unwrap_err();
        assert!(error.to_string().contains("`migration_database`"), "{error}");
    }
}
