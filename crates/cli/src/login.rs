//! Signing in, and who one is.

use std::path::PathBuf;

use clap::Args;
use clm_api::bootstrap::{BootstrapRequest, Bootstrapped};
use clm_api::me::Me;
use url::Url;

use crate::arguments::Global;
use crate::client::Client;
use crate::contexts::{self, Context, Contexts};
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

const EXAMPLES: &str = "\
Examples:
  clm login https://clm.example.com:8443 --token-file key.txt
  clm login https://localhost:8443 --ca-file ca.pem --bootstrap-token-file token   the first administrator
  some-vault read key | clm login https://clm.example.com:8443 --token-file -";

/// Sign in.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Login {
    /// Address of the API
    #[arg(id = "address", value_name = "URL")]
    address: Url,
    /// Name of the context; the address's host unless given
    #[arg(long)]
    name: Option<String>,
    /// File with the operator's one-time token: makes the first administrator of a new installation
    #[arg(long)]
    bootstrap_token_file: Option<PathBuf>,
    /// With a bootstrap token: name of the administrator
    #[arg(long, default_value = "admin")]
    username: String,
    /// With a bootstrap token: the administrator's address
    #[arg(long, default_value = "admin@example.org")]
    email: String,
    /// With a bootstrap token: short code of the organization
    #[arg(long, default_value = "default")]
    organization_code: String,
    /// With a bootstrap token: name of the organization
    #[arg(long, default_value = "Default organization")]
    organization_name: String,
}

pub(crate) async fn run(login: Login, global: &Global) -> Result<ExitCode, CliError> {
    let token = match (&login.bootstrap_token_file, &global.token_file) {
        (Some(path), _) => bootstrap(&login, global, path).await?,
        (None, Some(path)) => files::read_secret(path)?,
        (None, None) => {
            let advice = "give --token-file or --bootstrap-token-file (`-` reads standard input)";
            return Err(CliError::Usage(advice.to_owned()));
        }
    };
    // Stored before it is tried: the key of a bootstrap is shown only once.
    remember(&login, global, &token)?;
    let client =
        Client::new(login.address.clone(), global.ca_file.as_deref(), Some(token), global.organization)?;
    let me: Me = client.get("/api/v1/me").await?.body;
    print_me(&me, global.output);
    Ok(ExitCode::Done)
}

pub(crate) async fn me(session: &Session) -> Result<ExitCode, CliError> {
    let me: Me = session.client.get("/api/v1/me").await?.body;
    print_me(&me, session.output);
    Ok(ExitCode::Done)
}

fn print_me(me: &Me, form: crate::arguments::Output) {
    let fields = vec![
        ("user", output::maybe(me.username.as_ref())),
        ("user id", output::maybe(me.user_id.as_ref())),
        ("organization", me.organization_id.to_string()),
        ("api key", output::maybe(me.api_key_id.as_ref())),
        ("permissions", me.permissions.join(" ")),
    ];
    output::object(form, me, fields);
}

async fn bootstrap(login: &Login, global: &Global, token_file: &std::path::Path) -> Result<String, CliError> {
    let client = Client::new(login.address.clone(), global.ca_file.as_deref(), None, None)?;
    let request = BootstrapRequest {
        token: files::read_secret(token_file)?,
        username: login.username.clone(),
        email: login.email.clone(),
        display_name: None,
        organization_code: login.organization_code.clone(),
        organization_name: login.organization_name.clone(),
    };
    let made: Bootstrapped = client.post("/api/v1/bootstrap", &request, None).await?.body;
    Ok(made.api_key)
}

fn remember(login: &Login, global: &Global, token: &str) -> Result<(), CliError> {
    let name = login
        .name
        .clone()
        .or_else(|| login.address.host_str().map(str::to_owned))
        .ok_or_else(|| CliError::Usage("the address has no host".to_owned()))?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        let advice = "a context's name holds letters, digits, `.`, `-` and `_` only; use --name";
        return Err(CliError::Usage(advice.to_owned()));
    }
    let directory = contexts::directory()?;
    files::create_private_directory(&directory)?;
    let token_file = directory.join(format!("{name}.token"));
    files::write_secret(&token_file, token.as_bytes())?;
    let mut stored = Contexts::load(&directory)?;
    let context = Context {
        url: login.address.clone(),
        ca_file: global.ca_file.as_deref().map(absolute).transpose()?,
        token_file,
        organization: global.organization,
    };
    stored.contexts.insert(name.clone(), context);
    stored.current = Some(name);
    stored.save(&directory)
}

fn absolute(path: &std::path::Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::File {
        action: "find",
        path: path.to_owned(),
        source,
    })
}
