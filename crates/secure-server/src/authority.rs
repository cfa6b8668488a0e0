//! `clm-secure authority …`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use clm_secure::authority_states::AuthorityAction;
use clm_secure::envelope::{Envelope, OcspSigner};
use clm_secure::new_authorities::AuthorityPlan;
use clm_secure::signing_keys::KeyStore;
use clm_types::KeyAlgorithm;

use crate::ConfigFile;
use crate::authority_import::Import;
use crate::operator::{account, print_line};
use crate::serve::open;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an authority: key, certificate, first CRL. One that exists is left as it is.
    Create(Box<Create>),
    /// Import an authority that other software made: its key, what it signed, what it revoked.
    ///
    /// The old system must not sign any more from then on. An import that was cut off is finished by the same command; called
    /// again later, it brings what came to the old system meanwhile.
    Import(Box<Import>),
    /// Set what an authority may sign; the running service follows within seconds.
    SetEnvelope(SetEnvelope),
    /// Stop an authority from signing certificates; its CRLs and OCSP answers go on.
    Suspend(Change),
    /// Let a suspended authority sign again.
    Resume(Change),
    /// Stop an authority from signing certificates for ever.
    Retire(Change),
    /// Renew an authority's certificate with the same key.
    Renew(Renew),
    /// Name the authority that issues what another one cannot outlive; two roots certify each other.
    Succeed(Succeed),
    /// Print every certificate that an authority ever had, newest first (PEM).
    Certificates(Named),
    /// List the authorities.
    List(ConfigFile),
}

#[derive(Args)]
pub(crate) struct Named {
    #[command(flatten)]
    config: ConfigFile,
    /// Name of the authority.
    #[arg(long)]
    name: String,
}

#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    named: Named,
    /// Why.
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    named: Named,
    /// Days that the new certificate lives.
    #[arg(long)]
    validity_days: u32,
}

#[derive(Args)]
pub(crate) struct Succeed {
    #[command(flatten)]
    named: Named,
    /// Name of the authority that takes over.
    #[arg(long)]
    successor: String,
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
    /// Where its key is made and stays: in the database, wrapped, or in the token of [hsm].
    #[arg(long, value_enum, default_value = "software")]
    key_store: Store,
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

#[derive(Clone, Copy, ValueEnum)]
enum Store {
    Software,
    Token,
}

impl From<Store> for KeyStore {
    fn from(store: Store) -> Self {
        match store {
            Store::Software => Self::Software,
            Store::Token => Self::Token,
        }
    }
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::Import(import) => import.run().await,
            Self::SetEnvelope(set) => set.run().await,
            Self::Suspend(change) => change.run(AuthorityAction::Suspend).await,
            Self::Resume(change) => change.run(AuthorityAction::Resume).await,
            Self::Retire(change) => change.run(AuthorityAction::Retire).await,
            Self::Renew(renew) => renew.run().await,
            Self::Succeed(succeed) => succeed.run().await,
            Self::Certificates(named) => named.print_certificates().await,
            Self::List(file) => list(&file).await,
        }
    }
}

impl Change {
    async fn run(&self, action: AuthorityAction) -> anyhow::Result<()> {
        let Named { config, name } = &self.named;
        let (secure, _) = open(&config.load()?).await?;
        secure.change_authority(name, action, &self.reason, &account()).await?;
        eprintln!("done; running services follow within seconds");
        Ok(())
    }
}

impl Renew {
    async fn run(&self) -> anyhow::Result<()> {
        let Named { config, name } = &self.named;
        let (secure, _) = open(&config.load()?).await?;
        let certificate_id = secure.renew_authority(name, self.validity_days, &account()).await?;
        eprintln!("authority `{name}` has a new certificate of the same key");
        print_line(&certificate_id.to_string());
        Ok(())
    }
}

impl Succeed {
    async fn run(&self) -> anyhow::Result<()> {
        let Named { config, name } = &self.named;
        let (secure, _) = open(&config.load()?).await?;
        secure.succeed_authority(name, &self.successor, &account()).await?;
        eprintln!("`{}` issues what `{name}` cannot outlive", self.successor);
        Ok(())
    }
}

impl Named {
    async fn print_certificates(&self) -> anyhow::Result<()> {
        let (secure, _) = open(&self.config.load()?).await?;
        for (kind, pem) in secure.list_authority_certificates(&self.name).await? {
            print_line(&format!("{kind}\n{}", pem.trim_end()));
        }
        Ok(())
    }
}

impl Create {
    async fn run(&self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        if config.ceremony.is_some() {
            bail!("the configuration asks for a quorum: use `clm-secure ceremony hold`");
        }
        let (secure, _) = open(&config).await?;
        let plan = AuthorityPlan {
            name: self.name.clone(),
            subject: self.subject.clone(),
            profile: self.profile.name().into(),
            parent: self.parent.clone(),
            key_algorithm: self.key_algorithm,
            key_store: self.key_store.into(),
            validity_days: self.validity_days,
            base_url: self.base_url.clone(),
            envelope: self.envelope()?,
            operator: account(),
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
        secure.set_envelope(&self.name, &read_envelope(&self.envelope)?, account()).await?;
        eprintln!("authority `{}` has a new envelope", self.name);
        Ok(())
    }
}

pub(crate) fn read_envelope(path: &Path) -> anyhow::Result<Envelope> {
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
            export_approvals: 2,
            dns_suffixes: std::collections::BTreeMap::new(),
            crl_validity_seconds: 7 * 86_400,
            crl_shards: 0,
            delta_crls: false,
            ocsp_validity_seconds: 3_600,
            ocsp_signer: OcspSigner::Responder,
            presigned_ocsp: false,
        }
    }
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
