//! `clm identity`: OpenID providers that vouch for whoever is signed in.

use clap::Subcommand;
use clm_api::Page;
use clm_api::identity_providers::ExternalIdentity;
use clm_types::ExternalIdentityId;
use reqwest::Method;

use crate::browser;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

/// What to do when it is not known whether a link was made.
const LOST_LINK: &str = "look whether it is there: clm identity list";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Let a provider sign you in, from now on
    #[command(after_help = "Example:\n  clm identity link corp")]
    Link {
        /// What the provider is called here
        provider: String,
    },
    /// List the providers that sign you in
    #[command(after_help = "Example:\n  clm identity list")]
    List,
    /// Let a provider sign you in no longer; sessions that it opened end
    #[command(after_help = "Example:\n  clm identity remove 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Remove {
        /// The link
        id: ExternalIdentityId,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Link { provider } => {
            let back =
                browser::visit(&session.client, "/api/v1/me/identities/start", &provider, true).await?;
            let made: ExternalIdentity =
                session.client.post_once("/api/v1/me/identities", &back, LOST_LINK).await?;
            output::object(session.output, &made, fields(&made));
        }
        Command::List => {
            let found: Page<ExternalIdentity> = session.client.get("/api/v1/me/identities").await?.body;
            let headers = ["ID", "PROVIDER", "SUBJECT", "LINKED", "LAST USED"];
            output::list(session.output, &found, &headers, |one| {
                fields(one).into_iter().map(|(_, value)| value).collect()
            });
        }
        Command::Remove { id } => {
            let path = format!("/api/v1/me/identities/{id}");
            session.client.call::<(), ()>(Method::DELETE, &path, None).await?;
        }
    }
    Ok(ExitCode::Done)
}

fn fields(one: &ExternalIdentity) -> Vec<(&'static str, String)> {
    vec![
        ("id", one.id.to_string()),
        ("provider", one.provider.clone()),
        ("subject", one.subject.clone()),
        ("linked", output::time(one.created_at)),
        ("last used", output::maybe_time(one.last_used_at)),
    ]
}
