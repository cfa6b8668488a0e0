//! `clm org`.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use clm_api::organizations::{NewOrganization, Organization, OrganizationChange, Subscription};
use clm_types::SubscriptionStatus;
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

const SUBSCRIPTION_EXAMPLES: &str = "\
Examples:
  clm org subscription 0199f0c5-9f7b-7236-8804-51adbc2f3067 --plan team --max-certificates 500
  clm org subscription 0199f0c5-9f7b-7236-8804-51adbc2f3067 --expires-at 2027-01-01T00:00:00Z
  clm org subscription 0199f0c5-9f7b-7236-8804-51adbc2f3067 --status cancelled
  clm org subscription 0199f0c5-9f7b-7236-8804-51adbc2f3067 --max-users none";

const SETTINGS_HELP: &str = "\
Settings; each only tightens what the installation sets:
  sign_in.second_factor           `required` of everybody, or `optional`
  sign_in.session_idle_minutes    2 to 1440: so long unused, a session does not work here
  sign_in.session_lifetime_hours  1 to 720: so long after sign-in, a session does not work here
  api_keys.longest_days           1 to 365: how long new API keys live at most

Examples:
  clm org settings set 0199f0c5-9f7b-7236-8804-51adbc2f3067 sign_in.second_factor=required
  clm org settings set 0199f0c5-9f7b-7236-8804-51adbc2f3067 api_keys.longest_days=90
  clm org settings set 0199f0c5-9f7b-7236-8804-51adbc2f3067 sign_in.session_idle_minutes=none";

#[derive(Subcommand)]
pub(crate) enum SettingsCommand {
    /// Show the settings of an organization
    #[command(after_help = "Example:\n  clm org settings show 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Show {
        /// The organization
        id: Uuid,
    },
    /// Change settings of an organization; what is not named stays
    #[command(after_help = SETTINGS_HELP)]
    Set {
        /// The organization
        id: Uuid,
        /// A setting and its value, or `none` to take it back
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<Setting>,
    },
}

/// `section.name=value`.
#[derive(Clone)]
pub(crate) struct Setting {
    section: String,
    name: String,
    value: Option<Value>,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(key, value)| Some((key.split_once('.')?, value)));
        let Some(((section, name), value)) = parts else {
            return Err("a setting is given as SECTION.NAME=VALUE".to_owned());
        };
        let value = match value {
            "none" => None,
            number => Some(number.parse::<u64>().map_or_else(|_| Value::from(number), Value::from)),
        };
        Ok(Self { section: section.to_owned(), name: name.to_owned(), value })
    }
}

impl Setting {
    /// A section that has nothing left goes too. What stands in the place of a section and is none, makes room; it is told.
    fn put(self, settings: &mut Map<String, Value>) {
        let section = settings.entry(self.section.clone()).or_insert_with(|| Value::Object(Map::new()));
        if !section.is_object() {
            eprintln!("{} was {section}, which is no section of settings: it is taken out", self.section);
            *section = Value::Object(Map::new());
        }
        if let Some(section) = section.as_object_mut() {
            match self.value {
                Some(value) => section.insert(self.name, value),
                None => section.remove(&self.name),
            };
        }
        if settings.get(&self.section).and_then(Value::as_object).is_some_and(Map::is_empty) {
            settings.remove(&self.section);
        }
    }
}

/// The end of a subscription, or a limit: a value, or `none`.
#[derive(Clone, Copy)]
struct OrNone<T>(Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

#[derive(Args)]
pub(crate) struct SubscriptionArguments {
    /// The organization
    id: Uuid,
    /// What was bought: lower-case letters, digits, hyphens
    #[arg(long)]
    plan: Option<String>,
    /// `trial`, `active`, `past_due` (ends nothing), `cancelled`, `expired`
    #[arg(long)]
    status: Option<SubscriptionStatus>,
    /// When it ends, or `none`
    #[arg(long, value_name = "TIME")]
    expires_at: Option<OrNone<DateTime<Utc>>>,
    /// Most certificates that are active or on hold, or `none`
    #[arg(long, value_name = "NUMBER")]
    max_certificates: Option<OrNone<i32>>,
    /// Most members, or `none`
    #[arg(long, value_name = "NUMBER")]
    max_users: Option<OrNone<i32>>,
    /// Most authorities, or `none`
    #[arg(long, value_name = "NUMBER")]
    max_authorities: Option<OrNone<i32>>,
}

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
    /// Show or change the settings of an organization
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Say what an organization has subscribed to; what is not given stays
    #[command(after_help = SUBSCRIPTION_EXAMPLES)]
    Subscription(SubscriptionArguments),
    /// Suspend an organization: nobody works in it any more
    #[command(after_help = "Example:\n  clm org suspend 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Suspend {
        /// The organization
        id: Uuid,
    },
    /// Close an organization for good: nobody works in it, and nobody resumes it
    #[command(after_help = "Example:\n  clm org close 0199f0c5-9f7b-7236-8804-51adbc2f3067 --for-good")]
    Close {
        /// The organization
        id: Uuid,
        /// That this cannot be taken back is understood
        #[arg(long, required = true)]
        for_good: bool,
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
        Command::Settings(command) => run_settings(command, session).await?,
        Command::Subscription(change) => subscribe(change, session).await?,
        Command::Suspend { id } => act(id, "suspend", session).await?,
        Command::Close { id, for_good: _ } => act(id, "close", session).await?,
        Command::Resume { id } => act(id, "resume", session).await?,
    }
    Ok(ExitCode::Done)
}

async fn run_settings(command: SettingsCommand, session: &Session) -> Result<(), CliError> {
    let one: Organization = match command {
        SettingsCommand::Show { id } => {
            session.client.get(&format!("/api/v1/organizations/{id}")).await?.body
        }
        SettingsCommand::Set { id, settings } => {
            let change = |old: Organization| {
                let mut all = old.settings.as_object().cloned().unwrap_or_default();
                for setting in settings {
                    setting.put(&mut all);
                }
                OrganizationChange { name: old.name, settings: all }
            };
            session.client.edit(Method::PUT, &format!("/api/v1/organizations/{id}"), change).await?
        }
    };
    let mut fields = Vec::new();
    for (section, values) in one.settings.as_object().into_iter().flatten() {
        for (name, value) in values.as_object().into_iter().flatten() {
            fields.push((format!("{section}.{name}"), value.to_string()));
        }
    }
    let fields = fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    output::object(session.output, &one.settings, fields);
    Ok(())
}

async fn act(id: Uuid, action: &str, session: &Session) -> Result<(), CliError> {
    let path = format!("/api/v1/organizations/{id}/{action}");
    print(&session.client.post(&path, &serde_json::json!({}), None).await?.body, session);
    Ok(())
}

async fn subscribe(change: SubscriptionArguments, session: &Session) -> Result<(), CliError> {
    let path = format!("/api/v1/organizations/{}", change.id);
    let read = session.client.get::<Organization>(&path).await?;
    let etag = read.etag.ok_or_else(|| CliError::Answer("the object has no ETag".to_owned()))?;
    let old = read.body;
    let status = old.subscription_status.parse();
    let status = status.map_err(|_| CliError::Answer("the subscription's state is unknown".to_owned()))?;
    let body = Subscription {
        plan: change.plan.unwrap_or(old.subscription_plan),
        status: change.status.unwrap_or(status),
        expires_at: change.expires_at.map_or(old.subscription_expires_at, |it| it.0),
        max_certificates: change.max_certificates.map_or(old.license_max_certificates, |it| it.0),
        max_users: change.max_users.map_or(old.license_max_users, |it| it.0),
        max_authorities: change.max_authorities.map_or(old.license_max_authorities, |it| it.0),
    };
    let path = format!("{path}/subscription");
    let answer = session.client.change::<_, Organization>(Method::PUT, &path, &etag, &body).await?;
    print(&answer.body, session);
    Ok(())
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
        ("subscription", subscription(one)),
        ("most certificates", limit(one.license_max_certificates)),
        ("most users", limit(one.license_max_users)),
        ("most authorities", limit(one.license_max_authorities)),
        ("settings", one.settings.to_string()),
        ("created", output::time(one.created_at)),
    ];
    output::object(session.output, one, fields);
}

fn subscription(one: &Organization) -> String {
    let end = one.subscription_expires_at.map(|end| format!(", until {}", output::time(end)));
    format!("{}, {}{}", one.subscription_plan, one.subscription_status, end.unwrap_or_default())
}

fn limit(most: Option<i32>) -> String {
    most.map_or_else(|| "no limit".to_owned(), |most| most.to_string())
}
