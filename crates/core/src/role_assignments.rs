//! Who is given which role. Nobody gives, or takes away, what they do not hold.

use clm_core_db::role_assignments::{self, AssignmentRow};
use clm_core_db::{PgConnection, audit, notices, one_time_links, roles, users};
use clm_types::{ErrorCode, Permission, Refusal, RoleId, Time, UserId, ids};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::PermissionSet;
use crate::audit::AuditEntry;
use crate::error::{changed_since, exists_already, has_changed};
use crate::fields::check_prose;
use crate::identity::texts;
use crate::page::{Page, PageRequest};
use crate::roles::{ADMINISTRATOR, check_grant, check_withdrawal, find_role, permissions_of};
use crate::users::user_not_found;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::role_assignments::AssignmentRow as RoleAssignment;

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

impl Core {
    /// Gives a role in the caller's organization, or everywhere.
    pub async fn assign_role(&self, ctx: &Ctx, new: &NewAssignment) -> Result<RoleAssignment, CoreError> {
        let held = held_to_assign(ctx, new.everywhere)?;
        check_window(ctx, new)?;
        if let Some(reason) = &new.reason {
            check_prose(reason, "/reason")?;
        }
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
                // Whoever made them may not make one for somebody who may do this.
                one_time_links::revoke_all(&mut tx, new.user_id.0, ctx.now).await?;
                Ok((tx, assignment))
            })
            .await?;
        self.identities.clear();
        Ok(assignment)
    }

    /// Takes a role away, at once; an assignment that is still at `version`, if that is given.
    pub async fn revoke_assignment(
        &self,
        ctx: &Ctx,
        id: Uuid,
        version: Option<i64>,
        reason: Option<&str>,
    ) -> Result<(), CoreError> {
        ctx.require(Permission::RoleAssign)?;
        if let Some(reason) = reason {
            check_prose(reason, "/reason")?;
        }
        self.in_system("revoke_assignment", |mut tx| async move {
            role_assignments::lock_administrators(&mut tx).await?;
            let found = role_assignments::find(&mut tx, id, ctx.organization_id.0).await?;
            let assignment = found.ok_or_else(|| assignment_not_found(id))?;
            check_version(&assignment, version)?;
            check_by_hand(&assignment)?;
            let held = held_to_assign(ctx, assignment.organization_id.is_none())?;
            let taken = roles::list_permissions(&mut tx, assignment.role_id).await?;
            check_withdrawal(PermissionSet::from_texts(taken.iter().flat_map(texts)), held)?;
            if is_lasting_administrator(&assignment) {
                check_other_administrator(&mut tx, ctx, UserId(assignment.user_id)).await?;
            }
            let by = ctx.actor.user_id.map(Into::into);
            role_assignments::revoke(&mut tx, id, by, reason, ctx.now).await.map_err(has_changed)?;
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
        let rows = role_assignments::list(
            &mut tx,
            ctx.organization_id.0,
            user_id.map(Into::into),
            page.before,
            page.fetch_limit(),
        );
        Ok(Page::cut(rows.await?, page, |row| row.id))
    }
}

/// What the caller may give and take: of what they hold here, or of what they hold everywhere.
fn held_to_assign(ctx: &Ctx, everywhere: bool) -> Result<PermissionSet, Refusal> {
    if everywhere {
        ctx.require_global(Permission::RoleAssign)?;
        return Ok(ctx.actor.global_permissions);
    }
    ctx.require(Permission::RoleAssign)?;
    Ok(ctx.actor.permissions)
}

fn assignment_not_found(id: Uuid) -> Refusal {
    Refusal::new(ErrorCode::RoleNotFound, format!("there is no role assignment {id}"))
}

fn check_version(assignment: &AssignmentRow, asked: Option<i64>) -> Result<(), Refusal> {
    match asked {
        Some(version) if version != assignment.version => Err(changed_since()),
        _ => Ok(()),
    }
}

/// What is held by a group ends with the membership or with the group's role; else it would come back.
fn check_by_hand(assignment: &AssignmentRow) -> Result<(), Refusal> {
    let Some(group) = assignment.group_id else { return Ok(()) };
    Err(Refusal::new(ErrorCode::Conflict, format!("this role is held by the group {group}"))
        .hint("take the user out of the group, or the role from it: clm group"))
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
        group_id: None,
        valid_from: new.valid_from.unwrap_or(ctx.now),
        valid_until: new.valid_until,
        assigned_by: ctx.actor.user_id.map(Into::into),
        assignment_reason: new.reason.clone(),
        revoked_at: None,
        created_at: ctx.now,
        version: 1,
    };
    role_assignments::insert(conn, &assignment)
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
/// holds [`role_assignments::lock_administrators`].
pub(crate) async fn check_other_administrator(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
) -> Result<(), CoreError> {
    let others = role_assignments::count_other_holders(conn, ADMINISTRATOR.0, user_id.0, ctx.now).await?;
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
    let held = role_assignments::list_held(conn, user_id.0, ctx.now).await?;
    Ok(held.iter().any(|role| {
        role.role_id == ADMINISTRATOR.0 && role.organization_id.is_none() && role.valid_until.is_none()
    }))
}
