//! `clm policy`: who may have which certificate.

use std::path::PathBuf;

use clap::Subcommand;
use clm_api::policies::{Policy, PolicyDraft};
use reqwest::Method;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the active policies
    List(PageArguments),
    /// Show a policy with its rules
    Show {
        /// Id of the policy
        id: Uuid,
    },
    /// Make a policy
    Create {
        /// JSON: code, name, rules, compliance_frameworks (`-` for standard input)
        #[arg(long)]
        file: PathBuf,
    },
    /// Make a new version of a policy
    #[command(
        after_help = "The version that you have read must still be the newest, or the change is refused."
    )]
    Update {
        /// Id of the policy
        id: Uuid,
        /// JSON: code, name, rules, compliance_frameworks (`-` for standard input)
        #[arg(long)]
        file: PathBuf,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { id } => {
            print(&session.client.get(&format!("/api/v1/policies/{id}")).await?.body, session);
        }
        Command::Create { file } => {
            let draft: PolicyDraft = files::read_json(&file)?;
            let reply = session.client.post("/api/v1/policies", &draft, None).await?;
            print(&reply.body, session);
        }
        Command::Update { id, file } => {
            let draft: PolicyDraft = files::read_json(&file)?;
            let path = format!("/api/v1/policies/{id}");
            let etag = session.client.etag(&path).await?;
            let reply = session.client.change(Method::PUT, &path, &etag, &draft).await?;
            print(&reply.body, session);
        }
    }
    Ok(ExitCode::Done)
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/policies", &(), page).await?;
    let headers = ["ID", "CODE", "VERSION", "STATUS", "NAME"];
    output::list(session.output, &page, &headers, |one: &Policy| {
        vec![
            one.id.to_string(),
            one.code.clone(),
            one.policy_version.to_string(),
            one.status.clone(),
            one.name.clone(),
        ]
    });
    Ok(())
}

fn print(one: &Policy, session: &Session) {
    let fields = vec![
        ("policy", one.id.to_string()),
        ("code", one.code.clone()),
        ("version", one.policy_version.to_string()),
        ("name", one.name.clone()),
        ("status", one.status.clone()),
        ("rules", one.rules.to_string()),
    ];
    output::object(session.output, one, fields);
}
