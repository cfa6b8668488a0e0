//! `clm-secure ceremony …`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use clm_secure::ceremonies::{CeremonyPlan, PlanSignature, Quorum};

use crate::ConfigFile;
use crate::config::{CeremonyConfig, Config};
use crate::operator::{account, hand_over};
use crate::serve::open;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check a plan (TOML) against what is there; make nothing.
    Check(Check),
    /// Make what is planned. With [ceremony] in the configuration, enough operators must have signed the plan.
    ///
    /// A ceremony that was cut off is finished by the same command.
    Hold(Hold),
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// The plan; see deploy/ceremony.toml for a sample.
    file: PathBuf,
    /// Where to write exactly what operators sign: openssl dgst -sha256 -sign OPERATOR.key -out NAME.sig PLAN
    #[arg(long, value_name = "PLAN")]
    plan: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    config: ConfigFile,
    /// The plan.
    file: PathBuf,
    /// An operator's signature: NAME=FILE (repeat).
    #[arg(long = "signature", value_name = "NAME=FILE", value_parser = named_file)]
    signatures: Vec<(String, PathBuf)>,
    /// Folder for the transcript: ceremony.json, and its signature ceremony.json.sig.
    #[arg(long, value_name = "FOLDER")]
    transcript: Option<PathBuf>,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.run().await,
            Self::Hold(hold) => hold.run().await,
        }
    }
}

impl Check {
    async fn run(&self) -> anyhow::Result<()> {
        let plan = read_plan(&self.file)?;
        let (secure, _) = open(&self.config.load()?).await?;
        secure.check_ceremony(&plan).await?;
        if let Some(path) = &self.plan {
            std::fs::write(path, plan.octets()?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("operators sign {}", path.display());
        }
        for authority in &plan.authorities {
            let signer = authority.parent.as_deref().unwrap_or("itself");
            eprintln!("would make `{}`, signed by {signer}: {}", authority.name, authority.subject);
        }
        Ok(())
    }
}

impl Hold {
    async fn run(&self) -> anyhow::Result<()> {
        let (plan, config) = (read_plan(&self.file)?, self.config.load()?);
        let quorum = quorum(&config)?;
        let signatures = read_signatures(&self.signatures)?;
        let (secure, _) = open(&config).await?;
        let transcript = secure.hold_ceremony(&plan, &quorum, &signatures, &account()).await?;
        eprintln!("held: {} authorities", plan.authorities.len());
        hand_over(&transcript, self.transcript.as_deref(), "ceremony")
    }
}

pub(crate) fn read_signatures(files: &[(String, PathBuf)]) -> anyhow::Result<Vec<PlanSignature>> {
    let read = files.iter().map(|(operator, path)| {
        let signature = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(PlanSignature { operator: operator.clone(), signature })
    });
    read.collect()
}

fn read_plan(path: &Path) -> anyhow::Result<CeremonyPlan> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no plan of a ceremony", path.display()))
}

pub(crate) fn quorum(config: &Config) -> anyhow::Result<Quorum> {
    let Some(CeremonyConfig { threshold, operators }) = &config.ceremony else {
        return Ok(Quorum::default());
    };
    if *threshold < 2 || *threshold > operators.len() {
        bail!("[ceremony]: a threshold of {threshold} is no quorum of {} operators", operators.len());
    }
    let mut keys = BTreeMap::new();
    for (name, path) in operators {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let key =
            clm_secure::audit_keys::read_public_key(&text).with_context(|| path.display().to_string())?;
        keys.insert(name.clone(), key);
    }
    Ok(Quorum { operators: keys, threshold: *threshold })
}

pub(crate) fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_owned(), path.into()))
}
