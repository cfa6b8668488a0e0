//! `clm member`: who belongs to your organization; `clm membership`: where you belong.

use clap::Subcommand;
use clm_api::memberships::{Invitation, Membership, Memberships};
use serde_json::json;
use uuid::Uuid;

use crate::arguments::Output;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// Invite a user of the installation; they join with `clm membership accept`
    #[command(after_help = "Example:\n  clm member invite ann")]
    Invite {
        /// Name that the user signs in with
        username: String,
    },
    /// Keep a member out of your organization for a while
    #[command(after_help = "Example:\n  clm member suspend 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Suspend {
        /// The user
        id: Uuid,
    },
    /// Let a suspended member in again
    #[command(after_help = "Example:\n  clm member resume 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Resume {
        /// The user
        id: Uuid,
    },
    /// End a membership: roles and API keys in your organization end at once
    #[command(after_help = "Example:\n  clm member remove 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Remove {
        /// The user
        id: Uuid,
    },
}

#[derive(Subcommand)]
pub(crate) enum MembershipCommand {
    /// List where you belong, and where you are invited
    #[command(after_help = "Example:\n  clm membership list")]
    List,
    /// Join an organization that has invited you
    #[command(after_help = "Example:\n  clm membership accept 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Accept {
        /// The organization
        id: Uuid,
    },
    /// Leave an organization, or turn its invitation down
    #[command(after_help = "Example:\n  clm membership leave 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Leave {
        /// The organization
        id: Uuid,
    },
    /// Work in this organization unless another is named
    #[command(after_help = "Example:\n  clm membership prefer 0199f0c5-9f7b-7236-8804-51adbc2f3067")]
    Prefer {
        /// The organization
        id: Uuid,
    },
}

pub(crate) async fn run_member(command: MemberCommand, session: &Session) -> Result<ExitCode, CliError> {
    let (id, action) = match command {
        MemberCommand::Invite { username } => {
            session.client.post_for_nothing("/api/v1/members", &Invitation { username }).await?;
            eprintln!("invited, if there is such a user");
            return Ok(ExitCode::Done);
        }
        MemberCommand::Suspend { id } => (id, "suspend"),
        MemberCommand::Resume { id } => (id, "resume"),
        MemberCommand::Remove { id } => (id, "remove"),
    };
    session.client.post_for_nothing(&format!("/api/v1/members/{id}/{action}"), &json!({})).await?;
    Ok(ExitCode::Done)
}

pub(crate) async fn run_membership(
    command: MembershipCommand,
    session: &Session,
) -> Result<ExitCode, CliError> {
    let (id, action) = match command {
        MembershipCommand::List => {
            list(session).await?;
            return Ok(ExitCode::Done);
        }
        MembershipCommand::Accept { id } => (id, "accept"),
        MembershipCommand::Leave { id } => (id, "leave"),
        MembershipCommand::Prefer { id } => (id, "prefer"),
    };
    session.client.post_for_nothing(&format!("/api/v1/me/memberships/{id}/{action}"), &json!({})).await?;
    Ok(ExitCode::Done)
}

async fn list(session: &Session) -> Result<(), CliError> {
    let found: Memberships = session.client.get("/api/v1/me/memberships").await?.body;
    if session.output == Output::Json {
        output::json(&found);
        return Ok(());
    }
    let row = |one: &Membership| {
        vec![
            if one.is_primary { "*" } else { "" }.to_owned(),
            one.organization_id.to_string(),
            one.code.clone(),
            one.status.clone(),
            output::maybe_time(one.joined_at),
            one.name.clone(),
        ]
    };
    output::table(&["", "ORGANIZATION", "CODE", "STATUS", "JOINED", "NAME"], found.items.iter().map(row));
    Ok(())
}
