//! `clm audit`: the audit logs of both databases.

use std::net::IpAddr;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use clm_api::Page;
use clm_api::audit::{AuditCheckpoint, AuditCheckpointQuery, AuditEntry, AuditQuery, KeyAccessQuery};
use clm_types::{ApiKeyId, CertificateId, OperationId, SessionId, UserId};
use uuid::Uuid;

use crate::arguments::{Output, PageArguments};
use crate::audit_exports;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List entries
    #[command(after_help = "Examples:
  clm audit list --operation 0199f0c2-6c48-7f03-b5d1-2e7a8f9c0d34   both databases, oldest first
  clm audit list --outcome refused --since 2026-11-01T00:00:00Z --all
  clm audit list --address 192.0.2.7 --object-type session --details")]
    List(Box<List>),
    /// Write Core's entries of a time range to a file, oldest first, one JSON document a line
    ///
    /// The file takes its place when it is whole and agrees with its last line, the manifest.
    #[command(
        after_help = "Example:\n  clm audit export --since 2026-10-01T00:00:00Z --until 2026-11-01T00:00:00Z --out 10.ndjson"
    )]
    Export(audit_exports::Export),
    /// Check that an exported file is whole; asks no server
    #[command(after_help = "Example:\n  clm audit check-export 10.ndjson")]
    CheckExport {
        /// What `audit export` wrote
        file: PathBuf,
    },
    /// Print the signed states of Secure's audit chain that Core keeps, one JSON document a line, newest first
    #[command(after_help = "Example:\n  clm audit checkpoints > checkpoints.ndjson")]
    Checkpoints,
    /// List every access to a certificate's private key, allowed or refused
    #[command(after_help = "Example:\n  clm audit key-access 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --all")]
    KeyAccess {
        /// The certificate
        id: CertificateId,
        #[command(flatten)]
        page: PageArguments,
    },
}

#[derive(Args)]
pub(crate) struct List {
    /// Only of this operation, from both databases
    #[arg(long)]
    operation: Option<OperationId>,
    /// Only about this object
    #[arg(long)]
    object: Option<Uuid>,
    /// Only about objects of this sort, as `certificate`
    #[arg(long, value_name = "TYPE")]
    object_type: Option<String>,
    /// Only by this user
    #[arg(long, value_name = "USER")]
    actor: Option<UserId>,
    /// Only by this session
    #[arg(long)]
    session: Option<SessionId>,
    /// Only by this API key
    #[arg(long, value_name = "KEY")]
    api_key: Option<ApiKeyId>,
    /// Only from this address
    #[arg(long)]
    address: Option<IpAddr>,
    /// Only of this HTTP request: the request id of an error or a log line
    #[arg(long)]
    request: Option<Uuid>,
    /// Only this action, as `certificate.revoke`
    #[arg(long)]
    action: Option<String>,
    /// Only with this outcome
    #[arg(long, value_parser = ["allowed", "refused", "failed"])]
    outcome: Option<String>,
    /// Only at this moment or after (RFC 3339)
    #[arg(long)]
    since: Option<DateTime<Utc>>,
    /// Only before this moment
    #[arg(long)]
    until: Option<DateTime<Utc>>,
    /// Print everything of each entry, a value a line
    #[arg(long)]
    details: bool,
    #[command(flatten)]
    page: PageArguments,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(arguments) => list(*arguments, session).await,
        Command::Export(arguments) => audit_exports::export(&arguments, session).await,
        Command::CheckExport { file } => audit_exports::check(&file),
        Command::Checkpoints => checkpoints(session).await,
        Command::KeyAccess { id, page } => {
            let path = format!("/api/v1/certificates/{id}/key/accesses");
            print(&session.client.list(&path, &KeyAccessQuery::default(), &page).await?, session);
            Ok(ExitCode::Done)
        }
    }
}

async fn checkpoints(session: &Session) -> Result<ExitCode, CliError> {
    let mut query = AuditCheckpointQuery { before: None, limit: Some(200) };
    loop {
        let page: Vec<AuditCheckpoint> = session.client.find("/api/v1/audit/checkpoints", &query).await?;
        let Some(last) = page.last() else { return Ok(ExitCode::Done) };
        query.before = Some(last.sequence);
        for checkpoint in &page {
            output::json_line(checkpoint);
        }
    }
}

async fn list(arguments: List, session: &Session) -> Result<ExitCode, CliError> {
    let query = AuditQuery {
        operation_id: arguments.operation,
        object: arguments.object,
        object_type: arguments.object_type,
        actor: arguments.actor,
        session: arguments.session,
        api_key: arguments.api_key,
        address: arguments.address,
        request: arguments.request,
        action: arguments.action,
        outcome: arguments.outcome,
        since: arguments.since,
        until: arguments.until,
        ..AuditQuery::default()
    };
    let page = session.client.list("/api/v1/audit", &query, &arguments.page).await?;
    if arguments.details && session.output == Output::Table {
        print_details(&page);
    } else {
        print(&page, session);
    }
    Ok(ExitCode::Done)
}

/// Each entry by itself, and an empty line behind it.
fn print_details(page: &Page<AuditEntry>) {
    for one in &page.items {
        output::object(Output::Table, one, fields(one));
        output::line("");
    }
    if let Some(cursor) = &page.next_cursor {
        eprintln!("there is more: --cursor {cursor}, or --all");
    }
}

fn fields(one: &AuditEntry) -> Vec<(&'static str, String)> {
    vec![
        ("time", one.occurred_at.to_rfc3339()),
        ("id", one.id.to_string()),
        ("database", one.source.clone()),
        ("actor", one.actor.clone()),
        ("actor type", one.actor_type.clone()),
        ("session", output::maybe(one.session_id.as_ref())),
        ("api key", output::maybe(one.api_key_id.as_ref())),
        ("organization", output::maybe(one.organization_id.as_ref())),
        ("address", output::maybe(one.address.as_ref())),
        ("request", output::maybe(one.request_id.as_ref())),
        ("operation", output::maybe(one.operation_id.as_ref())),
        ("action", one.action.clone()),
        ("object", format!("{} {}", one.object_type, output::maybe(one.object_id.as_ref()))),
        ("outcome", one.outcome.clone()),
        ("detail", output::maybe(one.detail.as_ref())),
        ("before", output::maybe(one.before.as_ref())),
        ("after", output::maybe(one.after.as_ref())),
        ("sequence", output::maybe(one.sequence.as_ref())),
        ("chain hash", output::maybe(one.chain_hash.as_ref())),
    ]
}

fn print(page: &Page<AuditEntry>, session: &Session) {
    let headers = ["TIME", "DATABASE", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "OPERATION", "DETAIL"];
    output::list(session.output, page, &headers, |one: &AuditEntry| {
        vec![
            output::time(one.occurred_at),
            one.source.clone(),
            one.actor.clone(),
            one.action.clone(),
            format!("{} {}", one.object_type, output::maybe(one.object_id.as_ref())),
            one.outcome.clone(),
            output::maybe(one.operation_id.as_ref()),
            output::maybe(one.detail.as_ref()),
        ]
    });
}
