//! `clm key`: API keys.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use clm_api::api_keys::{ApiKey, ApiKeyQuery, ApiKeyRotation, CreatedApiKey, NewApiKey};
use clm_types::{UserId, WorkloadRuleId};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

const CREATE_EXAMPLES: &str = "\
Examples:
  clm key create ci --service --scope request:create --scope request:read --secret-file ci.key
  clm key create first --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 \\
      --scope request:read --scope request:approve --secret-file ann.key";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List API keys
    #[command(after_help = "Example:\n  clm key list --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    List {
        /// Only of this user
        #[arg(long)]
        user: Option<UserId>,
        /// Only those that this workload rule has given
        #[arg(long, value_name = "RULE")]
        workload_rule: Option<WorkloadRuleId>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Show an API key, without its secret
    #[command(after_help = "Example:\n  clm key show 0199f0c4-8e6a-7125-97f3-409cab1e2f56")]
    Show {
        /// The key
        id: Uuid,
    },
    /// Make an API key; its secret goes to a file that only you may read
    #[command(
        after_help = CREATE_EXAMPLES
    )]
    Create(Box<Create>),
    /// Make another key like this one, which itself ends after a while
    #[command(
        after_help = "Example:\n  clm key rotate 0199f0c4-8e6a-7125-97f3-409cab1e2f56 --secret-file new.key --overlap-hours 2"
    )]
    Rotate {
        /// The key
        id: Uuid,
        /// Where to write the new secret; what holds something already is left alone
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
        /// How long the old key goes on, 0 to 168
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=168))]
        overlap_hours: u32,
    },
    /// End an API key at once
    #[command(after_help = "Example:\n  clm key revoke 0199f0c4-8e6a-7125-97f3-409cab1e2f56")]
    Revoke {
        /// The key
        id: Uuid,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Name to show
    name: String,
    /// Where to write the secret; what holds something already is left alone
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Whose; yours unless given
    #[arg(long)]
    user: Option<UserId>,
    /// For a program: the key begins with clm_svc_
    #[arg(long)]
    service: bool,
    /// Works in every organization of its user, and not only in yours
    #[arg(long)]
    everywhere: bool,
    /// What it may do at most, noun:verb; may be repeated; all that its user may unless given
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// Network that it may be used from (CIDR); may be repeated
    #[arg(long = "address", value_name = "CIDR")]
    addresses: Vec<String>,
    /// When it ends (RFC 3339)
    #[arg(long)]
    expires: Option<DateTime<Utc>>,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List { user, workload_rule, page } => {
            let query = ApiKeyQuery { user, workload_rule, ..ApiKeyQuery::default() };
            list(&query, &page, session).await?;
        }
        Command::Show { id } => {
            print(&session.client.get(&format!("/api/v1/api-keys/{id}")).await?.body, session);
        }
        Command::Create(create) => run_create(*create, session).await?,
        Command::Rotate { id, secret_file, overlap_hours } => {
            files::check_secret_file(&secret_file)?;
            let body = ApiKeyRotation { overlap_seconds: Some(overlap_hours * 3600) };
            let path = format!("/api/v1/api-keys/{id}/rotate");
            let made: CreatedApiKey = session.client.post(&path, &body, None).await?.body;
            files::write_secret(&secret_file, made.secret.as_bytes())?;
            print(&made.api_key, session);
        }
        Command::Revoke { id } => {
            let path = format!("/api/v1/api-keys/{id}/revoke");
            print(&session.client.post(&path, &serde_json::json!({}), None).await?.body, session);
        }
    }
    Ok(ExitCode::Done)
}

async fn run_create(create: Create, session: &Session) -> Result<(), CliError> {
    // The secret is shown once: find out that the file cannot be written before it exists.
    files::check_secret_file(&create.secret_file)?;
    let body = NewApiKey {
        name: create.name,
        user_id: create.user,
        service: create.service,
        everywhere: create.everywhere,
        scopes: create.scopes,
        allowed_addresses: create.addresses,
        expires_at: create.expires,
    };
    let made: CreatedApiKey = session.client.post("/api/v1/api-keys", &body, None).await?.body;
    files::write_secret(&create.secret_file, made.secret.as_bytes())?;
    print(&made.api_key, session);
    Ok(())
}

async fn list(query: &ApiKeyQuery, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/api-keys", query, page).await?;
    let headers = ["ID", "PREFIX", "NAME", "USER", "EXPIRES", "LAST USED", "REVOKED"];
    output::list(session.output, &page, &headers, |one: &ApiKey| {
        vec![
            one.id.to_string(),
            one.prefix.clone(),
            one.name.clone(),
            one.user_id.to_string(),
            output::maybe_time(one.expires_at),
            output::maybe_time(one.last_used_at),
            output::maybe_time(one.revoked_at),
        ]
    });
    Ok(())
}

fn print(one: &ApiKey, session: &Session) {
    let fields = vec![
        ("key", one.id.to_string()),
        ("prefix", one.prefix.clone()),
        ("name", one.name.clone()),
        ("user", one.user_id.to_string()),
        ("organization", output::maybe(one.organization_id.as_ref())),
        ("scopes", one.scopes.join(" ")),
        ("addresses", one.allowed_addresses.join(" ")),
        ("created", output::time(one.created_at)),
        ("last used", output::maybe_time(one.last_used_at)),
        ("expires", output::maybe_time(one.expires_at)),
        ("revoked", output::maybe_time(one.revoked_at)),
        ("workload rule", output::maybe(one.workload_rule_id.as_ref())),
        ("workload", output::maybe(one.workload_subject.as_ref())),
    ];
    output::object(session.output, one, fields);
}
