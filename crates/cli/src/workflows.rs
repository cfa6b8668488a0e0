//! `clm workflow`: who decides on requests.

use std::path::PathBuf;

use clap::Subcommand;
use clm_api::workflows::{Workflow, WorkflowDraft};
use reqwest::Method;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the active workflows
    List(PageArguments),
    /// Show a workflow with its steps and conditions
    Show {
        /// Id of the workflow
        id: Uuid,
    },
    /// Make a workflow
    Create {
        /// JSON: code, name, kind, definition, auto_approval (`-` for standard input)
        #[arg(long)]
        file: PathBuf,
    },
    /// Make a new version of a workflow
    Update {
        /// Id of the workflow
        id: Uuid,
        /// JSON: code, name, kind, definition, auto_approval (`-` for standard input)
        #[arg(long)]
        file: PathBuf,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { id } => {
            print(&session.client.get(&format!("/api/v1/workflows/{id}")).await?.body, session);
        }
        Command::Create { file } => {
            let draft: WorkflowDraft = files::read_json(&file)?;
            let reply = session.client.post("/api/v1/workflows", &draft, None).await?;
            print(&reply.body, session);
        }
        Command::Update { id, file } => {
            let draft: WorkflowDraft = files::read_json(&file)?;
            let path = format!("/api/v1/workflows/{id}");
            let etag = session.client.etag(&path).await?;
            let reply = session.client.change(Method::PUT, &path, &etag, &draft).await?;
            print(&reply.body, session);
        }
    }
    Ok(ExitCode::Done)
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/workflows", &(), page).await?;
    let headers = ["ID", "CODE", "VERSION", "KIND", "STATUS", "NAME"];
    output::list(session.output, &page, &headers, |one: &Workflow| {
        vec![
            one.id.to_string(),
            one.code.clone(),
            one.workflow_version.to_string(),
            one.kind.to_string(),
            one.status.clone(),
            one.name.clone(),
        ]
    });
    Ok(())
}

fn print(one: &Workflow, session: &Session) {
    let fields = vec![
        ("workflow", one.id.to_string()),
        ("code", one.code.clone()),
        ("version", one.workflow_version.to_string()),
        ("kind", one.kind.to_string()),
        ("name", one.name.clone()),
        ("status", one.status.clone()),
        ("definition", one.definition.to_string()),
        ("auto approval", one.auto_approval.to_string()),
    ];
    output::object(session.output, one, fields);
}
