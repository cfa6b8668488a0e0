//! Roles, and who is given them. Nobody grants what they do not hold.

use clm_core_db::roles::{self, AssignmentRow};
use clm_core_db::{PgConnection, audit, notices, users};
use clm_types::{ErrorCode, Permission, Refusal, RoleId, Time, UserId, ids};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::{ALL_PERMISSIONS, PermissionSet};
use crate::audit::AuditEntry;
use crate::authentication::texts;
use crate::error::{exists_already, has_changed};
use crate::fields::{check_code, check_name};
use crate::page::{Page, PageRequest};
use crate::users::user_not_found;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::roles::{AssignmentRow as RoleAssignment, RoleRow as Role};

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

/// A role to be given.
#[derive(Debug, Clone)]
pub struct NewAssignment {
    /// To whom.
    pub user_id: UserId,
    /// Which.
    pub role_id: RoleId,
    /// In every organization, and not only in the caller's.
    pub everywhere: bool,
    /// From when; now unless given.
    pub valid_from: Option<Time>,
    /// Until before when.
    pub valid_until: Option<Time>,
    /// Why.
    pub reason: Option<String>,
}

/// `role_not_found`.
pub(crate) fn role_not_found(id: RoleId) -> Refusal {
    Refusal::new(ErrorCode::RoleNotFound, format!("there is no role {id}"))
}

/// Fails unless `held` has all of `granted`.
pub(crate) fn check_grant(granted: PermissionSet, held: PermissionSet) -> Result<(), Refusal> {
    let missing = granted.difference(held);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::PermissionDenied,
        format!("you do not hold yourself what this would grant: {}", missing.names()),
    )
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
        let own = parse_permissions(&new.permissions, "/permissions")?;
        check_grant(own, ctx.actor.permissions)?;
        self.in_tenant(ctx.organization_id, "create_role", |mut tx| async move {
            if let Some(parent) = new.parent_role_id {
                let inherited = permissions_of(&mut tx, ctx, parent).await?;
                check_grant(inherited, ctx.actor.permissions)?;
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
        let granted = parse_permissions(&change.permissions, "/permissions")?;
        check_grant(granted, ctx.actor.permissions)?;
        let role = self
            .in_tenant(ctx.organization_id, "update_role", |mut tx| async move {
                let old = find_role(&mut tx, ctx, id).await?;
                if old.is_system {
                    return Err(built_in_refusal().into());
                }
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

    /// Gives a role in the caller's organization, or everywhere.
    pub async fn assign_role(&self, ctx: &Ctx, new: &NewAssignment) -> Result<RoleAssignment, CoreError> {
        let held = if new.everywhere {
            ctx.require_global(Permission::RoleAssign)?;
            ctx.actor.global_permissions
        } else {
            ctx.require(Permission::RoleAssign)?;
            ctx.actor.permissions
        };
        check_window(ctx, new)?;
        let assignment = self
            .in_system("assign_role", |mut tx| async move {
                let granted = permissions_of(&mut tx, ctx, new.role_id).await?;
                check_grant(granted, held)?;
                check_reach(&mut tx, ctx, new).await?;
                let member =
                    users::find_in_organization(&mut tx, new.user_id.0, ctx.organization_id.0, ctx.now);
                if member.await?.is_none() {
                    return Err(user_not_found(new.user_id).field("/user_id").into());
                }
                let assignment = insert_assignment(self, &mut tx, ctx, new).await?;
                Ok((tx, assignment))
            })
            .await?;
        self.identities.clear();
        Ok(assignment)
    }

    /// Takes a role away, at once.
    pub async fn revoke_assignment(
        &self,
        ctx: &Ctx,
        id: Uuid,
        reason: Option<&str>,
    ) -> Result<(), CoreError> {
        ctx.require(Permission::RoleAssign)?;
        self.in_system("revoke_assignment", |mut tx| async move {
            roles::lock_administrators(&mut tx).await?;
            let found = roles::find_assignment(&mut tx, id, ctx.organization_id.0).await?;
            let assignment = found.ok_or_else(|| assignment_not_found(id))?;
            if assignment.organization_id.is_none() {
                ctx.require_global(Permission::RoleAssign)?;
            }
            if is_lasting_administrator(&assignment) {
                check_other_administrator(&mut tx, ctx, UserId(assignment.user_id)).await?;
            }
            let by = ctx.actor.user_id.map(Into::into);
            roles::revoke_assignment(&mut tx, id, by, reason, ctx.now).await.map_err(has_changed)?;
            let entry = AuditEntry::of(ctx, &self.entropy, "role.revoke", "role_assignment")
                .object(id)
                .before(state(&assignment));
            audit::insert(&mut tx, entry.row()).await?;
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Who holds which role in the caller's organization or everywhere, newest first; ended ones too.
    pub async fn list_assignments(
        &self,
        ctx: &Ctx,
        user_id: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<RoleAssignment>, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = roles::list_assignments(
            &mut tx,
            ctx.organization_id.0,
            user_id.map(Into::into),
            page.before,
            page.fetch_limit(),
        );
        Ok(Page::cut(rows.await?, page, |row| row.id))
    }
}

fn assignment_not_found(id: Uuid) -> Refusal {
    Refusal::new(ErrorCode::RoleNotFound, format!("there is no role assignment {id}"))
}

fn built_in_refusal() -> Refusal {
    Refusal::new(ErrorCode::PermissionDenied, "this role is built in; it cannot be changed")
        .hint("make a role of your own")
}

fn check_window(ctx: &Ctx, new: &NewAssignment) -> Result<(), Refusal> {
    let from = new.valid_from.unwrap_or(ctx.now);
    match new.valid_until {
        Some(until) if until <= from || until <= ctx.now => {
            Err(Refusal::new(ErrorCode::InvalidRequest, "the assignment would end before it begins")
                .field("/valid_until"))
        }
        _ => Ok(()),
    }
}

/// Only built-in roles can be given everywhere: others are of one organization.
async fn check_reach(conn: &mut PgConnection, ctx: &Ctx, new: &NewAssignment) -> Result<(), CoreError> {
    let role = find_role(conn, ctx, new.role_id).await?;
    if new.everywhere && role.organization_id.is_some() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "this role is of one organization; it cannot be given in all of them",
        )
        .field("/role_id")
        .into());
    }
    Ok(())
}

async fn find_role(conn: &mut PgConnection, ctx: &Ctx, id: RoleId) -> Result<Role, CoreError> {
    let found = roles::find(conn, id.0, ctx.organization_id.0).await?;
    found.ok_or_else(|| role_not_found(id).into())
}

/// What a role grants, its parents included.
async fn permissions_of(conn: &mut PgConnection, ctx: &Ctx, id: RoleId) -> Result<PermissionSet, CoreError> {
    find_role(conn, ctx, id).await?;
    let arrays = roles::list_permissions(conn, id.0).await?;
    let all = arrays.iter().flat_map(texts);
    Ok(PermissionSet::from_texts(all))
}

fn state(assignment: &AssignmentRow) -> Value {
    json!({"user_id": assignment.user_id, "role_id": assignment.role_id, "organization_id": assignment.organization_id,
           "valid_from": assignment.valid_from, "valid_until": assignment.valid_until})
}

/// Adds an assignment with its audit entry and notice, in an open transaction; asks nothing.
pub(crate) async fn insert_assignment(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    new: &NewAssignment,
) -> Result<RoleAssignment, CoreError> {
    let assignment = AssignmentRow {
        id: ids::new_uuid(ctx.now, &core.entropy),
        user_id: new.user_id.0,
        role_id: new.role_id.0,
        organization_id: (!new.everywhere).then_some(ctx.organization_id.0),
        valid_from: new.valid_from.unwrap_or(ctx.now),
        valid_until: new.valid_until,
        assigned_by: ctx.actor.user_id.map(Into::into),
        assignment_reason: new.reason.clone(),
        revoked_at: None,
        created_at: ctx.now,
        version: 1,
    };
    roles::insert_assignment(conn, &assignment)
        .await
        .map_err(|error| exists_already(error, "the user has this role already", "/role_id"))?;
    let entry = AuditEntry::of(ctx, &core.entropy, "role.assign", "role_assignment")
        .object(assignment.id)
        .after(state(&assignment));
    audit::insert(conn, entry.row()).await?;
    notices::send(conn, notices::IDENTITY).await?;
    Ok(assignment)
}

fn is_lasting_administrator(assignment: &AssignmentRow) -> bool {
    assignment.role_id == ADMINISTRATOR.0
        && assignment.organization_id.is_none()
        && assignment.valid_until.is_none()
}

/// Fails if the user is the last who administrates the installation without an end. The caller
/// holds [`roles::lock_administrators`].
pub(crate) async fn check_other_administrator(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
) -> Result<(), CoreError> {
    let others = roles::count_other_holders(conn, ADMINISTRATOR.0, user_id.0, ctx.now).await?;
    if others > 0 {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Conflict, "this is the last administrator of the installation")
        .hint("make another user administrator of all organizations first")
        .into())
}

/// Whether a user administrates the installation without an end.
pub(crate) async fn administrates(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
) -> Result<bool, CoreError> {
    let held = roles::list_held(conn, user_id.0, ctx.now).await?;
    Ok(held.iter().any(|role| {
        role.role_id == ADMINISTRATOR.0 && role.organization_id.is_none() && role.valid_until.is_none()
    }))
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
