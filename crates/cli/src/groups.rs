//! `clm group`.

use clap::{Args, Subcommand};
use clm_api::groups::{Group, GroupDraft, GroupMember, GroupMembers, GroupRole, GroupRoleChoice, GroupRoles};
use clm_types::UserId;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::arguments::{Output, PageArguments};
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the groups of your organization
    #[command(after_help = "Example:\n  clm group list")]
    List(PageArguments),
    /// Show a group
    #[command(after_help = "Example:\n  clm group show 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58")]
    Show {
        /// The group
        id: Uuid,
    },
    /// Make a group, without members and roles
    #[command(after_help = "Example:\n  clm group create 'Web team'")]
    Create {
        /// Name to show, unique in your organization
        display_name: String,
        /// What your identity provider calls it
        #[arg(long)]
        external_id: Option<String>,
    },
    /// Call a group otherwise
    #[command(
        after_help = "Example:\n  clm group rename 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 'Web operations'"
    )]
    Rename {
        /// The group
        id: Uuid,
        /// Name to show
        display_name: String,
    },
    /// Delete a group: what its members hold by it alone ends at once
    #[command(after_help = "Example:\n  clm group delete 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58")]
    Delete {
        /// The group
        id: Uuid,
    },
    /// List the members of a group
    #[command(after_help = "Example:\n  clm group members 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 --all")]
    Members {
        /// The group
        id: Uuid,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Let users of your organization join a group
    #[command(
        after_help = "Example:\n  clm group add 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45"
    )]
    Add(Who),
    /// Take users out of a group: what they hold by it alone ends at once
    #[command(
        after_help = "Example:\n  clm group remove 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45"
    )]
    Remove(Who),
    /// List the roles that a group gives its members
    #[command(after_help = "Example:\n  clm group roles 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58")]
    Roles {
        /// The group
        id: Uuid,
    },
    /// Give a role to all members of a group, those of later too
    #[command(
        after_help = "Example:\n  clm group give 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 01900000-0000-7000-8000-000000000002"
    )]
    Give(Which),
    /// Take a role from a group, and from all who hold it by the group alone
    #[command(
        after_help = "Example:\n  clm group take 0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58 01900000-0000-7000-8000-000000000002"
    )]
    Take(Which),
}

/// Users of a group.
#[derive(Args)]
pub(crate) struct Who {
    /// The group
    id: Uuid,
    /// Users
    #[arg(required = true, value_name = "USER")]
    users: Vec<Uuid>,
}

/// A role of a group.
#[derive(Args)]
pub(crate) struct Which {
    /// The group
    id: Uuid,
    /// The role
    role: Uuid,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { id } => print(&session.client.get(&address(id)).await?.body, session),
        Command::Create { display_name, external_id } => {
            let body = GroupDraft { display_name, external_id };
            print(&session.client.post("/api/v1/groups", &body, None).await?.body, session);
        }
        Command::Rename { id, display_name } => {
            let change = |old: Group| GroupDraft { display_name, external_id: old.external_id };
            print(&session.client.edit(Method::PUT, &address(id), change).await?, session);
        }
        Command::Delete { id } => {
            let etag = session.client.etag(&address(id)).await?;
            session.client.change::<_, ()>(Method::DELETE, &address(id), &etag, &json!({})).await?;
        }
        Command::Members { id, page } => members(id, &page, session).await?,
        Command::Add(who) => move_users(who, "members", session).await?,
        Command::Remove(who) => move_users(who, "members/remove", session).await?,
        Command::Roles { id } => roles(id, session).await?,
        Command::Give(which) => move_role(which, "roles", session).await?,
        Command::Take(which) => move_role(which, "roles/take", session).await?,
    }
    Ok(ExitCode::Done)
}

fn address(id: Uuid) -> String {
    format!("/api/v1/groups/{id}")
}

async fn move_users(who: Who, way: &str, session: &Session) -> Result<(), CliError> {
    let body = GroupMembers { user_ids: who.users.into_iter().map(UserId).collect() };
    session.client.post_for_nothing(&format!("{}/{way}", address(who.id)), &body).await
}

async fn move_role(which: Which, way: &str, session: &Session) -> Result<(), CliError> {
    let body = GroupRoleChoice { role_id: which.role.into() };
    session.client.post_for_nothing(&format!("{}/{way}", address(which.id)), &body).await
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/groups", &(), page).await?;
    output::list(session.output, &page, &["ID", "NAME", "EXTERNAL ID"], |one: &Group| {
        vec![one.id.to_string(), one.display_name.clone(), one.external_id.clone().unwrap_or_default()]
    });
    Ok(())
}

async fn members(id: Uuid, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list(&format!("{}/members", address(id)), &(), page).await?;
    output::list(session.output, &page, &["USER", "USERNAME", "NAME", "SINCE"], |one: &GroupMember| {
        vec![
            one.user_id.to_string(),
            one.username.clone(),
            one.display_name.clone(),
            output::time(one.joined_at),
        ]
    });
    Ok(())
}

async fn roles(id: Uuid, session: &Session) -> Result<(), CliError> {
    let found: GroupRoles = session.client.get(&format!("{}/roles", address(id))).await?.body;
    if session.output == Output::Json {
        output::json(&found);
        return Ok(());
    }
    let row = |one: &GroupRole| {
        vec![one.role_id.to_string(), one.code.clone(), one.name.clone(), output::time(one.given_at)]
    };
    output::table(&["ROLE", "CODE", "NAME", "SINCE"], found.items.iter().map(row));
    Ok(())
}

fn print(one: &Group, session: &Session) {
    let fields = vec![
        ("group", one.id.to_string()),
        ("name", one.display_name.clone()),
        ("external id", one.external_id.clone().unwrap_or_default()),
        ("created", output::time(one.created_at)),
    ];
    output::object(session.output, one, fields);
}
