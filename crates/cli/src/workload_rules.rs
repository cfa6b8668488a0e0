//! `clm workload-rule`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clm_api::workload_rules::{WorkloadRule, WorkloadRuleDraft};
use clm_types::UserId;
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

const CREATE_EXAMPLES: &str = "\
Examples:
  clm workload-rule create deploy --provider github --audience https://clm.example.com \\
      --claim 'sub=repo:acme/web:ref:refs/heads/main' --claim repository_id=123456 \\
      --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 --scope request:create --scope request:read
  clm workload-rule create deploy --provider gitlab --audience https://clm.example.com \\
      --claim project_id=42 --claim ref_protected=true --claim 'ref=release-*' \\
      --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 --scope request:create --minutes 5
  clm workload-rule create agent --provider cluster --audience https://clm.example.com \\
      --claim /kubernetes.io/namespace=ingress --claim /kubernetes.io/serviceaccount/name=agent \\
      --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 --scope certificate:read --address 10.0.0.0/8";

const UPDATE_EXAMPLE: &str = "\
Example:
  clm workload-rule show 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 -o json > rule.json
  clm workload-rule update 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 --minutes 10
  clm workload-rule update 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 --claim project_id=43 --enable
  clm workload-rule update 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 --file rule.json";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the workload rules of your organization
    #[command(after_help = "Example:\n  clm workload-rule list")]
    List(PageArguments),
    /// Show a workload rule
    #[command(after_help = "Example:\n  clm workload-rule show 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58")]
    Show {
        /// The rule
        id: Uuid,
    },
    /// Let workloads exchange tokens of their provider for keys of a user
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<Create>),
    /// Change a workload rule; keys that it gave end, unless only its name or their lifetime changes
    #[command(after_help = UPDATE_EXAMPLE)]
    Update(Box<Update>),
    /// Let a workload rule give no more keys; those that it gave end at once
    #[command(after_help = "Example:\n  clm workload-rule disable 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58")]
    Disable {
        /// The rule
        id: Uuid,
    },
    /// Delete a workload rule; the keys that it gave end at once
    #[command(after_help = "Example:\n  clm workload-rule delete 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58")]
    Delete {
        /// The rule
        id: Uuid,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Name to show, unique in your organization
    name: String,
    /// What the operator calls the provider (core.toml)
    #[arg(long)]
    provider: String,
    /// Whose keys the workloads get
    #[arg(long)]
    user: UserId,
    /// Address of this service that a token is meant for (`aud`); may be repeated
    #[arg(long = "audience", required = true, value_name = "URL")]
    audiences: Vec<String>,
    /// What a token says, NAME=TEXT or NAME:=JSON; a * is a part of a text; may be repeated
    #[arg(long = "claim", required = true, value_name = "CLAIM", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// What the keys may do, noun:verb; may be repeated
    #[arg(long = "scope", required = true)]
    scopes: Vec<String>,
    /// How long a key lives, 1 to 60
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u8).range(1..=60))]
    minutes: u8,
    /// Network that tokens are exchanged and keys are used from (CIDR); may be repeated
    #[arg(long = "address", value_name = "CIDR")]
    addresses: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Update {
    /// The rule
    id: Uuid,
    /// The whole rule as JSON (`-` for standard input), before what else is given
    #[arg(long)]
    file: Option<PathBuf>,
    /// Name to show
    #[arg(long)]
    name: Option<String>,
    /// In place of its audiences; may be repeated
    #[arg(long = "audience", value_name = "URL")]
    audiences: Vec<String>,
    /// Beside its other claims, or in place of one of the same name; may be repeated
    #[arg(long = "claim", value_name = "CLAIM", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// In place of its scopes; may be repeated
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// How long a key lives, 1 to 60
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=60))]
    minutes: Option<u8>,
    /// In place of its networks; may be repeated
    #[arg(long = "address", value_name = "CIDR")]
    addresses: Vec<String>,
    /// Let it give keys again
    #[arg(long)]
    enable: bool,
}

/// `NAME=TEXT` or `NAME:=JSON`.
fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=TEXT or NAME:=JSON")?;
    match name.strip_suffix(':') {
        Some(name) => {
            let value = serde_json::from_str(value).map_err(|error| format!("this is no JSON: {error}"))?;
            Ok((name.to_owned(), value))
        }
        None => Ok((name.to_owned(), Value::String(value.to_owned()))),
    }
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { id } => print(&session.client.get(&address(id)).await?.body, session),
        Command::Create(create) => {
            let body = draft(*create);
            print(&session.client.post("/api/v1/workload-rules", &body, None).await?.body, session);
        }
        Command::Update(update) => run_update(*update, session).await?,
        Command::Disable { id } => {
            let path = format!("{}/disable", address(id));
            print(&session.client.post(&path, &json!({}), None).await?.body, session);
        }
        Command::Delete { id } => {
            // Whoever may end it need not be one who may read it.
            session.client.change::<_, ()>(Method::DELETE, &address(id), "*", &json!({})).await?;
        }
    }
    Ok(ExitCode::Done)
}

fn address(id: Uuid) -> String {
    format!("/api/v1/workload-rules/{id}")
}

fn draft(create: Create) -> WorkloadRuleDraft {
    WorkloadRuleDraft {
        name: create.name,
        provider: create.provider,
        audiences: create.audiences,
        required_claims: create.claims.into_iter().collect::<Map<_, _>>(),
        user_id: create.user,
        scopes: create.scopes,
        lifetime_seconds: i32::from(create.minutes) * 60,
        allowed_addresses: create.addresses,
        enabled: true,
    }
}

async fn run_update(update: Update, session: &Session) -> Result<(), CliError> {
    // As it is shown: what it has of its own is left out.
    let whole: Option<WorkloadRule> = update.file.as_deref().map(files::read_json).transpose()?;
    let change = |now: WorkloadRule| changed(whole.unwrap_or(now), &update);
    print(&session.client.edit(Method::PUT, &address(update.id), change).await?, session);
    Ok(())
}

fn changed(rule: WorkloadRule, update: &Update) -> WorkloadRuleDraft {
    let in_place = |old: Vec<String>, new: &Vec<String>| if new.is_empty() { old } else { new.clone() };
    let mut required_claims = rule.required_claims;
    required_claims.extend(update.claims.iter().cloned());
    WorkloadRuleDraft {
        name: update.name.clone().unwrap_or(rule.name),
        provider: rule.provider,
        audiences: in_place(rule.audiences, &update.audiences),
        required_claims,
        user_id: rule.user_id,
        scopes: in_place(rule.scopes, &update.scopes),
        lifetime_seconds: update.minutes.map_or(rule.lifetime_seconds, |minutes| i32::from(minutes) * 60),
        allowed_addresses: in_place(rule.allowed_addresses, &update.addresses),
        enabled: rule.enabled || update.enable,
    }
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/workload-rules", &(), page).await?;
    let headers = ["ID", "NAME", "PROVIDER", "USER", "CLAIMS", "ENABLED"];
    output::list(session.output, &page, &headers, |one: &WorkloadRule| {
        vec![
            one.id.to_string(),
            one.name.clone(),
            one.provider.clone(),
            one.user_id.to_string(),
            claims(one),
            one.enabled.to_string(),
        ]
    });
    Ok(())
}

fn claims(one: &WorkloadRule) -> String {
    let texts = one.required_claims.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}:={other}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn print(one: &WorkloadRule, session: &Session) {
    let fields = vec![
        ("workload rule", one.id.to_string()),
        ("name", one.name.clone()),
        ("provider", one.provider.clone()),
        ("issuer", one.issuer.clone()),
        ("audiences", one.audiences.join(" ")),
        ("claims", claims(one)),
        ("user", one.user_id.to_string()),
        ("scopes", one.scopes.join(" ")),
        ("key lives", format!("{} s", one.lifetime_seconds)),
        ("addresses", one.allowed_addresses.join(" ")),
        ("enabled", one.enabled.to_string()),
        ("vouched by", one.vouched_by.to_string()),
        ("created", output::time(one.created_at)),
        ("changed", output::time(one.updated_at)),
    ];
    output::object(session.output, one, fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_texts_unless_they_are_said_to_be_json() {
        let read = |text| claim(text).unwrap();
        assert_eq!(read("sub=repo:a/b:ref=x"), ("sub".to_owned(), json!("repo:a/b:ref=x")));
        assert_eq!(read("/kubernetes.io/namespace=ci"), ("/kubernetes.io/namespace".to_owned(), json!("ci")));
        assert_eq!(read("protected:=true"), ("protected".to_owned(), json!(true)));
        assert_eq!(read("attempt:=1"), ("attempt".to_owned(), json!(1)));
        assert!(claim("sub").is_err() && claim("a:=b").is_err());
    }
}
