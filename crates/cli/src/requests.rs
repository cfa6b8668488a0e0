//! `clm request`: asking for certificates and following requests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use clm_api::requests::{Decision, NewRequest, Request, RequestQuery};
use clm_types::{KeyAlgorithm, UserId, WorkflowKind, WorkflowStatus};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{certificates, files, output};

const EXAMPLES: &str = "\
Examples:
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
      -keyout www.key -out www.csr -subj / -addext subjectAltName=DNS:www.example.com
  clm request create --profile tls-server --csr www.csr --wait 20 --out www.pem
  clm request create --profile tls-client --key-algorithm ecdsa-p256 --san email:ann@example.com
  clm request create --profile tls-server --csr www.csr --custom-field cost-centre=4711

Ends with 6 when the request waits for approval.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask for a certificate
    #[command(after_help = EXAMPLES)]
    Create(Box<Create>),
    /// List requests
    #[command(after_help = "Example:\n  clm request list --status pending --kind issuance")]
    List {
        /// Only in this state: pending, executing, completed, rejected, cancelled, expired, failed
        #[arg(long)]
        status: Option<WorkflowStatus>,
        /// Only of this kind: issuance, renewal, revocation
        #[arg(long)]
        kind: Option<WorkflowKind>,
        /// Only of this requester
        #[arg(long)]
        requester: Option<UserId>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Show a request: its state, its steps, why it failed
    #[command(after_help = "Example:\n  clm request show 0199f0c0-5a2e-7c31-9d04-1f6b8a3e2c70")]
    Show {
        /// The request
        id: Uuid,
    },
    /// Take back a request of one's own
    #[command(
        after_help = "Example:\n  clm request cancel 0199f0c0-5a2e-7c31-9d04-1f6b8a3e2c70 --comment 'wrong name'"
    )]
    Cancel {
        /// The request
        id: Uuid,
        /// Why
        #[arg(long)]
        comment: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Profile, for example tls-server, tls-client, tls-server-client
    #[arg(long)]
    profile: String,
    /// Certificate signing request, PEM (`-` for standard input)
    #[arg(long, required_unless_present = "key_algorithm", conflicts_with = "key_algorithm")]
    csr: Option<PathBuf>,
    /// Let the service generate and keep a key of this algorithm
    #[arg(long)]
    key_algorithm: Option<KeyAlgorithm>,
    /// Policy, by code or id
    #[arg(long)]
    policy: Option<String>,
    /// Authority, by name or id
    #[arg(long)]
    authority: Option<String>,
    /// Subject, RFC 4514; that of the CSR unless given
    #[arg(long)]
    subject: Option<String>,
    /// Name: dns:…, ip:…, email:…, uri:…; may be repeated; those of the CSR unless given
    #[arg(long = "san", value_name = "NAME")]
    sans: Vec<String>,
    /// Lifetime in days; the policy's default unless given
    #[arg(long)]
    days: Option<u64>,
    /// Lifetime in seconds
    #[arg(long, conflicts_with = "days")]
    validity_seconds: Option<u64>,
    /// Who answers for it; you unless given
    #[arg(long)]
    owner: Option<UserId>,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Where it is used, for example production
    #[arg(long)]
    environment: Option<String>,
    /// Your organization's own category
    #[arg(long)]
    category: Option<String>,
    /// Field of your organization's own, a text; may be repeated
    #[arg(long = "custom-field", value_name = "NAME=VALUE", value_parser = tag)]
    custom_fields: Vec<(String, String)>,
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

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Create(create) => run_create(*create, session).await,
        Command::List { status, kind, requester, page } => {
            let query = RequestQuery { status, kind, requester, ..RequestQuery::default() };
            list(&query, &page, session).await
        }
        Command::Show { id } => {
            let path = format!("/api/v1/requests/{id}");
            print(&session.client.get::<Request>(&path).await?.body, session);
            Ok(ExitCode::Done)
        }
        Command::Cancel { id, comment } => {
            let path = format!("/api/v1/requests/{id}/cancel");
            let reply = session.client.post(&path, &Decision { comment }, None).await?;
            print(&reply.body, session);
            Ok(ExitCode::Done)
        }
    }
}

async fn run_create(create: Create, session: &Session) -> Result<ExitCode, CliError> {
    let wait = create.wait.map(Duration::from_secs);
    let out = create.out.clone();
    let body = new_request(create)?;
    let reply = session.client.post("/api/v1/requests", &body, wait).await?;
    conclude(&reply.body, out.as_deref(), session).await
}

fn new_request(create: Create) -> Result<NewRequest, CliError> {
    Ok(NewRequest {
        policy: create.policy,
        profile: create.profile,
        authority: create.authority,
        csr_pem: create.csr.as_deref().map(files::read_text).transpose()?,
        key_algorithm: create.key_algorithm,
        subject: create.subject,
        sans: create.sans,
        validity_seconds: create.validity_seconds.or(create.days.map(|days| days.saturating_mul(86_400))),
        owner_user_id: create.owner,
        tags: create.tags.into_iter().collect::<BTreeMap<_, _>>(),
        environment: create.environment,
        category: create.category,
        custom_fields: create.custom_fields.into_iter().map(|(name, value)| (name, value.into())).collect(),
        comment: create.comment,
    })
}

/// Prints a request and ends as its state says.
pub(crate) async fn conclude(
    request: &Request,
    out: Option<&std::path::Path>,
    session: &Session,
) -> Result<ExitCode, CliError> {
    if let (Some(id), Some(path)) = (request.certificate_id, out)
        && request.status == WorkflowStatus::Completed
    {
        certificates::download(id, "application/pem-certificate-chain", path, session).await?;
    }
    print(request, session);
    Ok(match request.status {
        WorkflowStatus::Completed => ExitCode::Done,
        WorkflowStatus::Pending | WorkflowStatus::Executing => ExitCode::Pending,
        _ => ExitCode::Refused,
    })
}

async fn list(query: &RequestQuery, page: &PageArguments, session: &Session) -> Result<ExitCode, CliError> {
    let page = session.client.list("/api/v1/requests", query, page).await?;
    let headers = ["ID", "KIND", "STATUS", "PROFILE", "NAMES", "CERTIFICATE", "CREATED"];
    output::list(session.output, &page, &headers, |request: &Request| {
        let wanted = request.certificate.as_ref();
        vec![
            request.id.to_string(),
            request.kind.to_string(),
            request.status.to_string(),
            wanted.map(|one| one.profile.clone()).unwrap_or_default(),
            wanted.map(|one| output::names(&one.sans)).unwrap_or_default(),
            output::maybe(request.certificate_id.as_ref()),
            output::time(request.created_at),
        ]
    });
    Ok(ExitCode::Done)
}

/// One request, in full.
pub(crate) fn print(request: &Request, session: &Session) {
    let mut fields = vec![
        ("request", request.id.to_string()),
        ("kind", request.kind.to_string()),
        ("status", request.status.to_string()),
        ("operation", request.operation_id.to_string()),
        ("requester", request.requester_user_id.to_string()),
        ("owner", output::maybe(request.owner_user_id.as_ref())),
        ("certificate", output::maybe(request.certificate_id.as_ref())),
        ("comment", request.comment.clone().unwrap_or_default()),
        ("approval", request.approval_reason.clone().unwrap_or_default()),
        ("created", output::time(request.created_at)),
        ("due", output::maybe_time(request.due_at)),
        ("completed", output::maybe_time(request.completed_at)),
    ];
    if let Some(wanted) = &request.certificate {
        fields.push(("profile", wanted.profile.clone()));
        fields.push(("subject", wanted.subject.clone()));
        fields.push(("names", wanted.sans.join(" ")));
        fields.push(("lifetime", format!("{} s", wanted.validity_seconds)));
    }
    if let Some(revocation) = &request.revocation {
        fields.push(("reason", revocation.reason.to_string()));
    }
    if let Some(failure) = &request.failure {
        fields.push(("failure", format!("{}: {}", failure.code, failure.detail)));
    }
    for step in &request.steps {
        let approvals = step.decisions.iter().filter(|one| one.decision == "approved").count();
        let text = format!("{} {}: {} ({approvals} of {})", step.number, step.name, step.status, step.quorum);
        fields.push(("step", text));
    }
    output::object(session.output, request, fields);
}

/// `NAME=VALUE`.
pub(crate) fn tag(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}
