//! `clm session`: where one is signed in.

use clap::Subcommand;
use clm_api::me::Me;
use clm_api::sessions::{SessionQuery, SessionsEnd, SessionsEnded};
use clm_types::UserId;
use serde_json::json;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List open sessions, newest first
    #[command(after_help = "Example:\n  clm session list")]
    List {
        /// Of this user, instead of your own
        #[arg(long)]
        user: Option<UserId>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// End sessions at once
    #[command(
        after_help = "Examples:\n  clm session end 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45\n  clm session end --all    all but this one"
    )]
    End {
        /// The session
        #[arg(required_unless_present = "all")]
        id: Option<Uuid>,
        /// All sessions; of your own all but the one in use
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// With --all: of this user, instead of your own
        #[arg(long, requires = "all")]
        user: Option<UserId>,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List { user, page } => list(user, &page, session).await?,
        Command::End { id: Some(id), .. } => end(id, session).await?,
        Command::End { user, .. } => {
            let body = SessionsEnd { user_id: user };
            let path = "/api/v1/sessions/revoke";
            let ended: SessionsEnded = session.client.call(reqwest::Method::POST, path, Some(&body)).await?;
            output::object(session.output, &ended, vec![("ended", ended.ended.to_string())]);
        }
    }
    Ok(ExitCode::Done)
}

/// Ends the session in use and forgets its token.
pub(crate) async fn logout(session: &Session) -> Result<ExitCode, CliError> {
    let me: Me = session.client.get("/api/v1/me").await?.body;
    let Some(id) = me.session_id else {
        let advice =
            "you use an API key, not a session: `clm context remove` forgets it, `clm key revoke` ends it";
        return Err(CliError::Usage(advice.to_owned()));
    };
    end(id.into(), session).await?;
    session.forget_token()?;
    Ok(ExitCode::Done)
}

async fn end(id: Uuid, session: &Session) -> Result<(), CliError> {
    let path = format!("/api/v1/sessions/{id}/revoke");
    session.client.call::<_, ()>(reqwest::Method::POST, &path, Some(&json!({}))).await
}

async fn list(user: Option<UserId>, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let query = SessionQuery { user_id: user, ..SessionQuery::default() };
    let page = session.client.list("/api/v1/sessions", &query, page).await?;
    let headers = ["", "ID", "OPENED", "LAST SEEN", "ENDS", "FACTOR", "ADDRESS", "PROGRAM"];
    output::list(session.output, &page, &headers, |one: &clm_api::sessions::Session| {
        vec![
            if one.current { "*" } else { "" }.to_owned(),
            one.id.to_string(),
            output::time(one.created_at),
            output::time(one.last_seen_at),
            output::time(one.expires_at),
            output::maybe_time(one.factor_at),
            output::maybe(one.address.as_ref()),
            output::maybe(one.user_agent.as_ref()),
        ]
    });
    Ok(())
}
