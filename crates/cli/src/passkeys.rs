//! `clm passkey`: the passkeys of whoever is signed in. Browsers make and use them.

use clap::Subcommand;
use clm_api::Page;
use clm_api::passkeys::Passkey;
use clm_types::PasskeyId;
use reqwest::Method;

use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List your passkeys, newest first
    #[command(after_help = "Example:\n  clm passkey list")]
    List,
    /// Remove one of your passkeys
    #[command(after_help = "Example:\n  clm passkey remove 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Remove {
        /// The passkey
        id: PasskeyId,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List => {
            let found: Page<Passkey> = session.client.get("/api/v1/me/passkeys").await?.body;
            let headers = ["ID", "NAME", "MADE", "LAST USED", "COPIED"];
            output::list(session.output, &found, &headers, row);
        }
        Command::Remove { id } => {
            let path = format!("/api/v1/me/passkeys/{id}");
            session.client.call::<(), ()>(Method::DELETE, &path, None).await?;
        }
    }
    Ok(ExitCode::Done)
}

fn row(one: &Passkey) -> Vec<String> {
    vec![
        one.id.to_string(),
        one.name.clone(),
        output::time(one.created_at),
        output::maybe_time(one.last_used_at),
        if one.backed_up { "yes" } else { "no" }.to_owned(),
    ]
}
