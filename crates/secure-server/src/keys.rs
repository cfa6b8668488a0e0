//! `clm-secure keys …`, and the watch over the keys' limits while the service runs.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use clap::{Args, Subcommand, ValueEnum};
use clm_secure::Secure;
use clm_secure::blocked_keys::read_subject_key;
use clm_secure::rotation::{Rotated, RotationReason};
use clm_secure_db::encryption_keys::{EncryptionKeyRow, KeyQuery};
use clm_service::Metrics;
use indicatif::{ProgressBar, ProgressStyle};
use prometheus_client::metrics::gauge::Gauge;
use uuid::Uuid;

use crate::ConfigFile;
use crate::config::Config;
use crate::operator::{account, actor, hand_over, print_line};
use crate::serve::open;

/// Keys of one read.
const PAGE: i64 = 500;

/// Between two looks at the keys' wear.
const LOOK: Duration = Duration::from_mins(1);

/// Share of a limit from which the log warns.
const WORN: f64 = 0.8;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List encryption keys: name, state, uses, end of the crypto-period.
    List(List),
    /// Show what a version protects: authorities, organizations, number of keys.
    Show(Show),
    /// Move what a version protects to a new one, and destroy it. Safe to call again after a kill.
    Rotate(Rotate),
    /// Mark a version as known to others: it wraps no more. Rotate it next.
    MarkCompromised(Show),
    /// List rotations, newest first.
    History(ConfigFile),
    /// Block a public key that others know: it is not certified any more. There is no way back.
    Block(Block),
    /// List blocked keys, and the certificates of each that are neither revoked nor expired.
    Blocked(ConfigFile),
}

#[derive(Args)]
pub(crate) struct Block {
    #[command(flatten)]
    config: ConfigFile,
    /// Certificate, certificate request or public key (PEM).
    file: PathBuf,
    /// How it became known.
    #[arg(long)]
    comment: String,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    config: ConfigFile,
    /// Of this organization.
    #[arg(long)]
    organization: Option<Uuid>,
    /// With those that were destroyed.
    #[arg(long)]
    destroyed: bool,
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    config: ConfigFile,
    /// The key's name, as `keys list` shows it.
    key: String,
}

#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    config: ConfigFile,
    /// Names, as `keys list` shows them.
    #[arg(required_unless_present_any = ["all", "organization"])]
    keys: Vec<String>,
    /// Every version that is not destroyed.
    #[arg(long, conflicts_with = "keys")]
    all: bool,
    /// Every version of this organization.
    #[arg(long, conflicts_with_all = ["keys", "all"])]
    organization: Option<Uuid>,
    /// Why.
    #[arg(long, value_enum, default_value = "operator")]
    reason: Reason,
    /// Tell what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Folder for the receipts: NAME.json, and its signature NAME.json.sig.
    #[arg(long, value_name = "FOLDER")]
    receipts: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    Operator,
    Compromise,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Rotate(rotate) => rotate.run().await,
            Self::MarkCompromised(show) => {
                let (secure, _) = open(&show.config.load()?).await?;
                secure.mark_key_compromised(&show.key, &actor()).await?;
                eprintln!(
                    "`{0}` wraps no more; next: clm-secure keys rotate {0} --reason compromise",
                    show.key
                );
                Ok(())
            }
            Self::History(file) => history(&file).await,
            Self::Block(block) => block.run().await,
            Self::Blocked(file) => blocked(&file).await,
        }
    }
}

impl Block {
    async fn run(&self) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let key = read_subject_key(&text).with_context(|| {
            format!("{} holds no certificate, request or public key", self.file.display())
        })?;
        let (secure, _) = open(&self.config.load()?).await?;
        secure.block_key(&key, &self.comment, &account()).await?;
        eprintln!(
            "{} is not certified any more; next: clm-secure keys blocked",
            hex::encode(key.fingerprint())
        );
        Ok(())
    }
}

async fn blocked(file: &ConfigFile) -> anyhow::Result<()> {
    let (secure, _) = open(&file.load()?).await?;
    let mut after = Uuid::nil();
    loop {
        let page = secure.list_blocked_keys(after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for key in &page {
            let comment = key.comment.as_deref().unwrap_or_default();
            let when = key.created_at.format("%F %T UTC");
            print_line(&format!("{} {} {when} {comment}", hex::encode(&key.public_key_sha256), key.source));
            for certificate in &key.accepted_certificates {
                print_line(&format!("  still accepted: {certificate}"));
            }
        }
    }
}

impl List {
    async fn run(&self) -> anyhow::Result<()> {
        let (secure, _) = open(&self.config.load()?).await?;
        for key in every_key(&secure, self.organization, self.destroyed).await? {
            print_line(&format!(
                "{:<12} {:>10} of {} uses  ends {}  {}  under {}",
                key.state,
                key.use_count,
                key.max_uses,
                key.expires_at.date_naive(),
                key.key_identifier,
                key.master_key_reference
            ));
        }
        Ok(())
    }
}

impl Show {
    async fn run(&self) -> anyhow::Result<()> {
        let (secure, _) = open(&self.config.load()?).await?;
        let key = secure.find_key(&self.key).await?;
        let radius = secure.blast_radius(key.id).await?;
        print_line(&format!("key            {}", key.key_identifier));
        print_line(&format!("id             {}", key.id));
        print_line(&format!("state          {}", key.state));
        print_line(&format!("algorithm      {}", key.algorithm));
        print_line(&format!("master key     {}", key.master_key_reference));
        print_line(&format!("made           {}", key.created_at.format("%F %T UTC")));
        print_line(&format!("ends           {}", key.expires_at.format("%F %T UTC")));
        print_line(&format!("uses           {} of {}", key.use_count, key.max_uses));
        print_line(&format!("private keys   {}", radius.private_keys));
        print_line(&format!("being issued   {}", radius.intents));
        print_line(&format!("audit keys     {}", radius.audit_keys));
        print_line(&format!("organizations  {}", radius.organizations));
        print_line(&format!("authorities    {}", radius.authorities.join(", ")));
        Ok(())
    }
}

impl Rotate {
    async fn run(&self) -> anyhow::Result<()> {
        let (secure, _) = open(&self.config.load()?).await?;
        let names = if self.keys.is_empty() {
            let keys = every_key(&secure, self.organization, false).await?;
            keys.into_iter().filter(|key| key.state != "pre_active").map(|key| key.key_identifier).collect()
        } else {
            self.keys.clone()
        };
        for name in &names {
            if self.dry_run {
                let radius = secure.blast_radius(secure.find_key(name).await?.id).await?;
                print_line(&format!("{name}: {} keys would move", radius.rows()));
            } else {
                self.report(&self.rotate(&secure, name).await?)?;
            }
        }
        Ok(())
    }

    fn report(&self, rotated: &Rotated) -> anyhow::Result<()> {
        let Rotated { from, to, moved, failed, receipt, .. } = rotated;
        eprintln!("{from}: {moved} keys moved to {to}, {failed} failed");
        if let Some(receipt) = receipt {
            return hand_over(receipt, self.receipts.as_deref(), &from.replace('/', "-"));
        }
        eprintln!("{from} stays for what failed; `key_rotation_history` names it");
        Ok(())
    }

    async fn rotate(&self, secure: &Secure, name: &str) -> anyhow::Result<Rotated> {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}")?;
        let bar = ProgressBar::no_length().with_style(style).with_message(name.to_owned());
        let reason = match self.reason {
            Reason::Operator => RotationReason::Operator,
            Reason::Compromise => RotationReason::Compromise,
        };
        let who = actor();
        let rotated = secure.rotate_key(name, reason, &who, |progress| {
            bar.set_length(progress.total.unsigned_abs());
            bar.set_position(progress.done.unsigned_abs());
        });
        let rotated = rotated.await;
        bar.finish_and_clear();
        Ok(rotated?)
    }
}

async fn every_key(
    secure: &Secure,
    organization_id: Option<Uuid>,
    destroyed: bool,
) -> anyhow::Result<Vec<EncryptionKeyRow>> {
    let mut query =
        KeyQuery { organization_id, not_destroyed: !destroyed, limit: PAGE, ..KeyQuery::default() };
    let mut keys = Vec::new();
    loop {
        let page = secure.list_keys(&query).await?;
        let Some(last) = page.last() else { return Ok(keys) };
        query.after = last.id;
        keys.extend(page);
    }
}

async fn history(file: &ConfigFile) -> anyhow::Result<()> {
    let (secure, _) = open(&file.load()?).await?;
    for row in secure.list_rotations(100).await? {
        let what = row.from_master_key.clone().unwrap_or_else(|| row.purpose.clone());
        print_line(&format!(
            "{}  {:<9}  {} of {} moved, {} failed  {what}  {}  by {}",
            row.started_at.format("%F %T"),
            row.status,
            row.rows_reencrypted,
            row.rows_total,
            row.rows_failed,
            row.rotation_reason,
            row.initiated_by
        ));
    }
    Ok(())
}

struct Wear {
    uses: Gauge<f64, AtomicU64>,
    days_left: Gauge<f64, AtomicU64>,
    left_behind: Gauge,
}

impl Wear {
    fn register(metrics: &Metrics) -> Self {
        let wear =
            Self { uses: Gauge::default(), days_left: Gauge::default(), left_behind: Gauge::default() };
        metrics.register(|registry| {
            let (uses, days, left) = (wear.uses.clone(), wear.days_left.clone(), wear.left_behind.clone());
            registry.register(
                "encryption_key_uses_ratio",
                "Largest share of allowed uses that is used up",
                uses,
            );
            registry.register("encryption_key_days_left", "Days until the first crypto-period ends", days);
            registry.register(
                "encryption_keys_left_behind",
                "Versions that wrap no more but are not destroyed",
                left,
            );
        });
        wear
    }
}

/// Measures the keys' wear, warns, and rotates what is due, for ever.
pub(crate) async fn watch(config: &Config, secure: &Secure, metrics: &Metrics) {
    let wear = Wear::register(metrics);
    let looks_per_check = u32::from(config.rotation.check_hours) * 60;
    let mut looks = 0;
    loop {
        if let Err(error) = measure(secure, &wear, config).await {
            tracing::debug!(%error, "the keys' wear could not be measured");
        }
        if looks_per_check > 0 && looks % looks_per_check == 0 {
            let before_end = TimeDelta::days(config.rotation.days_before.into());
            if let Err(error) = secure.rotate_due_keys(before_end).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a scheduled rotation failed; it is tried again"
                );
            }
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(LOOK).await;
    }
}

async fn measure(secure: &Secure, wear: &Wear, config: &Config) -> anyhow::Result<()> {
    let measured = secure.key_wear().await?;
    wear.uses.set(measured.uses);
    wear.left_behind.set(measured.left_behind);
    if measured.uses > WORN {
        tracing::warn!(share = measured.uses, "an encryption key is nearly used up");
    }
    if let Some(end) = measured.first_end {
        let days = end.signed_duration_since(clm_types::Clock::system().now()).num_days();
        wear.days_left.set(i32::try_from(days).unwrap_or(i32::MAX).into());
        if days < i64::from(config.rotation.days_before) {
            tracing::warn!(days, "the crypto-period of an encryption key ends soon");
        }
    }
    Ok(())
}
