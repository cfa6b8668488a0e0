//! `clm user`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use clm_api::sessions::{NewLink, OneTimeLink};
use clm_api::users::{NewUser, User, UserChange};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List users
    #[command(after_help = "Example:\n  clm user list")]
    List(PageArguments),
    /// Show a user
    #[command(after_help = "Example:\n  clm user show 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Show {
        /// The user
        id: Uuid,
    },
    /// Make a user, without roles
    #[command(
        after_help = "Example:\n  clm user create ann --email ann@example.com --display-name 'Ann Example'"
    )]
    Create {
        /// Name to sign in with
        username: String,
        /// Address for notifications
        #[arg(long)]
        email: String,
        /// Name to show
        #[arg(long)]
        display_name: Option<String>,
        /// The user is to set a password first, by a link from `clm user link`
        #[arg(long)]
        invite: bool,
        /// Send the link to the user's address at once
        #[arg(long, requires = "invite")]
        send: bool,
    },
    /// Make a one-time link by which a user sets a password: an invitation, or a reset
    #[command(
        after_help = "Examples:\n  clm user link 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 --link-file link.txt\n  clm user link 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 --send"
    )]
    Link {
        /// The user
        id: Uuid,
        /// Where the link goes; give it to the user over a way that nobody else reads
        #[arg(long, required_unless_present = "send", conflicts_with = "send")]
        link_file: Option<PathBuf>,
        /// Send it to the user's address instead
        #[arg(long)]
        send: bool,
    },
    /// End the lock of a user after too many failed sign-ins
    #[command(after_help = "Example:\n  clm user unlock 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Unlock {
        /// The user
        id: Uuid,
    },
    /// Take the second factor from a user who has lost it
    #[command(after_help = "Example:\n  clm user remove-factors 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    RemoveFactors {
        /// The user
        id: Uuid,
    },
    /// Delete a user: sessions, API keys and roles end at once
    #[command(after_help = "Example:\n  clm user delete 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Delete {
        /// The user
        id: Uuid,
    },
    /// Change name and address of a user; what is not given stays
    #[command(
        after_help = "Example:\n  clm user update 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 --email ann.example@example.com"
    )]
    Update {
        /// The user
        id: Uuid,
        /// Address for notifications
        #[arg(long)]
        email: Option<String>,
        /// Name to show
        #[arg(long)]
        display_name: Option<String>,
    },
    /// Disable a user: its API keys end at once
    #[command(after_help = "Example:\n  clm user disable 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Disable {
        /// The user
        id: Uuid,
    },
    /// Let a disabled user in again
    #[command(after_help = "Example:\n  clm user enable 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Enable {
        /// The user
        id: Uuid,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { id } => {
            print(&session.client.get(&format!("/api/v1/users/{id}")).await?.body, session);
        }
        Command::Create { username, email, display_name, invite, send } => {
            let body = NewUser { username, email, display_name, invited: invite };
            let made: User = session.client.post("/api/v1/users", &body, None).await?.body;
            print(&made, session);
            if send {
                send_invitation(&made, session).await?;
            }
        }
        Command::Update { id, email, display_name } => {
            let change = |old: User| UserChange {
                email: email.unwrap_or(old.email),
                display_name: display_name.unwrap_or(old.display_name),
            };
            let path = format!("/api/v1/users/{id}");
            print(&session.client.edit(Method::PUT, &path, change).await?, session);
        }
        Command::Link { id, link_file, .. } => link(id, link_file.as_deref(), session).await?,
        Command::Unlock { id } => act(id, "unlock", session).await?,
        Command::RemoveFactors { id } => {
            let path = format!("/api/v1/users/{id}/factors");
            session.client.call::<(), ()>(Method::DELETE, &path, None).await?;
        }
        Command::Delete { id } => {
            let path = format!("/api/v1/users/{id}");
            let etag = session.client.etag(&path).await?;
            session.client.change::<_, ()>(Method::DELETE, &path, &etag, &json!({})).await?;
        }
        Command::Enable { id } => act(id, "enable", session).await?,
        Command::Disable { id } => act(id, "disable", session).await?,
    }
    Ok(ExitCode::Done)
}

async fn act(id: Uuid, what: &str, session: &Session) -> Result<(), CliError> {
    let path = format!("/api/v1/users/{id}/{what}");
    print(&session.client.post(&path, &json!({}), None).await?.body, session);
    Ok(())
}

async fn send_invitation(made: &User, session: &Session) -> Result<(), CliError> {
    let sent = make_link(made.id.into(), true, session).await;
    sent.inspect_err(|_| {
        let id = made.id;
        eprintln!("the user was made, but no invitation was sent; to send one: clm user link {id} --send");
    })?;
    eprintln!("the invitation is on its way to {}", made.email);
    Ok(())
}

/// Without a file it is sent.
async fn link(id: Uuid, link_file: Option<&Path>, session: &Session) -> Result<(), CliError> {
    link_file.map(files::check_secret_file).transpose()?;
    let made = make_link(id, link_file.is_none(), session).await?;
    if let (Some(path), Some(token)) = (link_file, &made.token) {
        files::write_secret(path, token.as_bytes())?;
    }
    let place = link_file.map_or_else(|| "sent".to_owned(), |path| path.display().to_string());
    let fields = vec![
        ("purpose", made.purpose.clone()),
        ("ends", output::time(made.expires_at)),
        (if link_file.is_some() { "file" } else { "link" }, place),
    ];
    let shown = json!({"purpose": made.purpose, "expires_at": made.expires_at, "file": link_file});
    output::object(session.output, &shown, fields);
    Ok(())
}

async fn make_link(id: Uuid, send: bool, session: &Session) -> Result<OneTimeLink, CliError> {
    let path = format!("/api/v1/users/{id}/links");
    Ok(session.client.post(&path, &NewLink { send }, None).await?.body)
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/users", &(), page).await?;
    output::list(session.output, &page, &["ID", "USERNAME", "STATUS", "EMAIL", "NAME"], |one: &User| {
        vec![
            one.id.to_string(),
            one.username.clone(),
            one.status.clone(),
            one.email.clone(),
            one.display_name.clone(),
        ]
    });
    Ok(())
}

fn print(one: &User, session: &Session) {
    let fields = vec![
        ("user", one.id.to_string()),
        ("username", one.username.clone()),
        ("name", one.display_name.clone()),
        ("email", one.email.clone()),
        ("status", one.status.clone()),
        ("second factor", if one.mfa_enabled { "set up" } else { "none" }.to_owned()),
        ("locked until", output::maybe_time(one.locked_until)),
        ("created", output::time(one.created_at)),
        ("last login", output::maybe_time(one.last_login_at)),
    ];
    output::object(session.output, one, fields);
}
