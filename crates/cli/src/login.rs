//! Signing in, and who one is.

use std::path::{Path, PathBuf};

use clap::Args;
use clm_api::bootstrap::{BootstrapRequest, Bootstrapped};
use clm_api::me::Me;
use clm_api::sessions::{NewSession, NewToken, SignedIn};
use clm_api::workload_rules::{ExchangedToken, GRANT_TYPE, SUBJECT_TOKEN_TYPES, TokenExchange};
use clm_types::WorkloadRuleId;
use url::Url;

use crate::arguments::Global;
use crate::browser;
use crate::client::Client;
use crate::contexts::{self, Context, Contexts};
use crate::error::{CliError, ExitCode};
use crate::factors::{Code, LOST_TOKEN};
use crate::session::Session;
use crate::{files, output, secrets};

const EXAMPLES: &str = "\
Examples:
  clm login https://clm.example.com:8443 --username ann                  asks for password and code
  clm login https://clm.example.com:8443 --provider corp                 in a browser
  clm login https://clm.example.com:8443 --token-file key.txt            with an API key
  clm login https://localhost:8443 --ca-file ca.pem --bootstrap-token-file token   first of all
  some-vault read key | clm login https://clm.example.com:8443 --token-file -

In a job of GitHub Actions (permissions: id-token: write):
  curl -sSfH \"Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN\" \\
      \"$ACTIONS_ID_TOKEN_REQUEST_URL&audience=https://clm.example.com\" | jq -r .value > token
  clm login https://clm.example.com --workload-token-file token \\
      --workload-rule 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58
In a job of GitLab CI (id_tokens: CLM_TOKEN: aud: https://clm.example.com):
  printenv CLM_TOKEN | clm login https://clm.example.com --workload-token-file - \\
      --workload-rule 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58
In a pod of Kubernetes (volumes: projected: serviceAccountToken: audience: https://clm.example.com):
  clm login https://clm.example.com --workload-token-file /var/run/secrets/clm/token \\
      --workload-rule 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58";

/// The token is good once, so that a repeat would be refused whether or not the first call was served.
const LOST_KEY: &str = "if the token is refused as used now, the administrator exists: let an operator run \
`clm-core administrator-key`";

/// Sign in.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Login {
    /// Address of the API
    #[arg(id = "address", value_name = "URL")]
    address: Url,
    /// Name of the context; the address's host and port unless given
    #[arg(long)]
    name: Option<String>,
    /// File with the operator's one-time token: makes the first administrator of a new installation
    #[arg(long)]
    bootstrap_token_file: Option<PathBuf>,
    /// Sign in with this name and a password; with a bootstrap token: name of the administrator (admin)
    #[arg(long)]
    username: Option<String>,
    /// With --username: file with the password (`-` for standard input); asked for unless given
    #[arg(long, conflicts_with = "bootstrap_token_file")]
    password_file: Option<PathBuf>,
    /// Sign in by this OpenID provider, in a browser on this machine
    #[arg(long, conflicts_with_all = ["username", "bootstrap_token_file"])]
    provider: Option<String>,
    /// With --provider: show there anew who you are, for what asks for a fresh second factor
    #[arg(long, requires = "provider")]
    fresh: bool,
    /// File with the token of a CI job or a Kubernetes pod (`-` for standard input): gets a key for a short time
    #[arg(long, requires = "workload_rule", conflicts_with_all = ["username", "bootstrap_token_file", "provider"])]
    workload_token_file: Option<PathBuf>,
    /// With --workload-token-file: the rule that takes the token
    #[arg(long, requires = "workload_token_file", value_name = "RULE")]
    workload_rule: Option<WorkloadRuleId>,
    #[command(flatten)]
    code: Code,
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
    // The key of a bootstrap is shown once: whatever may hinder keeping it must come up before it exists.
    let place = Place::prepare(&login, global)?;
    let token = if let (Some(path), Some(rule)) = (&login.workload_token_file, login.workload_rule) {
        exchange(path, rule, &login, global).await?
    } else {
        credentials(&login, global).await?
    };
    // Stored before it is tried, for the same reason.
    place.keep(&token)?;
    let client =
        Client::new(login.address.clone(), global.ca_file.as_deref(), Some(token), global.organization)?;
    let me: Me = client.get("/api/v1/me").await?.body;
    print_me(&me, global.output);
    Ok(ExitCode::Done)
}

/// What one signs in with, for a person or with a key that is there.
async fn credentials(login: &Login, global: &Global) -> Result<String, CliError> {
    match (&login.bootstrap_token_file, &login.username, &login.provider, &global.token_file) {
        (Some(path), ..) => bootstrap(login, global, path).await,
        (None, Some(username), ..) => sign_in(username, login, global).await,
        (None, None, Some(provider), _) => visit(provider, login, global).await,
        (None, None, None, Some(path)) => files::read_secret(path),
        (None, None, None, None) => {
            let advice = "give --username, --provider, --token-file, --workload-token-file or --bootstrap-token-file (`-` reads standard input)";
            Err(CliError::Usage(advice.to_owned()))
        }
    }
}

/// Exchanges a workload's token for a key.
async fn exchange(
    path: &Path,
    rule: WorkloadRuleId,
    login: &Login,
    global: &Global,
) -> Result<String, CliError> {
    let client = Client::new(login.address.clone(), global.ca_file.as_deref(), None, None)?;
    let [kind, _] = SUBJECT_TOKEN_TYPES;
    let form = TokenExchange {
        grant_type: GRANT_TYPE.to_owned(),
        subject_token: files::read_secret(path)?,
        subject_token_type: kind.to_owned(),
        workload_rule: rule,
    };
    let given: ExchangedToken = client.post_form("/api/v1/token", &form).await?;
    Ok(given.access_token)
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
        ("session", output::maybe(me.session_id.as_ref())),
        ("factor shown", output::maybe_time(me.factor_at)),
        ("missing factor", output::maybe(me.missing_factor.as_ref())),
        ("permissions", me.permissions.join(" ")),
    ];
    output::object(form, me, fields);
}

async fn bootstrap(login: &Login, global: &Global, token_file: &Path) -> Result<String, CliError> {
    let client = Client::new(login.address.clone(), global.ca_file.as_deref(), None, None)?;
    let request = BootstrapRequest {
        token: files::read_secret(token_file)?,
        username: login.username.clone().unwrap_or_else(|| "admin".to_owned()),
        email: login.email.clone(),
        display_name: None,
        organization_code: login.organization_code.clone(),
        organization_name: login.organization_name.clone(),
    };
    let made: Bootstrapped = client.post_once("/api/v1/bootstrap", &request, LOST_KEY).await?;
    Ok(made.api_key)
}

/// Opens a session by an OpenID provider.
async fn visit(provider: &str, login: &Login, global: &Global) -> Result<String, CliError> {
    let client =
        |token| Client::new(login.address.clone(), global.ca_file.as_deref(), token, global.organization);
    let back = browser::visit(&client(None)?, "/api/v1/sessions/oidc/start", provider, login.fresh).await?;
    let opened: SignedIn = client(None)?.post_once("/api/v1/sessions/oidc", &back, LOST_TOKEN).await?;
    complete(opened, login, client).await
}

/// Opens a session, and shows the second factor where there is one.
async fn sign_in(username: &str, login: &Login, global: &Global) -> Result<String, CliError> {
    let password = secrets::ask(login.password_file.as_deref(), "Password: ", "--password-file")?;
    let client =
        |token| Client::new(login.address.clone(), global.ca_file.as_deref(), token, global.organization);
    let opened: SignedIn = client(None)?
        .post_once("/api/v1/sessions", &NewSession { username: username.to_owned(), password }, LOST_TOKEN)
        .await?;
    complete(opened, login, client).await
}

/// Shows the second factor, if it is missing: the token of the session.
async fn complete(
    opened: SignedIn,
    login: &Login,
    client: impl Fn(Option<String>) -> Result<Client, CliError>,
) -> Result<String, CliError> {
    match opened.missing_factor.as_deref() {
        Some("code") => {
            let shown = login.code.read()?;
            let path = "/api/v1/sessions/current/factor";
            let new: NewToken = client(Some(opened.token))?.post_once(path, &shown, LOST_TOKEN).await?;
            Ok(new.token)
        }
        Some(_) => {
            eprintln!("you need a second factor before anything else; now: clm factor totp");
            Ok(opened.token)
        }
        None => Ok(opened.token),
    }
}

/// Where a context and its API key will be kept.
struct Place {
    directory: PathBuf,
    stored: Contexts,
    name: String,
    context: Context,
}

impl Place {
    /// Finds the place, and that it can be written to.
    fn prepare(login: &Login, global: &Global) -> Result<Self, CliError> {
        let name = match &login.name {
            Some(name) => name.clone(),
            None => default_name(&login.address)?,
        };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c)) || name.is_empty() {
            let advice = "a context's name holds letters, digits and `.-_:[]` only; use --name";
            return Err(CliError::Usage(advice.to_owned()));
        }
        let directory = contexts::directory()?;
        files::create_private_directory(&directory)?;
        let stored = Contexts::load(&directory)?;
        if login.name.is_none() {
            check_same_address(&stored, &name, &login.address)?;
        }
        let token_file = directory.join(format!("{name}.token"));
        files::check_writable(&token_file)?;
        files::check_writable(&directory.join(contexts::FILE))?;
        let context = Context {
            url: login.address.clone(),
            ca_file: global.ca_file.as_deref().map(absolute).transpose()?,
            token_file,
            organization: global.organization,
        };
        Ok(Self { directory, stored, name, context })
    }

    /// Writes the key and the context, which becomes the current one.
    fn keep(mut self, token: &str) -> Result<(), CliError> {
        files::write_secret(&self.context.token_file, token.as_bytes())?;
        self.stored.contexts.insert(self.name.clone(), self.context);
        self.stored.current = Some(self.name);
        self.stored.save(&self.directory)
    }
}

/// The address's host, with the port unless it is that of HTTPS: two installations on one host are two contexts.
fn default_name(address: &Url) -> Result<String, CliError> {
    let host = address.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| CliError::Usage("the address has no host".to_owned()))?;
    Ok(match address.port_or_known_default() {
        Some(443) | None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    })
}

/// Another installation's key is not given up unless the user names its context.
fn check_same_address(stored: &Contexts, name: &str, address: &Url) -> Result<(), CliError> {
    match stored.contexts.get(name) {
        Some(known) if known.url != *address => Err(CliError::Usage(format!(
            "the context `{name}` is of {}; choose another name with --name, or replace it with --name {name}",
            known.url
        ))),
        _ => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::File {
        action: "find",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn name_of(address: &str) -> String {
        default_name(&address.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_installation_of_a_host_has_a_name_of_its_own() {
        assert_eq!(name_of("https://clm.example.com"), "clm.example.com");
        assert_eq!(name_of("https://clm.example.com:443/"), "clm.example.com");
        assert_eq!(name_of("https://localhost:8443"), "localhost:8443");
        assert_eq!(name_of("https://[::1]:8443"), "[::1]:8443");
        assert!(default_name(&"data:text".parse().unwrap()).is_err());
    }

    #[test]
    fn a_context_of_another_address_is_not_overwritten_unasked() {
        let known = Context {
            url: "https://localhost:8443".parse().unwrap(),
            ca_file: None,
            token_file: "/token".into(),
            organization: None,
        };
        let stored = Contexts { current: None, contexts: BTreeMap::from([("test".to_owned(), known)]) };
        let check = |name, address: &str| check_same_address(&stored, name, &address.parse().unwrap());
        assert!(check("test", "https://localhost:8443/").is_ok());
        assert!(check("other", "https://localhost:9443").is_ok());
        assert!(matches!(check("test", "https://localhost:9443"), Err(CliError::Usage(_))));
    }
}
