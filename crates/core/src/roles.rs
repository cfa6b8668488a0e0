//! Roles: named sets of permissions. Nobody grants what they do not hold.

use clm_core_db::{PgConnection, audit, notices, roles};
use clm_types::{ErrorCode, Permission, Refusal, RoleId, ids};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::{ALL_PERMISSIONS, PermissionSet};
use crate::audit::AuditEntry;
use crate::error::{exists_already, has_changed};
use crate::fields::{check_code, check_name, check_prose};
use crate::identity::texts;
use crate::page::{Page, PageRequest};
use crate::{Core, CoreError, Ctx};

pub use crate::role_assignments::{NewAssignment, RoleAssignment};
pub use clm_core_db::roles::RoleRow as Role;

const fn built_in(number: u128) -> RoleId {
    RoleId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

/// Everything.
pub const ADMINISTRATOR: RoleId = built_in(1);
/// Asks for, renews and revokes certificates.
pub const REQUESTER: RoleId = built_in(2);
/// Decides on requests.
pub const APPROVER: RoleId = built_in(3);
/// Reads everything, changes nothing.
pub const AUDITOR: RoleId = built_in(4);
/// Runs policies, workflows and the inventory of an organization.
pub const PKI_ADMINISTRATOR: RoleId = built_in(5);
/// Programs that ask for and renew certificates.
pub const SERVICE: RoleId = built_in(6);

/// Roles in one line of parents at most: each is read whenever somebody's permissions are.
pub const MOST_GENERATIONS: usize = 16;

/// A new role of an organization.
#[derive(Debug, Clone)]
pub struct NewRole {
    /// Code, unique in the organization.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The role whose permissions it has too.
    pub parent_role_id: Option<RoleId>,
    /// `noun:verb` texts.
    pub permissions: Vec<String>,
}

/// What can change of a role.
#[derive(Debug, Clone)]
pub struct RoleChange {
    /// Name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// `noun:verb` texts.
    pub permissions: Vec<String>,
}

/// `role_not_found`.
pub(crate) fn role_not_found(id: RoleId) -> Refusal {
    Refusal::new(ErrorCode::RoleNotFound, format!("there is no role {id}"))
}

/// Fails unless `held` has all of `granted`.
pub(crate) fn check_grant(granted: PermissionSet, held: PermissionSet) -> Result<(), Refusal> {
    check_holds(granted, held, "you do not hold yourself what this would grant")
}

/// Fails unless `held` has all of `taken`: who may do less does not disarm who may do more.
pub(crate) fn check_withdrawal(taken: PermissionSet, held: PermissionSet) -> Result<(), Refusal> {
    check_holds(taken, held, "you do not hold yourself what this would take away")
}

fn check_holds(wanted: PermissionSet, held: PermissionSet, detail: &str) -> Result<(), Refusal> {
    let missing = wanted.difference(held);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::PermissionDenied, format!("{detail}: {}", missing.names()))
        .hint("ask somebody who holds these permissions"))
}

/// Reads permissions that a caller sent.
pub(crate) fn parse_permissions(permissions: &[String], field: &str) -> Result<PermissionSet, Refusal> {
    for (index, text) in permissions.iter().enumerate() {
        if text != ALL_PERMISSIONS && text.parse::<Permission>().is_err() {
            let shown: String = text.chars().take(40).collect();
            return Err(Refusal::new(ErrorCode::InvalidRequest, format!("`{shown}` is not a permission"))
                .field(format!("{field}/{index}"))
                .hint(format!("one of {}", PermissionSet::all().names())));
        }
    }
    Ok(PermissionSet::from_texts(permissions.iter().map(String::as_str)))
}

impl Core {
    /// Makes a role of the caller's organization.
    pub async fn create_role(&self, ctx: &Ctx, new: &NewRole) -> Result<Role, CoreError> {
        ctx.require(Permission::RoleAssign)?;
        check_code(&new.code, "/code")?;
        check_name(&new.name, "/name")?;
        check_prose(&new.description, "/description")?;
        let own = parse_permissions(&new.permissions, "/permissions")?;
        check_grant(own, ctx.actor.permissions)?;
        self.in_tenant(ctx.organization_id, "create_role", |mut tx| async move {
            if let Some(parent) = new.parent_role_id {
                let line = line_of(&mut tx, ctx, parent).await?;
                check_generations(line.len())?;
                check_grant(union_of(&line), ctx.actor.permissions)?;
            }
            let role = self.new_role(ctx, new);
            roles::insert(&mut tx, &role).await.map_err(|error| {
                exists_already(error, format!("there is a role `{}` already", new.code), "/code")
            })?;
            let entry = AuditEntry::of(ctx, &self.entropy, "role.create", "role")
                .object(role.id)
                .after(json!({"code": role.role_code, "parent": role.parent_role_id, "permissions": role.permissions}));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, role))
        })
        .await
    }

    fn new_role(&self, ctx: &Ctx, new: &NewRole) -> Role {
        Role {
            id: ids::new_uuid(ctx.now, &self.entropy),
            role_code: new.code.clone(),
            role_name: new.name.clone(),
            description: new.description.clone(),
            parent_role_id: new.parent_role_id.map(Into::into),
            permissions: json!(new.permissions),
            is_system: false,
            organization_id: Some(ctx.organization_id.0),
            created_at: ctx.now,
            version: 1,
        }
    }

    /// Changes a role of the caller's organization, for all who hold it.
    pub async fn update_role(
        &self,
        ctx: &Ctx,
        id: RoleId,
        version: i64,
        change: &RoleChange,
    ) -> Result<Role, CoreError> {
        ctx.require(Permission::RoleAssign)?;
        check_name(&change.name, "/name")?;
        check_prose(&change.description, "/description")?;
        let granted = parse_permissions(&change.permissions, "/permissions")?;
        check_grant(granted, ctx.actor.permissions)?;
        let role = self
            .in_tenant(ctx.organization_id, "update_role", |mut tx| async move {
                let old = find_role(&mut tx, ctx, id).await?;
                if old.is_system {
                    return Err(built_in_refusal().into());
                }
                check_withdrawal(PermissionSet::from_texts(texts(&old.permissions)), ctx.actor.permissions)?;
                let role = Role {
                    role_name: change.name.clone(),
                    description: change.description.clone(),
                    permissions: json!(change.permissions),
                    version,
                    ..old.clone()
                };
                roles::update(&mut tx, &role, ctx.now).await.map_err(has_changed)?;
                let entry = AuditEntry::of(ctx, &self.entropy, "role.update", "role")
                    .object(id)
                    .before(json!({"name": old.role_name, "permissions": old.permissions}))
                    .after(json!({"name": role.role_name, "permissions": role.permissions}));
                audit::insert(&mut tx, entry.row()).await?;
                notices::send(&mut tx, notices::IDENTITY).await?;
                Ok((tx, Role { version: version + 1, ..role }))
            })
            .await?;
        self.identities.clear();
        Ok(role)
    }

    /// One role.
    pub async fn show_role(&self, ctx: &Ctx, id: RoleId) -> Result<Role, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        find_role(&mut tx, ctx, id).await
    }

    /// Built-in roles and those of the caller's organization, newest first.
    pub async fn list_roles(&self, ctx: &Ctx, page: PageRequest) -> Result<Page<Role>, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = roles::list(&mut tx, ctx.organization_id.0, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }
}

fn check_generations(above: usize) -> Result<(), Refusal> {
    if above < MOST_GENERATIONS {
        return Ok(());
    }
    let detail =
        format!("the role would have {above} roles above it, and a line has {MOST_GENERATIONS} at most");
    Err(Refusal::new(ErrorCode::InvalidRequest, detail)
        .field("/parent_role_id")
        .hint("take a role further up as the parent, or give the permissions directly"))
}

fn built_in_refusal() -> Refusal {
    Refusal::new(ErrorCode::PermissionDenied, "this role is built in; it cannot be changed")
        .hint("make a role of your own")
}

pub(crate) async fn find_role(conn: &mut PgConnection, ctx: &Ctx, id: RoleId) -> Result<Role, CoreError> {
    let found = roles::find(conn, id.0, ctx.organization_id.0).await?;
    found.ok_or_else(|| role_not_found(id).into())
}

/// What a role grants, its parents included.
pub(crate) async fn permissions_of(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: RoleId,
) -> Result<PermissionSet, CoreError> {
    Ok(union_of(&line_of(conn, ctx, id).await?))
}

/// The permissions of a role and of each of its parents.
async fn line_of(conn: &mut PgConnection, ctx: &Ctx, id: RoleId) -> Result<Vec<Value>, CoreError> {
    find_role(conn, ctx, id).await?;
    Ok(roles::list_permissions(conn, id.0).await?)
}

fn union_of(line: &[Value]) -> PermissionSet {
    PermissionSet::from_texts(line.iter().flat_map(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_grants_what_they_do_not_hold() {
        let held = PermissionSet::from_texts(["request:read", "role:assign"]);
        assert!(check_grant(PermissionSet::from_texts(["request:read"]), held).is_ok());
        let refusal = check_grant(PermissionSet::from_texts(["*"]), held).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::PermissionDenied);
        assert!(refusal.detail.contains("user:write"));
    }

    #[test]
    fn unknown_permissions_cannot_be_granted() {
        let refusal = parse_permissions(&["moon:land".to_owned()], "/permissions").unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("/permissions/0"));
    }

    #[test]
    fn built_in_roles_have_their_fixed_ids() {
        assert_eq!(ADMINISTRATOR.to_string(), "01900000-0000-7000-8000-000000000001");
        assert_eq!(SERVICE.to_string(), "01900000-0000-7000-8000-000000000006");
    }
}
