//! `clm workflow`: who decides on requests.

use std::path::PathBuf;

use clap::Subcommand;
use clm_api::workflows::{Workflow, WorkflowDraft, WorkflowQuery};
use clm_types::WorkflowKind;
use reqwest::Method;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

const EXAMPLES: &str = r#"Examples:
  clm workflow create --file renewal.json
  clm workflow update 0199f0c8-c2ae-7569-9b37-84d0ef52639a --file renewal.json   a new version

A small file; a step names `approver_role_id` or `approver_user_id`, the kind is issuance, renewal or
revocation:
  {
    "code": "renewal",
    "name": "Renewal with two approvals",
    "kind": "renewal",
    "definition": {
      "steps": [
        {"name": "Team", "approver_role_id": "01900000-0000-7000-8000-000000000003", "quorum": 2}
      ]
    },
    "auto_approval": [{"profiles": ["tls-server"], "max_validity_seconds": 2592000}]
  }

`auto_approval` lists what needs no approval; without it, everything needs approval.
An update is the whole file again, with the same code and kind. It is refused when there is a newer
version than the one it is made from."#;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List workflows: the active ones unless told
    #[command(
        after_help = "Examples:\n  clm workflow list --kind issuance\n  clm workflow list --code issuance --status any"
    )]
    List {
        /// Only versions of this code
        #[arg(long)]
        code: Option<String>,
        /// Only with this status: draft, active, superseded, retired, or any; active unless given
        #[arg(long)]
        status: Option<String>,
        /// Only of this kind: issuance, renewal, revocation
        #[arg(long)]
        kind: Option<WorkflowKind>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Show a workflow with its steps and conditions
    #[command(after_help = "Example:\n  clm workflow show 0199f0c8-c2ae-7569-9b37-84d0ef52639a")]
    Show {
        /// Id of the workflow
        id: Uuid,
    },
    /// Make a workflow
    #[command(after_help = EXAMPLES)]
    Create {
        /// JSON: code, name, kind, definition, auto_approval (`-` for standard input)
        #[arg(long)]
        file: PathBuf,
    },
    /// Make a new version of a workflow
    #[command(after_help = EXAMPLES)]
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
        Command::List { code, status, kind, page } => {
            let query = WorkflowQuery { code, status, kind, ..WorkflowQuery::default() };
            list(&query, &page, session).await?;
        }
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

async fn list(query: &WorkflowQuery, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/workflows", query, page).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_help_is_one() {
        let file = &EXAMPLES[EXAMPLES.find('{').unwrap()..=EXAMPLES.rfind('}').unwrap()];
        assert!(serde_json::from_str::<WorkflowDraft>(file).is_ok());
    }
}
