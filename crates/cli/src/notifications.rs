//! `clm notification`.

use clap::Subcommand;
use clm_api::notifications::{Notification, NotificationQuery};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List your notifications
    #[command(after_help = "Example:\n  clm notification list --unread")]
    List {
        /// Only those that you have not read
        #[arg(long)]
        unread: bool,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Mark a notification as read
    #[command(after_help = "Example:\n  clm notification read 0199f0ca-e4c0-778b-bd59-a6f2017485bc")]
    Read {
        /// The notification
        id: Uuid,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List { unread, page } => list(unread, &page, session).await?,
        Command::Read { id } => {
            let path = format!("/api/v1/notifications/{id}/read");
            session.client.post_for_nothing(&path, &serde_json::json!({})).await?;
        }
    }
    Ok(ExitCode::Done)
}

async fn list(unread: bool, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let query = NotificationQuery { unread, ..NotificationQuery::default() };
    let page = session.client.list("/api/v1/notifications", &query, page).await?;
    let headers = ["ID", "TIME", "PRIORITY", "TITLE", "CERTIFICATE", "READ"];
    output::list(session.output, &page, &headers, |one: &Notification| {
        vec![
            one.id.to_string(),
            output::time(one.created_at),
            one.priority.clone(),
            one.title.clone(),
            output::maybe(one.certificate_id.as_ref()),
            output::maybe_time(one.read_at),
        ]
    });
    Ok(())
}
