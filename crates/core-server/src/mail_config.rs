//! `[mail]` of `core.toml`: how e-mail leaves.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clm_core::email_messages::Mail;
use clm_core::mailer::{MailEncryption, MailServer, Mailer};
use clm_service::Secret;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

/// Seconds until a message itself is handed over, unless given, and at most.
const USUAL_TIMEOUT: u32 = 20;
const LONGEST_TIMEOUT: u32 = 60;
/// For the message and the answer to it: servers look for spam and viruses meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// A mail server that takes messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailConfig {
    /// Its name, as in its certificate.
    host: String,
    /// Its port.
    port: u16,
    /// How the connection is kept from others.
    tls: MailTls,
    /// Trust anchors of its certificate, PEM; those of the operating system unless given.
    ca_file: Option<PathBuf>,
    /// As whom this service signs in there; not at all unless given.
    username: Option<String>,
    /// The password.
    password_file: Option<PathBuf>,
    /// Who writes: `clm@example.com` or `CLM <clm@example.com>`.
    from: String,
    /// Longest time until the server asks for the message itself; 20 unless given, 60 at most.
    timeout_seconds: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MailTls {
    /// From the first octet.
    Required,
    /// After the greeting.
    Starttls,
    /// None: to this machine alone.
    None,
}

impl MailConfig {
    /// Reads the files; connects to nothing.
    pub(crate) fn open(&self, public_url: &str) -> anyhow::Result<Mail> {
        let timeout = self.timeout_seconds.unwrap_or(USUAL_TIMEOUT);
        ensure!((1..=LONGEST_TIMEOUT).contains(&timeout), "timeout_seconds is 1 to {LONGEST_TIMEOUT}");
        let url = Url::parse(public_url).context("[api] public_url")?;
        let server = MailServer {
            host: self.host.clone(),
            port: self.port,
            encryption: match self.tls {
                MailTls::Required => MailEncryption::Tls,
                MailTls::Starttls => MailEncryption::StartTls,
                MailTls::None => MailEncryption::Plain,
            },
            trusted: self.trusted()?,
            credentials: self.credentials()?,
            from: self.from.clone(),
            hello_name: url.host_str().unwrap_or("localhost").to_owned(),
            timeout: Duration::from_secs(timeout.into()),
            answer_timeout: ANSWER_TIMEOUT,
        };
        let mailer = Mailer::new(server).map_err(|fault| anyhow!(fault))?;
        Ok(Mail { mailer, service_url: public_url.trim_end_matches('/').to_owned() })
    }

    fn trusted(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        clm_service::public_client(path).context("ca_file")?;
        Ok(Some(std::fs::read(path).with_context(|| path.display().to_string())?))
    }

    fn credentials(&self) -> anyhow::Result<Option<(String, Zeroizing<String>)>> {
        match (&self.username, &self.password_file) {
            (Some(name), Some(path)) => {
                let file = Secret::from_file(path)?;
                let text = std::str::from_utf8(file.expose()).context("password_file is not UTF-8")?;
                let line = text.strip_suffix('\n').unwrap_or(text);
                let password = Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned());
                ensure!(!password.is_empty(), "password_file is empty");
                Ok(Some((name.clone(), password)))
            }
            (None, None) => Ok(None),
            _ => bail!("username and password_file belong together"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn open(text: &str) -> Result<Mail, String> {
        clm_service::install_provider();
        let config: MailConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.open("https://clm.example.com:8443/").map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_cannot_be_used_is_found_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, " a secret \n").unwrap();
        std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
        let with = |more: &str| {
            format!("host = \"mail.example.com\"\nport = 465\nfrom = \"CLM <clm@example.com>\"\n{more}")
        };
        let mail = open(&with("tls = \"required\"")).unwrap();
        assert_eq!(mail.service_url, "https://clm.example.com:8443");
        let signed_in = format!("tls = \"starttls\"\nusername = \"clm\"\npassword_file = {password:?}");
        assert!(open(&with(&signed_in)).is_ok());
        for wrong in [
            "",
            "tls = \"none\"",
            "tls = \"optional\"",
            "tls = \"required\"\nusername = \"clm\"",
            "tls = \"required\"\npassword_file = \"password\"",
            "tls = \"required\"\nca_file = \"/nowhere/ca.pem\"",
            "tls = \"required\"\ntimeout_seconds = 0",
            "tls = \"required\"\ntimeout_seconds = 61",
            "tls = \"required\"\npassword = \"secret\"",
        ] {
            assert!(open(&with(wrong)).is_err(), "{wrong}");
        }
        let local = "host = \"127.0.0.1\"\nport = 25\ntls = \"none\"\nfrom = \"clm@example.com\"";
        assert!(open(local).is_ok());
        assert!(
            open(&local.replace("clm@example.com", "clm@example.com\\r\\nBcc: eve@example.com")).is_err()
        );
    }

    #[test]
    fn blanks_of_a_password_are_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, " a secret \n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!(
            "host = \"h\"\nport = 1\ntls = \"required\"\nfrom = \"a@b.c\"\nusername = \"u\"\npassword_file = {path:?}"
        );
        let config: MailConfig = toml::from_str(&text).unwrap();
        assert_eq!(config.credentials().unwrap().unwrap().1.as_str(), " a secret ");
    }
}
