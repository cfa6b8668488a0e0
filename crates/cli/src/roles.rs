//! `clm role`: roles and who holds them.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use clm_api::Page;
use clm_api::roles::{
    NewRole, NewRoleAssignment, Role, RoleAssignment, RoleAssignmentEnd, RoleAssignmentQuery, RoleChange,
};
use clm_types::{RoleId, UserId};
use reqwest::Method;
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

const ASSIGN_EXAMPLES: &str = "\
Examples:
  clm role assign requester --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45
  clm role assign approver --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 \\
      --from 2027-07-01T00:00:00Z --until 2027-08-01T00:00:00Z";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List roles
    #[command(after_help = "Example:\n  clm role list")]
    List(PageArguments),
    /// Show a role
    #[command(after_help = "Example:\n  clm role show approver")]
    Show {
        /// Code or id
        role: String,
    },
    /// Make a role of your organization
    #[command(
        after_help = "Example:\n  clm role create web-team --name 'Web team' --parent requester --permission certificate:update"
    )]
    Create {
        /// Short code
        code: String,
        /// Name to show
        #[arg(long)]
        name: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// Code or id of the role whose permissions it includes
        #[arg(long)]
        parent: Option<String>,
        /// Permission, noun:verb; may be repeated
        #[arg(long = "permission", required = true)]
        permissions: Vec<String>,
    },
    /// Change a role of your organization; what is not given stays
    #[command(
        after_help = "Example:\n  clm role update web-team --permission certificate:update --permission policy:read"
    )]
    Update {
        /// Code or id
        role: String,
        /// Name to show
        #[arg(long)]
        name: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Permission, noun:verb; may be repeated; replaces all that the role has
        #[arg(long = "permission")]
        permissions: Vec<String>,
    },
    /// Give a user a role
    #[command(after_help = ASSIGN_EXAMPLES)]
    Assign {
        /// Code or id
        role: String,
        /// The user
        #[arg(long)]
        user: UserId,
        /// In every organization, and not only in yours
        #[arg(long)]
        everywhere: bool,
        /// From when (RFC 3339); now unless given
        #[arg(long)]
        from: Option<DateTime<Utc>>,
        /// Until when (RFC 3339)
        #[arg(long)]
        until: Option<DateTime<Utc>>,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a role back
    #[command(
        after_help = "Example:\n  clm role unassign 0199f0c6-a08c-7347-b915-62becd304178 --reason 'left the team'"
    )]
    Unassign {
        /// The assignment
        id: Uuid,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// List who holds which role
    #[command(after_help = "Example:\n  clm role assignments --user 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45")]
    Assignments {
        /// Only of this user
        #[arg(long)]
        user: Option<UserId>,
        #[command(flatten)]
        page: PageArguments,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List(page) => list(&page, session).await?,
        Command::Show { role } => {
            let id = resolve(&role, session).await?;
            print(&session.client.get(&format!("/api/v1/roles/{id}")).await?.body, session);
        }
        Command::Create { code, name, description, parent, permissions } => {
            let parent_role_id = match parent {
                Some(parent) => Some(resolve(&parent, session).await?),
                None => None,
            };
            let body = NewRole { code, name, description, parent_role_id, permissions };
            print(&session.client.post("/api/v1/roles", &body, None).await?.body, session);
        }
        Command::Update { role, name, description, permissions } => {
            let change = |old: Role| RoleChange {
                name: name.unwrap_or(old.name),
                description: description.unwrap_or(old.description),
                permissions: if permissions.is_empty() { old.permissions } else { permissions },
            };
            let path = format!("/api/v1/roles/{}", resolve(&role, session).await?);
            print(&session.client.edit(Method::PUT, &path, change).await?, session);
        }
        Command::Assign { role, user, everywhere, from, until, reason } => {
            let body = NewRoleAssignment {
                user_id: user,
                role_id: resolve(&role, session).await?,
                everywhere,
                valid_from: from,
                valid_until: until,
                reason,
            };
            print_assignment(
                &session.client.post("/api/v1/role-assignments", &body, None).await?.body,
                session,
            );
        }
        Command::Unassign { id, reason } => {
            let path = format!("/api/v1/role-assignments/{id}/revoke");
            session.client.post_for_nothing(&path, &RoleAssignmentEnd { reason }).await?;
        }
        Command::Assignments { user, page } => assignments(user, &page, session).await?,
    }
    Ok(ExitCode::Done)
}

/// The id of a role given by code or id.
async fn resolve(role: &str, session: &Session) -> Result<RoleId, CliError> {
    if let Ok(id) = role.parse() {
        return Ok(id);
    }
    let everything = PageArguments { all: true, ..PageArguments::default() };
    let all: Page<Role> = session.client.list("/api/v1/roles", &(), &everything).await?;
    let found = all.items.iter().find(|one| one.code == role).map(|one| one.id);
    let codes: Vec<&str> = all.items.iter().map(|one| one.code.as_str()).collect();
    found.ok_or_else(|| CliError::Usage(format!("there is no role `{role}`; known: {}", codes.join(", "))))
}

async fn list(page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let page = session.client.list("/api/v1/roles", &(), page).await?;
    output::list(session.output, &page, &["ID", "CODE", "NAME", "BUILT IN"], |one: &Role| {
        vec![one.id.to_string(), one.code.clone(), one.name.clone(), one.built_in.to_string()]
    });
    Ok(())
}

async fn assignments(user: Option<UserId>, page: &PageArguments, session: &Session) -> Result<(), CliError> {
    let query = RoleAssignmentQuery { user, ..RoleAssignmentQuery::default() };
    let page = session.client.list("/api/v1/role-assignments", &query, page).await?;
    let headers = ["ID", "USER", "ROLE", "FROM", "UNTIL"];
    output::list(session.output, &page, &headers, |one: &RoleAssignment| {
        vec![
            one.id.to_string(),
            one.user_id.to_string(),
            one.role_id.to_string(),
            output::time(one.valid_from),
            output::maybe_time(one.valid_until),
        ]
    });
    Ok(())
}

fn print(one: &Role, session: &Session) {
    let fields = vec![
        ("role", one.id.to_string()),
        ("code", one.code.clone()),
        ("name", one.name.clone()),
        ("description", one.description.clone()),
        ("parent", output::maybe(one.parent_role_id.as_ref())),
        ("built in", one.built_in.to_string()),
        ("permissions", one.permissions.join(" ")),
    ];
    output::object(session.output, one, fields);
}

fn print_assignment(one: &RoleAssignment, session: &Session) {
    let fields = vec![
        ("assignment", one.id.to_string()),
        ("user", one.user_id.to_string()),
        ("role", one.role_id.to_string()),
        ("from", output::time(one.valid_from)),
        ("until", output::maybe_time(one.valid_until)),
        ("revoked", output::maybe_time(one.revoked_at)),
    ];
    output::object(session.output, one, fields);
}
