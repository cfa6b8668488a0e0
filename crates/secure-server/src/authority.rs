//! `clm-secure authority …`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use clm_secure::ceremony::AuthorityPlan;
use clm_secure::envelope::Envelope;
use clm_types::KeyAlgorithm;

use crate::ConfigFile;
use crate::serve::open;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an authority: key, certificate, first CRL. One that exists is left as it is.
    Create(Box<Create>),
    /// Set what an authority may sign; the running service follows within seconds.
    SetEnvelope(SetEnvelope),
    /// List the authorities.
    List(ConfigFile),
}

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    config: ConfigFile,
    /// Unique name, for people.
    #[arg(long)]
    name: String,
    /// Subject, RFC 4514: "CN=Example Root,O=Example,C=DE".
    #[arg(long)]
    subject: String,
    /// Profile of its certificate.
    #[arg(long, value_enum)]
    profile: Profile,
    /// Name of the authority that signs it; none for a root.
    #[arg(long, required_if_eq("profile", "issuing-ca"))]
    parent: Option<String>,
    /// Algorithm of its key: ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096, ed25519, ml-dsa-65.
    #[arg(long, default_value = "ecdsa-p384")]
    key_algorithm: KeyAlgorithm,
    /// Days that its certificate lives.
    #[arg(long)]
    validity_days: u32,
    /// Where Core serves CRL, OCSP and certificates, as relying parties reach it.
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// What it may sign (TOML); by default whatever its profile is for.
    #[arg(long, value_name = "FILE")]
    envelope: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SetEnvelope {
    #[command(flatten)]
    config: ConfigFile,
    /// Name of the authority.
    #[arg(long)]
    name: String,
    /// What it may sign (TOML).
    #[arg(long, value_name = "FILE")]
    envelope: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    RootCa,
    IssuingCa,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::SetEnvelope(set) => set.run().await,
            Self::List(file) => list(&file).await,
        }
    }
}

impl Create {
    async fn run(&self) -> anyhow::Result<()> {
        let (secure, _) = open(&self.config.load()?).await?;
        let plan = AuthorityPlan {
            name: self.name.clone(),
            subject: self.subject.clone(),
            profile: self.profile.name().into(),
            parent: self.parent.clone(),
            key_algorithm: self.key_algorithm,
            validity_days: self.validity_days,
            base_url: self.base_url.clone(),
            envelope: self.envelope()?,
            operator: operator(),
        };
        let made = secure.create_authority(&plan).await?;
        let what = if made.existed { "exists already" } else { "made" };
        eprintln!("authority `{}` {what}", self.name);
        print_line(&made.authority_id.to_string());
        Ok(())
    }

    fn envelope(&self) -> anyhow::Result<Envelope> {
        self.envelope.as_deref().map_or_else(|| Ok(self.profile.envelope()), read_envelope)
    }
}

impl SetEnvelope {
    async fn run(&self) -> anyhow::Result<()> {
        let (secure, _) = open(&self.config.load()?).await?;
        secure.set_envelope(&self.name, &read_envelope(&self.envelope)?, operator()).await?;
        eprintln!("authority `{}` has a new envelope", self.name);
        Ok(())
    }
}

fn read_envelope(path: &Path) -> anyhow::Result<Envelope> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no envelope", path.display()))
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::RootCa => "root-ca",
            Self::IssuingCa => "issuing-ca",
        }
    }

    /// A root signs nothing that Core orders; an issuing authority signs end entities for 398 days.
    fn envelope(self) -> Envelope {
        let (profiles, days): (&[&str], u64) = match self {
            Self::RootCa => (&[], 3_650),
            Self::IssuingCa => (&["tls-server", "tls-client", "tls-server-client"], 398),
        };
        Envelope {
            profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
            key_algorithms: KeyAlgorithm::ALL.to_vec(),
            max_validity_seconds: days * 86_400,
            required_approvals: 0,
            dns_suffixes: std::collections::BTreeMap::new(),
            crl_validity_seconds: 7 * 86_400,
            ocsp_validity_seconds: 3_600,
        }
    }
}

/// The account behind the command, for the audit log.
fn operator() -> String {
    let account =
        std::env::var("SUDO_USER").or_else(|_| std::env::var("LOGNAME")).or_else(|_| std::env::var("USER"));
    account.unwrap_or_else(|_| "unknown".to_owned())
}

async fn list(file: &ConfigFile) -> anyhow::Result<()> {
    let (secure, _) = open(&file.load()?).await?;
    for authority in secure.list_authorities().await? {
        let (id, name) = (authority.authority_id, authority.name);
        print_line(&format!(
            "{id}  {:<9}  ends {}  {name}",
            authority.status,
            authority.not_after.date_naive()
        ));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print_line(line: &str) {
    println!("{line}");
}
