//! `clm integrity`: whether both databases agree.

use clap::Subcommand;
use clm_api::integrity::{IntegrityFinding, IntegrityQuery, IntegrityReport};

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare both databases now; ends with 1 when something is open
    Run,
    /// List findings
    Findings {
        /// Only with this status: open, repaired, alarm, resolved
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        page: PageArguments,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Run => compare(session).await,
        Command::Findings { status, page } => list(status, &page, session).await,
    }
}

async fn compare(session: &Session) -> Result<ExitCode, CliError> {
    let path = "/api/v1/integrity/runs";
    let report: IntegrityReport = session.client.post(path, &serde_json::json!({}), None).await?.body;
    let fields = vec![
        ("run", report.run_id.to_string()),
        ("compared", report.compared.to_string()),
        ("open", report.open.to_string()),
        ("alarms", report.alarms.to_string()),
        ("repaired", report.repaired.to_string()),
        ("resolved", report.resolved.to_string()),
    ];
    output::object(session.output, &report, fields);
    let is_clean = report.open == 0 && report.alarms == 0;
    Ok(if is_clean { ExitCode::Done } else { ExitCode::Refused })
}

async fn list(status: Option<String>, page: &PageArguments, session: &Session) -> Result<ExitCode, CliError> {
    let query = IntegrityQuery { status, ..IntegrityQuery::default() };
    let page = session.client.list("/api/v1/integrity/findings", &query, page).await?;
    let headers = ["KIND", "STATUS", "SIDE", "OBJECT", "FOUND", "RESOLVED"];
    output::list(session.output, &page, &headers, |one: &IntegrityFinding| {
        vec![
            one.kind.clone(),
            one.status.clone(),
            one.side.clone(),
            format!("{} {}", one.object_type, one.object_id),
            output::time(one.found_at),
            output::maybe_time(one.resolved_at),
        ]
    });
    Ok(ExitCode::Done)
}
