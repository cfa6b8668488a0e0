//! `clm audit`: the audit logs of both databases.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use clm_api::audit::{AuditEntry, AuditQuery};
use clm_types::{OperationId, UserId};
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
    let Command::List(arguments) = command;
    let query = AuditQuery {
        operation_id: arguments.operation,
        object: arguments.object,
        actor: arguments.actor,
        action: arguments.action,
        since: arguments.since,
        until: arguments.until,
        ..AuditQuery::default()
    };
    let page = session.client.list("/api/v1/audit", &query, &arguments.page).await?;
    let headers = ["TIME", "DATABASE", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "OPERATION", "DETAIL"];
    output::list(session.output, &page, &headers, |one: &AuditEntry| {
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
    Ok(ExitCode::Done)
}
