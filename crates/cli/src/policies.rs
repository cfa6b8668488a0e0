//! `clm policy`: who may have which certificate.

use std::path::PathBuf;

use clap::Subcommand;
use clm_api::policies::{Policy, PolicyDraft, PolicyQuery};
use reqwest::Method;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

const EXAMPLES: &str = r#"Examples:
  clm policy create --file web.json
  clm policy update 0199f0c7-b19d-7458-aa26-73cfde415289 --file web.json   a new version

A small file; whatever else the rules may say is in the API description, under `PolicyRules`:
  {
    "code": "web",
    "name": "Web servers",
    "rules": {
      "profiles": ["tls-server"],
      "key_algorithms": ["ecdsa-p256"],
      "key_sources": ["csr"],
      "names": {"dns_suffixes": ["example.com"]},
      "max_names": 10,
      "max_validity_seconds": 7776000,
      "default_validity_seconds": 2592000,
      "workflows": {"issuance": "issuance"}
    }
  }

Workflows of issuance, renewal and revocation are named by their codes; what has none needs no
approval. An update is the whole file again, with the same code. It is refused when there is a newer
version than the one it is made from."#;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List policies: the active ones unless told
    #[command(after_help = "Examples:\n  clm policy list\n  clm policy list --code web --status any")]
    List {
        /// Only versions of this code
        #[arg(long)]
        code: Option<String>,
        /// Only with this status: draft, active, superseded, retired, or any; active unless given
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Show a policy with its rules
    #[command(after_help = "Example:\n  clm policy show 0199f0c7-b19d-7458-aa26-73cfde415289")]
    Show {
        /// Id of the policy
        id: Uuid,
    },
    /// Make a policy
    #[command(after_help = EXAMPLES)]
    Create {
        /// JSON: code, name, rules, compliance_frameworks (`-` for standard input)
        #[arg(long)]
        file: PathBuf,
    },
    /// Make a new version of a policy
    #[command(after_help = EXAMPLES)]
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
        Command::List { code, status, page } => {
            let query = PolicyQuery { code, status, ..PolicyQuery::default() };
            list(&query, &page, session).await?;
        }
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

async fn list(query: &PolicyQuery, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/policies", query, page).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_help_is_one() {
        let file = &EXAMPLES[EXAMPLES.find('{').unwrap()..=EXAMPLES.rfind('}').unwrap()];
        assert!(serde_json::from_str::<PolicyDraft>(file).is_ok());
    }
}
