//! `clm mass-revocation`: many certificates, revoked by one decision of two people.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use clm_api::mass_revocations::{
    MassRevocation, MassRevocationCertificate, MassRevocationCertificateQuery, NewMassRevocation,
    RevocationImpact, RevocationSelection, RevocationShare,
};
use clm_api::page::PageQuery;
use clm_types::{CertificateId, RevocationReason, UserId};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{authorities, output};

const PATH: &str = "/api/v1/mass-revocations";

/// How often a running one is asked after.
const PAUSE: Duration = Duration::from_secs(1);

const CREATE_EXAMPLES: &str = "\
Examples:
  clm mass-revocation create --authority 'Example Issuing' --reason cessationOfOperation --dry-run
  clm mass-revocation create --reason keyCompromise \\
      --same-key-as 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12
  clm mass-revocation create --issued-after 2026-03-01T00:00:00Z --tag team=web --reason superseded

Another person approves it: clm mass-revocation approve ID --wait";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Select certificates to revoke; with --dry-run, only say what that would mean
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<Create>),
    /// List mass revocations, newest first
    #[command(after_help = "Example:\n  clm mass-revocation list --all")]
    List(PageArguments),
    /// Show a mass revocation and how it gets on
    #[command(
        after_help = "Example:\n  clm mass-revocation show 0199f0d1-bd0e-7a52-9c37-4b1d6c8e5f20 --wait"
    )]
    Show(Named),
    /// List the certificates of a mass revocation, and what became of each
    #[command(
        after_help = "Example:\n  clm mass-revocation certificates 0199f0d1-bd0e-7a52-9c37-4b1d6c8e5f20 --status refused"
    )]
    Certificates {
        /// The mass revocation
        id: Uuid,
        /// Only with this status: waiting, revoked, refused
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Approve somebody else's mass revocation: it is carried out from now on
    #[command(
        after_help = "Example:\n  clm mass-revocation approve 0199f0d1-bd0e-7a52-9c37-4b1d6c8e5f20 --wait"
    )]
    Approve(Named),
    /// Stop a mass revocation; what it has revoked stays revoked
    #[command(after_help = "Example:\n  clm mass-revocation cancel 0199f0d1-bd0e-7a52-9c37-4b1d6c8e5f20")]
    Cancel {
        /// The mass revocation
        id: Uuid,
    },
}

#[derive(Args)]
pub(crate) struct Named {
    /// The mass revocation
    id: Uuid,
    /// Wait until it has ended
    #[arg(long)]
    wait: bool,
}

#[derive(Args)]
pub(crate) struct Create {
    /// Only of this authority (name or id)
    #[arg(long)]
    authority: Option<String>,
    /// Only of this profile
    #[arg(long)]
    profile: Option<String>,
    /// Only of this owner (a user's id)
    #[arg(long)]
    owner: Option<UserId>,
    /// Only those issued at this moment or after (RFC 3339)
    #[arg(long)]
    issued_after: Option<DateTime<Utc>>,
    /// Only those issued before this moment (RFC 3339)
    #[arg(long)]
    issued_before: Option<DateTime<Utc>>,
    /// Only those that end before this moment (RFC 3339)
    #[arg(long)]
    expires_before: Option<DateTime<Utc>>,
    /// Only with this name
    #[arg(long)]
    san: Option<String>,
    /// Only with this tag: NAME or NAME=VALUE
    #[arg(long)]
    tag: Option<String>,
    /// Only those whose common name or serial number begins so
    #[arg(long)]
    text: Option<String>,
    /// Only this certificate and those with the same key
    #[arg(long, value_name = "CERTIFICATE")]
    same_key_as: Option<CertificateId>,
    /// Only these certificates
    #[arg(long = "certificate", value_name = "CERTIFICATE")]
    certificates: Vec<CertificateId>,
    /// Really all certificates of the organization
    #[arg(long)]
    everything: bool,
    /// Why, in the words of RFC 5280
    #[arg(long)]
    reason: RevocationReason,
    /// Since when the keys are suspected (RFC 3339)
    #[arg(long)]
    invalid_since: Option<DateTime<Utc>>,
    /// Why, in your words
    #[arg(long)]
    comment: Option<String>,
    /// Only say what it would mean
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Create(create) => select(*create, session).await,
        Command::List(page) => list(&page, session).await,
        Command::Show(named) => {
            let shown = session.client.get(&format!("{PATH}/{}", named.id)).await?.body;
            follow(shown, named.wait, session).await
        }
        Command::Certificates { id, status, page } => certificates(id, status, &page, session).await,
        Command::Approve(named) => {
            let path = format!("{PATH}/{}/approve", named.id);
            let approved = session.client.post(&path, &serde_json::json!({}), None).await?.body;
            follow(approved, named.wait, session).await
        }
        Command::Cancel { id } => {
            let path = format!("{PATH}/{id}/cancel");
            let cancelled = session.client.post(&path, &serde_json::json!({}), None).await?.body;
            follow(cancelled, false, session).await
        }
    }
}

async fn select(create: Create, session: &Session) -> Result<ExitCode, CliError> {
    let authority_id = match &create.authority {
        Some(name) => Some(authorities::find(name, session).await?.id),
        None => None,
    };
    let new = NewMassRevocation {
        selection: RevocationSelection {
            authority_id,
            profile: create.profile,
            owner_user_id: create.owner,
            issued_after: create.issued_after,
            issued_before: create.issued_before,
            expires_before: create.expires_before,
            san: create.san,
            tag: create.tag,
            text: create.text,
            same_key_as: create.same_key_as,
            certificate_ids: (!create.certificates.is_empty()).then_some(create.certificates),
            everything: create.everything,
        },
        reason: create.reason,
        invalidity_date: create.invalid_since,
        comment: create.comment,
    };
    if create.dry_run {
        let impact: RevocationImpact = session.client.post(&format!("{PATH}/plan"), &new, None).await?.body;
        output::object(session.output, &impact, impact_fields(&impact));
        return Ok(ExitCode::Done);
    }
    let created = session.client.post(PATH, &new, None).await?.body;
    follow(created, false, session).await
}

/// Prints a mass revocation, once it has ended if that is wanted.
async fn follow(mut shown: MassRevocation, wait: bool, session: &Session) -> Result<ExitCode, CliError> {
    while wait && shown.status == "running" {
        let done = shown.revoked + shown.refused;
        eprintln!("{done} of {} certificates", shown.certificates);
        tokio::time::sleep(PAUSE).await;
        shown = session.client.get(&format!("{PATH}/{}", shown.id)).await?.body;
    }
    let mut fields = vec![
        ("id", shown.id.to_string()),
        ("status", shown.status.clone()),
        ("reason", shown.reason.clone()),
        ("comment", output::maybe(shown.comment.as_ref())),
        ("requester", shown.requester_user_id.to_string()),
        ("approver", output::maybe(shown.approver_user_id.as_ref())),
        ("revoked", shown.revoked.to_string()),
        ("refused", shown.refused.to_string()),
        ("failure", output::maybe(shown.failure_code.as_ref())),
        ("created", output::time(shown.created_at)),
        ("decided", output::maybe_time(shown.decided_at)),
        ("completed", output::maybe_time(shown.completed_at)),
    ];
    fields.extend(impact_fields(&shown.impact));
    output::object(session.output, &shown, fields);
    Ok(match shown.status.as_str() {
        "pending" | "running" => ExitCode::Pending,
        "failed" => ExitCode::Refused,
        _ => ExitCode::Done,
    })
}

fn impact_fields(impact: &RevocationImpact) -> Vec<(&'static str, String)> {
    let shares = |shares: &[RevocationShare]| {
        let share = |one: &RevocationShare| {
            format!("{} {}", one.certificates, one.name.as_deref().unwrap_or("unknown"))
        };
        shares.iter().map(share).collect::<Vec<_>>().join(", ")
    };
    vec![
        ("certificates", impact.certificates.to_string()),
        ("by authority", shares(&impact.authorities)),
        ("by profile", shares(&impact.profiles)),
        ("by owner", shares(&impact.owners)),
    ]
}

async fn list(page: &PageArguments, session: &Session) -> Result<ExitCode, CliError> {
    let page = session.client.list(PATH, &PageQuery::default(), page).await?;
    let headers = ["ID", "STATUS", "REASON", "CERTIFICATES", "REVOKED", "REFUSED", "CREATED"];
    output::list(session.output, &page, &headers, |one: &MassRevocation| {
        vec![
            one.id.to_string(),
            one.status.clone(),
            one.reason.clone(),
            one.certificates.to_string(),
            one.revoked.to_string(),
            one.refused.to_string(),
            output::time(one.created_at),
        ]
    });
    Ok(ExitCode::Done)
}

async fn certificates(
    id: Uuid,
    status: Option<String>,
    page: &PageArguments,
    session: &Session,
) -> Result<ExitCode, CliError> {
    let query = MassRevocationCertificateQuery { status, ..MassRevocationCertificateQuery::default() };
    let page = session.client.list(&format!("{PATH}/{id}/certificates"), &query, page).await?;
    let headers = ["CERTIFICATE", "COMMON NAME", "SERIAL NUMBER", "STATUS", "WHY"];
    output::list(session.output, &page, &headers, |one: &MassRevocationCertificate| {
        vec![
            one.certificate_id.to_string(),
            output::maybe(one.common_name.as_ref()),
            output::maybe(one.serial_number.as_ref()),
            one.status.clone(),
            output::maybe(one.failure_code.as_ref()),
        ]
    });
    Ok(ExitCode::Done)
}
