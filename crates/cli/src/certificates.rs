//! `clm cert`: the inventory, downloads, revocation, renewal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use clm_api::certificates::{
    Certificate, CertificateLookup, CertificateQuery, CertificateUpdate, OrganizationFilter, Release,
    Renewal, Revocation,
};
use clm_api::requests::Request;
use clm_types::{
    AuthorityId, CertificateId, CertificateStatus, Change, Clock, KeyAlgorithm, RevocationReason, UserId,
};
use reqwest::Method;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, keys, output, requests};

const LOOKUP_EXAMPLES: &str = "\
Examples:
  clm cert lookup --serial 4f:1c:9a:07:b2:3d:5e:88
  clm cert lookup --sha256 \"$(openssl dgst -sha256 -r www.der | cut -d' ' -f1)\"";

const DOWNLOAD_EXAMPLES: &str = "\
Examples:
  clm cert download 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --out www.pem
  clm cert download 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --format der --out www.der";

const UPDATE_EXAMPLES: &str = "\
Examples:
  clm cert update 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --tag team=web --remove-tag old
  clm cert update 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --environment production --clear notes";

const INSPECT_EXAMPLES: &str = "\
Examples:
  clm cert inspect www.pem
  clm cert inspect - < www.der";

const RENEW_EXAMPLES: &str = "\
Examples:
  clm cert renew 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --csr www.csr --wait 20 --out www.pem
  clm cert renew 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --key-algorithm ecdsa-p256 --days 30";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List certificates
    #[command(after_help = "Example:\n  clm cert list --status active --expires-within 30d --tag team=web")]
    List(Box<List>),
    /// Show a certificate with its metadata
    #[command(after_help = "Example:\n  clm cert show 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12")]
    Show {
        /// The certificate
        id: CertificateId,
    },
    /// Find a certificate by what is printed on it
    #[command(after_help = LOOKUP_EXAMPLES)]
    Lookup {
        /// SHA-256 fingerprint
        #[arg(long, required_unless_present = "serial")]
        sha256: Option<String>,
        /// Serial number
        #[arg(long, conflicts_with = "sha256")]
        serial: Option<String>,
        /// The authority that signed it
        #[arg(long)]
        authority: Option<AuthorityId>,
    },
    /// Download a certificate
    #[command(after_help = DOWNLOAD_EXAMPLES)]
    Download {
        /// The certificate
        id: CertificateId,
        /// In which form
        #[arg(long, value_enum, default_value = "chain")]
        format: Format,
        /// Where to (`-` for standard output)
        #[arg(long, default_value = "-", value_name = "FILE")]
        out: PathBuf,
    },
    /// Revoke a certificate, or put it on hold
    Revoke(Revoke),
    /// Release a certificate from hold
    #[command(
        after_help = "Example:\n  clm cert release 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --comment 'the laptop was found'"
    )]
    Release {
        /// The certificate
        id: CertificateId,
        /// Why
        #[arg(long)]
        comment: Option<String>,
    },
    /// Renew a certificate: with a new CSR, a newly generated key, or the same key
    #[command(after_help = RENEW_EXAMPLES)]
    Renew(Renew),
    /// Change the metadata of a certificate
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(Box<Update>),
    /// The certificate's private key, if Secure holds it
    Key {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Show what a certificate file says, without any server
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect {
        /// PEM or DER (`-` for standard input)
        file: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// PEM with the issuers
    Chain,
    /// DER
    Der,
}

#[derive(Args)]
pub(crate) struct List {
    /// Of every organization, for those with a role in all of them; --organization chooses one
    #[arg(long)]
    all_organizations: bool,
    /// Only in this state: active, on_hold, revoked, expired
    #[arg(long)]
    status: Option<CertificateStatus>,
    /// Only of this owner
    #[arg(long)]
    owner: Option<UserId>,
    /// Only of this authority
    #[arg(long)]
    authority: Option<AuthorityId>,
    /// Only those that end within this time, for example 30d or 12h
    #[arg(long, value_parser = duration)]
    expires_within: Option<TimeDelta>,
    /// Only those that end before this moment (RFC 3339)
    #[arg(long, conflicts_with = "expires_within")]
    expires_before: Option<DateTime<Utc>>,
    /// Only those that end at this moment or after
    #[arg(long)]
    expires_after: Option<DateTime<Utc>>,
    /// Only those with this name
    #[arg(long)]
    san: Option<String>,
    /// Only those with this tag, NAME or NAME=VALUE
    #[arg(long)]
    tag: Option<String>,
    /// Only those whose common name or serial number begins like this
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    page: PageArguments,
}

/// Revoke a certificate.
#[derive(Args)]
#[command(after_help = "Reasons: unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, \
cessationOfOperation, certificateHold, privilegeWithdrawn, aACompromise (RFC 5280).\n\n\
Example:\n  clm revoke 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 \\
      --reason keyCompromise --invalid-since 2026-01-31T12:00:00Z")]
pub(crate) struct Revoke {
    /// The certificate
    id: CertificateId,
    /// Why, in the words of RFC 5280
    #[arg(long)]
    reason: RevocationReason,
    /// Since when the key is suspected (RFC 3339)
    #[arg(long)]
    invalid_since: Option<DateTime<Utc>>,
    /// Why, in your words
    #[arg(long)]
    comment: Option<String>,
}

#[derive(Args)]
pub(crate) struct Renew {
    /// The certificate
    id: CertificateId,
    /// Certificate signing request with the new key, PEM (`-` for standard input)
    #[arg(long, conflicts_with = "key_algorithm")]
    csr: Option<PathBuf>,
    /// Let the service generate a new key of this algorithm
    #[arg(long)]
    key_algorithm: Option<KeyAlgorithm>,
    /// Lifetime in days; the policy's default unless given
    #[arg(long)]
    days: Option<u64>,
    /// A word to the approvers
    #[arg(long)]
    comment: Option<String>,
    /// Wait so many seconds for the certificate
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=50))]
    wait: Option<u64>,
    /// Write the certificate and its chain here once issued, PEM (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Update {
    /// The certificate
    id: CertificateId,
    /// Field that shall have no value any more; may be repeated
    #[arg(long = "clear", value_enum, value_name = "FIELD")]
    cleared: Vec<Clearable>,
    /// The new owner
    #[arg(long)]
    owner: Option<UserId>,
    /// Tag to set; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = requests::tag)]
    tags: Vec<(String, String)>,
    /// Tag to take away; may be repeated
    #[arg(long = "remove-tag", value_name = "NAME")]
    removed_tags: Vec<String>,
    /// Where it is used
    #[arg(long)]
    environment: Option<String>,
    /// Your organization's own category
    #[arg(long)]
    category: Option<String>,
    /// Notes
    #[arg(long)]
    notes: Option<String>,
}

/// What `cert update --clear` takes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clearable {
    /// No tags
    Tags,
    /// Not said where it is used
    Environment,
    /// The usual category
    Category,
    /// No custom fields
    CustomFields,
    /// No notes
    Notes,
}

impl Update {
    /// What shall become of a field; a field cannot be set and cleared at once.
    fn change<T>(&self, field: Clearable, value: Option<T>) -> Result<Change<T>, CliError> {
        match (self.cleared.contains(&field), value) {
            (true, Some(_)) => {
                let advice = "a field cannot be given a value and cleared at once";
                Err(CliError::Usage(advice.to_owned()))
            }
            (true, None) => Ok(Change::Clear),
            (false, value) => Ok(value.into()),
        }
    }

    fn body(&self, tags: Option<BTreeMap<String, String>>) -> Result<CertificateUpdate, CliError> {
        Ok(CertificateUpdate {
            owner_user_id: self.owner.into(),
            tags: self.change(Clearable::Tags, tags)?,
            environment: self.change(Clearable::Environment, self.environment.clone())?,
            category: self.change(Clearable::Category, self.category.clone())?,
            custom_fields: self.change(Clearable::CustomFields, None)?,
            notes: self.change(Clearable::Notes, self.notes.clone())?,
        })
    }
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(arguments) => return list(*arguments, session).await,
        Command::Show { id } => print(&session.client.get(&path(id)).await?.body, session),
        Command::Lookup { sha256, serial, authority } => {
            let query = CertificateLookup { sha256, serial, authority };
            print(&session.client.find("/api/v1/certificates/lookup", &query).await?, session);
        }
        Command::Download { id, format, out } => {
            let media_type = match format {
                Format::Chain => "application/pem-certificate-chain",
                Format::Der => "application/pkix-cert",
            };
            download(id, media_type, &out, session).await?;
        }
        Command::Revoke(arguments) => return revoke(arguments, session).await,
        Command::Release { id, comment } => {
            let path = format!("{}/release", path(id));
            let reply = session.client.post::<_, Request>(&path, &Release { comment }, None).await?;
            return requests::conclude(&reply.body, None, session).await;
        }
        Command::Renew(arguments) => return renew(arguments, session).await,
        Command::Update(arguments) => return update(*arguments, session).await,
        Command::Key { command } => return keys::run(command, session).await,
        Command::Inspect { file } => return crate::inspect::run(&file, session.output),
    }
    Ok(ExitCode::Done)
}

fn path(id: CertificateId) -> String {
    format!("/api/v1/certificates/{id}")
}

/// Writes a certificate to a file.
pub(crate) async fn download(
    id: CertificateId,
    media_type: &str,
    out: &Path,
    session: &Session,
) -> Result<(), CliError> {
    let octets = session.client.download(&path(id), media_type).await?;
    files::write(out, &octets)
}

pub(crate) async fn revoke(arguments: Revoke, session: &Session) -> Result<ExitCode, CliError> {
    let body = Revocation {
        reason: arguments.reason,
        invalidity_date: arguments.invalid_since,
        comment: arguments.comment,
    };
    let path = format!("{}/revoke", path(arguments.id));
    let reply = session.client.post::<_, Request>(&path, &body, None).await?;
    requests::conclude(&reply.body, None, session).await
}

async fn renew(arguments: Renew, session: &Session) -> Result<ExitCode, CliError> {
    let body = Renewal {
        csr_pem: arguments.csr.as_deref().map(files::read_text).transpose()?,
        key_algorithm: arguments.key_algorithm,
        validity_seconds: arguments.days.map(|days| days.saturating_mul(86_400)),
        comment: arguments.comment,
    };
    let path = format!("{}/renew", path(arguments.id));
    let wait = arguments.wait.map(Duration::from_secs);
    let reply = session.client.post::<_, Request>(&path, &body, wait).await?;
    requests::conclude(&reply.body, arguments.out.as_deref(), session).await
}

async fn update(arguments: Update, session: &Session) -> Result<ExitCode, CliError> {
    let path = path(arguments.id);
    let read = session.client.get::<Certificate>(&path).await?;
    let etag = read.etag.ok_or_else(|| CliError::Answer("the certificate has no ETag".to_owned()))?;
    let body = arguments.body(changed_tags(&read.body.tags, &arguments.tags, &arguments.removed_tags))?;
    let reply = session.client.change(Method::PATCH, &path, &etag, &body).await?;
    print(&reply.body, session);
    Ok(ExitCode::Done)
}

fn changed_tags(
    old: &BTreeMap<String, String>,
    set: &[(String, String)],
    removed: &[String],
) -> Option<BTreeMap<String, String>> {
    if set.is_empty() && removed.is_empty() {
        return None;
    }
    let mut tags = old.clone();
    tags.extend(set.iter().cloned());
    tags.retain(|name, _| !removed.contains(name));
    Some(tags)
}

async fn list(arguments: List, session: &Session) -> Result<ExitCode, CliError> {
    let within = arguments.expires_within.map(|time| Clock::system().now() + time);
    let query = CertificateQuery {
        organization: arguments.all_organizations.then_some(OrganizationFilter::All),
        status: arguments.status,
        owner: arguments.owner,
        authority: arguments.authority,
        expires_before: within.or(arguments.expires_before),
        expires_after: arguments.expires_after,
        san: arguments.san,
        tag: arguments.tag,
        text: arguments.text,
        ..CertificateQuery::default()
    };
    let page = session.client.list("/api/v1/certificates", &query, &arguments.page).await?;
    let headers = ["ID", "STATUS", "NAMES", "OWNER", "PROFILE", "NOT AFTER", "SERIAL"];
    output::list(session.output, &page, &headers, |one: &Certificate| {
        vec![
            one.id.to_string(),
            one.status.to_string(),
            output::names(&one.sans),
            output::maybe(one.owner.as_ref()),
            one.profile.clone(),
            output::time(one.not_after),
            one.serial_number.clone(),
        ]
    });
    Ok(ExitCode::Done)
}

fn print(one: &Certificate, session: &Session) {
    let tags: Vec<String> = one.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = vec![
        ("certificate", one.id.to_string()),
        ("status", one.status.to_string()),
        ("subject", one.subject.clone()),
        ("names", one.sans.join(" ")),
        ("issuer", one.issuer.clone()),
        ("serial", one.serial_number.clone()),
        ("sha256", one.fingerprint_sha256.clone()),
        ("key", one.key_algorithm.clone()),
        ("key from", output::maybe(one.key_source.as_ref())),
        ("profile", one.profile.clone()),
        ("not before", output::time(one.not_before)),
        ("not after", output::time(one.not_after)),
        ("revoked", output::maybe_time(one.revoked_at)),
        ("reason", output::maybe(one.revocation_reason.as_ref())),
        ("owner", output::maybe(one.owner.as_ref())),
        ("organization", one.organization_id.to_string()),
        ("request", output::maybe(one.request_id.as_ref())),
        ("operation", output::maybe(one.operation_id.as_ref())),
        ("renewal of", output::maybe(one.renewal_of.as_ref())),
        ("renewed by", output::maybe(one.renewed_by.as_ref())),
        ("environment", output::maybe(one.environment.as_ref())),
        ("category", one.category.clone()),
        ("tags", tags.join(" ")),
        ("notes", output::maybe(one.notes.as_ref())),
    ];
    output::object(session.output, one, fields);
}

/// `30d`, `12h`, `15m`, `90s`.
fn duration(text: &str) -> Result<TimeDelta, String> {
    let wrong = || "expected a number with d, h, m or s, for example 30d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let digits = text.strip_suffix(unit).unwrap_or_default();
    let count: i64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    count.checked_mul(seconds).and_then(TimeDelta::try_seconds).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30d"), Ok(TimeDelta::days(30)));
        for text in ["", "30", "d", "3x", "9999999999999999999d", "30ü"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_that_are_not_named_stay() {
        let old = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let new = changed_tags(&old, &[("c".to_owned(), "3".to_owned())], &["a".to_owned()]).unwrap();
        assert_eq!(new.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(changed_tags(&old, &[], &[]), None);
    }
}
