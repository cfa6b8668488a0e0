//! `clm password`: changing it, and setting the first one by a one-time link.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clm_api::password_resets::NewPasswordReset;
use clm_api::sessions::{LinkUse, PasswordChange};
use serde_json::Value;
use url::Url;

use crate::arguments::Global;
use crate::client::Client;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, secrets};

const ASKED: &str = "wait for a message; if none comes, do it again";
const LOST: &str = "sign in with the new password; if that fails, do it again";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Change your password, or set the first one; your other sessions end
    #[command(
        after_help = "Examples:\n  clm password change\n  clm password change --current-password-file old --new-password-file new"
    )]
    Change {
        /// File with the present password (`-` for standard input); asked for unless given
        #[arg(long)]
        current_password_file: Option<PathBuf>,
        /// There is no present password
        #[arg(long, conflicts_with = "current_password_file")]
        first: bool,
        /// File with the new password; asked for unless given
        #[arg(long)]
        new_password_file: Option<PathBuf>,
    },
    /// Set a password by a one-time link: an invitation, or a reset
    Set(Set),
    /// Have a link for a new password sent to your address
    Forgot(Forgot),
}

/// A forgotten password.
#[derive(Args)]
#[command(after_help = "Example:\n  clm password forgot https://clm.example.com:8443 --username ann")]
pub(crate) struct Forgot {
    /// Address of the API
    #[arg(id = "address", value_name = "URL")]
    address: Url,
    /// Name that you sign in with
    #[arg(long, required_unless_present = "email", conflicts_with = "email")]
    username: Option<String>,
    /// Address on record
    #[arg(long)]
    email: Option<String>,
}

/// The use of a one-time link.
#[derive(Args)]
#[command(after_help = "Example:\n  clm password set https://clm.example.com:8443 --link-file link.txt")]
pub(crate) struct Set {
    /// Address of the API
    #[arg(id = "address", value_name = "URL")]
    address: Url,
    /// File with the link (`-` for standard input)
    #[arg(long)]
    link_file: PathBuf,
    /// File with the new password; asked for unless given
    #[arg(long)]
    new_password_file: Option<PathBuf>,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    if let Command::Change { current_password_file, first, new_password_file } = command {
        let current = || {
            secrets::ask(current_password_file.as_deref(), "Present password: ", "--current-password-file")
        };
        let body = PasswordChange {
            current_password: if first { None } else { Some(current()?) },
            password: secrets::ask_new(
                new_password_file.as_deref(),
                "New password: ",
                "--new-password-file",
            )?,
        };
        let _: Value = session.client.post_once("/api/v1/me/password", &body, LOST).await?;
    }
    Ok(ExitCode::Done)
}

/// Needs no session.
pub(crate) async fn forgot(forgot: Forgot, global: &Global) -> Result<ExitCode, CliError> {
    let body = NewPasswordReset { username: forgot.username, email: forgot.email };
    let client = Client::new(forgot.address, global.ca_file.as_deref(), None, None)?;
    let _: Value = client.post_once("/api/v1/password-resets", &body, ASKED).await?;
    eprintln!("if there is such a user, and e-mail suffices for them, a message is on its way");
    Ok(ExitCode::Done)
}

/// Needs no session.
pub(crate) async fn set(set: Set, global: &Global) -> Result<ExitCode, CliError> {
    let body = LinkUse {
        token: files::read_secret(&set.link_file)?,
        password: secrets::ask_new(
            set.new_password_file.as_deref(),
            "New password: ",
            "--new-password-file",
        )?,
    };
    let client = Client::new(set.address, global.ca_file.as_deref(), None, None)?;
    let _: Value = client.post_once("/api/v1/links/use", &body, LOST).await?;
    eprintln!("the password is set; now: clm login URL --username NAME");
    Ok(ExitCode::Done)
}
