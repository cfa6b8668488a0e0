//! `clm org`.

use std::path::PathBuf;

use clap::Subcommand;
use clm_api::organizations::{NewOrganization, Organization, OrganizationChange};
use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

const UPDATE_EXAMPLES: &str = "\
Examples:
  clm org update 0199f0c5-9f7b-7236-8804-51adbc2f3067 --name 'Example Retail AG'
  clm org update 0199f0c5-9f7b-7236-8804-51adbc2f3067 --settings settings.json";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the organizations that you may see
    #[command(after_help = "Example:\n  clm org list")]
    List(PageArguments),
    /// Show an organization
    #[command(after_help = "Example:\n  clm org show 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Show {
        /// The organization
        id: Uuid,
    },
    /// Make an organization
    #[command(after_help = "Example:\n  clm org create retail --name 'Example Retail'")]
    Create {
        /// Short code: lower-case letters, digits, hyphens
        code: String,
        /// Full name
        #[arg(long)]
        name: String,
    },
    /// Change name and settings of an organization; what is not given stays
    #[command(after_help = UPDATE_EXAMPLES)]
    Update {
        /// The organization
        id: Uuid,
        /// Full name
        #[arg(long)]
        name: Option<String>,
        /// All settings, a JSON object (`-` for standard input)
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Suspend an organization: nobody works in it any more
    #[command(after_help = "Example:\n  clm org suspend 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Suspend {
        /// The organization
        id: Uuid,
    },
    /// Let people work in a suspended organization again
    #[command(after_help = "Example:\n  clm org resume 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Resume {
        /// The organization
        id: Uuid,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { id } => {
            print(&session.client.get(&format!("/api/v1/organizations/{id}")).await?.body, session);
        }
        Command::Create { code, name } => {
            let body = NewOrganization { code, name };
            print(&session.client.post("/api/v1/organizations", &body, None).await?.body, session);
        }
        Command::Update { id, name, settings } => {
            let settings = settings.as_deref().map(files::read_json::<Map<String, Value>>).transpose()?;
            let change = |old: Organization| OrganizationChange {
                name: name.unwrap_or(old.name),
                settings: settings.or_else(|| old.settings.as_object().cloned()).unwrap_or_default(),
            };
            let path = format!("/api/v1/organizations/{id}");
            print(&session.client.edit(Method::PUT, &path, change).await?, session);
        }
        Command::Suspend { id } => {
            let path = format!("/api/v1/organizations/{id}/suspend");
            print(&session.client.post(&path, &serde_json::json!({}), None).await?.body, session);
        }
        Command::Resume { id } => {
            let path = format!("/api/v1/organizations/{id}/resume");
            print(&session.client.post(&path, &serde_json::json!({}), None).await?.body, session);
        }
    }
    Ok(ExitCode::Done)
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/organizations", &(), page).await?;
    output::list(session.output, &page, &["ID", "CODE", "STATUS", "NAME"], |one: &Organization| {
        vec![one.id.to_string(), one.code.clone(), one.status.clone(), one.name.clone()]
    });
    Ok(())
}

fn print(one: &Organization, session: &Session) {
    let fields = vec![
        ("organization", one.id.to_string()),
        ("code", one.code.clone()),
        ("name", one.name.clone()),
        ("status", one.status.clone()),
        ("settings", one.settings.to_string()),
        ("created", output::time(one.created_at)),
    ];
    output::object(session.output, one, fields);
}
