//! `clm integrity`: whether both databases agree.

use std::time::{Duration, Instant};

use clap::Subcommand;
use clm_api::integrity::{IntegrityFinding, IntegrityQuery, IntegrityRun};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

/// How often a run is asked after.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is said that it still runs.
const SAY_EVERY_SECONDS: u64 = 5;

const RUN_EXAMPLES: &str = "\
Examples:
  clm integrity run
  clm integrity run --no-wait";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare both databases now, and wait; ends with 1 when something is open
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// Begin, and do not wait for the end
        #[arg(long)]
        no_wait: bool,
    },
    /// Show how a run gets on
    #[command(after_help = "Example:\n  clm integrity show 0199f0c9-d3bf-767a-8c48-95e1f06374ab")]
    Show {
        /// The run
        run: Uuid,
    },
    /// List findings
    #[command(after_help = "Example:\n  clm integrity findings --status open --all")]
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
        Command::Run { no_wait } => compare(no_wait, session).await,
        Command::Show { run } => {
            let run = session.client.get(&path(run)).await?.body;
            Ok(print(&run, session))
        }
        Command::Findings { status, page } => list(status, &page, session).await,
    }
}

async fn compare(no_wait: bool, session: &Session) -> Result<ExitCode, CliError> {
    let body = serde_json::json!({});
    let mut run: IntegrityRun = session.client.post("/api/v1/integrity/runs", &body, None).await?.body;
    let begun = Instant::now();
    let mut said = 0;
    while run.status == "running" && !no_wait {
        tokio::time::sleep(PAUSE).await;
        run = session.client.get(&path(run.id)).await?.body;
        let seconds = begun.elapsed().as_secs();
        if seconds >= said + SAY_EVERY_SECONDS {
            eprintln!("run {}: comparing for {seconds} s", run.id);
            said = seconds;
        }
    }
    Ok(print(&run, session))
}

fn path(run: Uuid) -> String {
    format!("/api/v1/integrity/runs/{run}")
}

/// Prints a run. Clean is one that has not found anything, as far as it is.
fn print(run: &IntegrityRun, session: &Session) -> ExitCode {
    let mut fields = vec![
        ("run", run.id.to_string()),
        ("status", run.status.clone()),
        ("started", output::time(run.started_at)),
        ("finished", output::maybe_time(run.finished_at)),
        ("detail", output::maybe(run.detail.as_ref())),
    ];
    if let Some(report) = &run.report {
        fields.extend([
            ("compared", report.compared.to_string()),
            ("open", report.open.to_string()),
            ("alarms", report.alarms.to_string()),
            ("repaired", report.repaired.to_string()),
            ("resolved", report.resolved.to_string()),
        ]);
    }
    output::object(session.output, run, fields);
    match (&run.report, run.status.as_str()) {
        (Some(report), _) if report.open == 0 && report.alarms == 0 => ExitCode::Done,
        (None, "running") => ExitCode::Done,
        _ => ExitCode::Refused,
    }
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
