//! `clm audit`: the audit logs of both databases.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use clm_api::Page;
use clm_api::audit::{AuditCheckpoint, AuditCheckpointQuery, AuditEntry, AuditQuery, KeyAccessQuery};
use clm_types::{CertificateId, OperationId, UserId};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List entries
    #[command(
        after_help = "Example:\n  clm audit list --operation 0199f0c2-6c48-7f03-b5d1-2e7a8f9c0d34   both databases, oldest first"
    )]
    List(Box<List>),
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
    /// Only by this user
    #[arg(long)]
    actor: Option<UserId>,
    /// Only this action
    #[arg(long)]
    action: Option<String>,
    /// Only at this moment or after (RFC 3339)
    #[arg(long)]
    since: Option<DateTime<Utc>>,
    /// Only before this moment
    #[arg(long)]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    page: PageArguments,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(arguments) => list(*arguments, session).await,
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
        actor: arguments.actor,
        action: arguments.action,
        since: arguments.since,
        until: arguments.until,
        ..AuditQuery::default()
    };
    print(&session.client.list("/api/v1/audit", &query, &arguments.page).await?, session);
    Ok(ExitCode::Done)
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
