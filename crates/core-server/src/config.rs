//! `core.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use chrono::TimeDelta;
use clm_core::common_passwords::CommonPasswords;
use clm_core::email_messages::Mail;
use clm_core::organization_settings::SecondFactor;
use clm_core::passwords::PasswordCost;
use clm_core::sealed_secrets::SecretsKeys;
use clm_core::sign_in::SignInParts;
use clm_core::webauthn::RelyingParty;
use clm_pg::PgConfig;
use clm_rpc::TlsFiles;
use clm_service::{AdminConfig, LogConfig, Secret};
use serde::Deserialize;

use crate::identity_providers::IdentityProviderConfig;
use crate::limits_config::LimitsConfig;
use crate::mail_config::MailConfig;

/// Octets of a list of passwords at most.
const LARGEST_LIST: u64 = 64 * 1024 * 1024;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where people and programs call.
    pub(crate) api: ApiConfig,
    /// Where relying parties fetch CRLs, OCSP answers and CA certificates.
    pub(crate) validation: ValidationConfig,
    /// Health and metrics.
    pub(crate) admin: AdminConfig,
    /// clm_core_db, one organization at a time.
    pub(crate) database: PgConfig,
    /// clm_core_db, every organization.
    pub(crate) system_database: PgConfig,
    /// The link to Secure.
    pub(crate) rpc: RpcConfig,
    /// How people sign in.
    pub(crate) sign_in: SignInConfig,
    /// OpenID providers that are trusted.
    #[serde(default)]
    pub(crate) identity_providers: Vec<IdentityProviderConfig>,
    /// How e-mail leaves; none is sent without.
    pub(crate) mail: Option<MailConfig>,
    /// How much the listeners take.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// Comparing the databases.
    #[serde(default)]
    pub(crate) integrity: IntegrityConfig,
    /// Log lines.
    #[serde(default)]
    pub(crate) log: LogConfig,
}

/// The API listener: TLS 1.2 and 1.3.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// Certificate with its chain, PEM.
    pub(crate) cert_file: PathBuf,
    /// Its key, PEM.
    pub(crate) key_file: PathBuf,
    /// How callers reach it: stands in the description of the API.
    pub(crate) public_url: String,
}

/// The validation listener: plain HTTP, as RFC 5280 and RFC 6960 expect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidationConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// How relying parties reach it: what stands in the certificates.
    pub(crate) base_url: String,
}

/// How people sign in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInConfig {
    /// Under which secrets of one-time codes lie: 32 octets in base64 to a line; the first line seals, all open.
    pub(crate) secrets_key_file: PathBuf,
    /// What authenticator programs call this installation; CLM unless given.
    issuer: Option<String>,
    /// A session ends when it is not used for so long; 30 unless given.
    session_idle_minutes: Option<u32>,
    /// A session ends after so long in any case; 12 unless given.
    session_lifetime_hours: Option<u32>,
    /// `required`: of everybody, and not only of administrators and where an organization asks for it.
    second_factor: Option<SecondFactor>,
    /// What a password shall cost this machine, 2 to 10 passes of argon2id; 100 unless given.
    password_milliseconds: Option<u32>,
    /// Passwords that nobody may take, one to a line; those that come with the program are refused in any case.
    refused_passwords_file: Option<PathBuf>,
}

impl SignInConfig {
    /// Reads the key file.
    pub(crate) fn parts(&self, public_url: &str, password_cost: PasswordCost) -> anyhow::Result<SignInParts> {
        let file = Secret::from_file(&self.secrets_key_file)?;
        let text = std::str::from_utf8(file.expose()).unwrap_or_default();
        let keys = SecretsKeys::parse(text)
            .map_err(|fault| anyhow!("{}: {fault}", self.secrets_key_file.display()))
            .context("make one with: clm-core sign-in-key")?;
        let party = RelyingParty::at(public_url).map_err(|fault| anyhow!("[api] public_url: {fault}"))?;
        let usual = SignInParts::usual(keys, party);
        let issuer = self.issuer.clone().unwrap_or(usual.issuer);
        ensure!(!issuer.is_empty() && !issuer.contains(':'), "the issuer is a name without a colon");
        let idle = self.session_idle_minutes.map(|minutes| TimeDelta::minutes(minutes.max(1).into()));
        let lifetime = self.session_lifetime_hours.map(|hours| TimeDelta::hours(hours.max(1).into()));
        Ok(SignInParts {
            password_cost,
            issuer,
            session_idle: idle.unwrap_or(usual.session_idle),
            session_lifetime: lifetime.unwrap_or(usual.session_lifetime),
            second_factor_required: matches!(self.second_factor, Some(SecondFactor::Required)),
            common_passwords: self.common_passwords()?,
            ..usual
        })
    }

    fn common_passwords(&self) -> anyhow::Result<CommonPasswords> {
        let Some(path) = &self.refused_passwords_file else {
            return Ok(CommonPasswords::default());
        };
        let name = || path.display().to_string();
        let octets = std::fs::metadata(path).with_context(name)?.len();
        ensure!(octets <= LARGEST_LIST, "{} is larger than {LARGEST_LIST} octets", name());
        let text = std::fs::read_to_string(path).with_context(name)?;
        CommonPasswords::parse(&text).map_err(|fault| anyhow!("{}: {fault}", name()))
    }

    /// What a password shall cost.
    pub(crate) fn password_time(&self) -> Duration {
        Duration::from_millis(self.password_milliseconds.unwrap_or(100).into())
    }
}

/// The link to Secure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RpcConfig {
    /// `https://host:port`.
    pub(crate) endpoint: String,
    /// Name that must stand in Secure's certificate.
    pub(crate) server_name: String,
    ca_file: PathBuf,
    cert_file: PathBuf,
    key_file: PathBuf,
}

/// Comparing the databases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IntegrityConfig {
    /// Seconds between two runs; 3600 unless given.
    pub(crate) interval_seconds: u64,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        Self { interval_seconds: 3600 }
    }
}

impl IntegrityConfig {
    /// The same as a duration, never zero.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds.max(1))
    }
}

impl Config {
    /// How e-mail leaves, if it does.
    pub(crate) fn open_mail(&self) -> anyhow::Result<Option<Mail>> {
        let mail = self.mail.as_ref().map(|mail| mail.open(&self.api.public_url));
        mail.transpose().context("[mail]")
    }
}

impl RpcConfig {
    /// The files of the mutually authenticated link.
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

/// `core-migrate.toml`, which only an operator has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MigrationConfig {
    /// clm_core_db as the owner's role.
    pub(crate) migration_database: PgConfig,
}

#[cfg(test)]
mod tests {
    const SERVICE: &str = include_str!("../../../deploy/core.toml");
    const MIGRATION: &str = include_str!("../../../deploy/core-migrate.toml");

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
