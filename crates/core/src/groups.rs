//! Groups of an organization: what they are called, and which roles their members hold.

use clm_core_db::group_members::{self, Change};
use clm_core_db::{DbError, PgConnection, audit, groups, notices};
use clm_types::{ErrorCode, GroupId, Permission, Refusal, RoleId, ids};
use serde_json::{Value, json};

use crate::actor::PermissionSet;
use crate::audit::AuditEntry;
use crate::error::{changed_since, exists_already};
use crate::fields::check_name;
use crate::identity::texts;
use crate::page::{Page, PageRequest};
use crate::roles::{check_grant, check_withdrawal, permissions_of};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::groups::{GroupFilter, GroupRoleRow as GroupRole, GroupRow as Group};

/// Roles that one group gives at most.
const MOST_ROLES: i64 = 50;

/// What a group is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupNames {
    /// Name to show, unique in the organization.
    pub display_name: String,
    /// What the provisioning client calls it, unique in the organization.
    pub external_id: Option<String>,
}

impl GroupNames {
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        check_name(&self.display_name, "/display_name")?;
        self.external_id.as_deref().map_or(Ok(()), |id| check_name(id, "/external_id"))
    }
}

/// `group_not_found`.
pub(crate) fn group_not_found(id: GroupId) -> Refusal {
    Refusal::new(ErrorCode::GroupNotFound, format!("there is no group {id}"))
        .hint("list those of your organization: clm group list")
}

impl Core {
    /// Makes a group of the caller's organization, without members and roles.
    pub async fn create_group(&self, ctx: &Ctx, names: &GroupNames) -> Result<Group, CoreError> {
        ctx.require(Permission::GroupWrite)?;
        names.check()?;
        self.in_system("create_group", |mut tx| async move {
            let group = self.insert_group(&mut tx, ctx, names).await?;
            Ok((tx, group))
        })
        .await
    }

    /// Adds a group with its audit entry, in an open transaction; asks nothing.
    pub(crate) async fn insert_group(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        names: &GroupNames,
    ) -> Result<Group, CoreError> {
        let group = Group {
            id: ids::new_uuid(ctx.now, &self.entropy),
            display_name: names.display_name.clone(),
            external_id: names.external_id.clone(),
            created_at: ctx.now,
            updated_at: ctx.now,
            version: 1,
        };
        groups::insert(conn, ctx.organization_id.0, &group).await.map_err(taken)?;
        let entry =
            AuditEntry::of(ctx, &self.entropy, "group.create", "group").object(group.id).after(state(&group));
        audit::insert(conn, entry.row()).await?;
        Ok(group)
    }

    /// One group.
    pub async fn show_group(&self, ctx: &Ctx, id: GroupId) -> Result<Group, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        find_group(&mut tx, ctx, id).await
    }

    /// Groups of the caller's organization, newest first.
    pub async fn list_groups(&self, ctx: &Ctx, page: PageRequest) -> Result<Page<Group>, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = groups::list(&mut tx, ctx.organization_id.0, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// Calls a group otherwise. By its name or external id others say who belongs to it.
    ///
    /// # Errors
    /// `permission_denied` for a group whose roles grant more than the caller holds.
    pub async fn update_group(
        &self,
        ctx: &Ctx,
        id: GroupId,
        version: i64,
        names: &GroupNames,
    ) -> Result<Group, CoreError> {
        ctx.require(Permission::GroupWrite)?;
        names.check()?;
        self.in_system("update_group", |mut tx| async move {
            let old = lock_group(&mut tx, ctx, id, Some(version)).await?;
            check_withdrawal(granted_by(&mut tx, old.id).await?, ctx.actor.permissions)?;
            let group = self.rename_group(&mut tx, ctx, &old, names).await?;
            Ok((tx, group))
        })
        .await
    }

    /// Calls a locked group otherwise, in an open transaction; asks nothing.
    pub(crate) async fn rename_group(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        old: &Group,
        names: &GroupNames,
    ) -> Result<Group, CoreError> {
        let group = Group {
            display_name: names.display_name.clone(),
            external_id: names.external_id.clone(),
            updated_at: ctx.now,
            version: old.version + 1,
            ..old.clone()
        };
        groups::update(conn, &group, ctx.now).await.map_err(taken)?;
        let entry = AuditEntry::of(ctx, &self.entropy, "group.update", "group")
            .object(group.id)
            .before(state(old))
            .after(state(&group));
        audit::insert(conn, entry.row()).await?;
        Ok(group)
    }

    /// Deletes a group: what its members held by it ends at once.
    ///
    /// # Errors
    /// `permission_denied` for a group whose roles grant more than the caller holds.
    pub async fn delete_group(&self, ctx: &Ctx, id: GroupId, version: i64) -> Result<(), CoreError> {
        ctx.require(Permission::GroupWrite)?;
        self.in_system("delete_group", |mut tx| async move {
            let group = lock_group(&mut tx, ctx, id, Some(version)).await?;
            check_withdrawal(granted_by(&mut tx, group.id).await?, ctx.actor.permissions)?;
            self.end_group(&mut tx, ctx, &group).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Deletes a locked group, in an open transaction; asks nothing.
    pub(crate) async fn end_group(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        group: &Group,
    ) -> Result<(), CoreError> {
        let reason = format!("the group {} was deleted", group.display_name);
        let change = change(ctx, group, &reason);
        group_members::end_assignments(conn, change, None, None).await?;
        groups::delete(conn, group.id, change.by, ctx.now).await?;
        let entry =
            AuditEntry::of(ctx, &self.entropy, "group.delete", "group").object(group.id).before(state(group));
        audit::insert(conn, entry.row()).await?;
        Ok(notices::send(conn, notices::IDENTITY).await?)
    }

    /// The roles that a group gives its members.
    pub async fn list_group_roles(&self, ctx: &Ctx, id: GroupId) -> Result<Vec<GroupRole>, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        find_group(&mut tx, ctx, id).await?;
        Ok(groups::list_roles(&mut tx, id.0, MOST_ROLES).await?)
    }

    /// Gives a role to a group: to all who belong to it now and later, as long as they do.
    ///
    /// # Errors
    /// `permission_denied` for a role that grants more than the caller holds; `already_exists`.
    pub async fn give_group_role(&self, ctx: &Ctx, id: GroupId, role_id: RoleId) -> Result<(), CoreError> {
        ctx.require(Permission::RoleAssign)?;
        self.in_system("give_group_role", |mut tx| async move {
            let group = lock_group(&mut tx, ctx, id, None).await?;
            let granted = permissions_of(&mut tx, ctx, role_id).await.map_err(of_role_field)?;
            check_grant(granted, ctx.actor.permissions)?;
            check_room(&mut tx, &group).await?;
            let reason = reason(&group);
            let change = change(ctx, &group, &reason);
            let place = (ctx.organization_id.0, group.id, role_id.0);
            groups::insert_role(&mut tx, ids::new_uuid(ctx.now, &self.entropy), place, change.by, ctx.now)
                .await
                .map_err(|error| exists_already(error, "the group has this role already", "/role_id"))?;
            self.assign_by_group(&mut tx, change, None, Some(role_id)).await?;
            self.note_role(&mut tx, ctx, "group.give_role", &group, role_id).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Takes a role from a group, and so at once from all who hold it by the group alone.
    ///
    /// # Errors
    /// `permission_denied` for a role that grants more than the caller holds; `role_not_found`.
    pub async fn take_group_role(&self, ctx: &Ctx, id: GroupId, role_id: RoleId) -> Result<(), CoreError> {
        ctx.require(Permission::RoleAssign)?;
        self.in_system("take_group_role", |mut tx| async move {
            let group = lock_group(&mut tx, ctx, id, None).await?;
            check_withdrawal(permissions_of(&mut tx, ctx, role_id).await?, ctx.actor.permissions)?;
            let reason = format!("the role left the group {}", group.display_name);
            let change = change(ctx, &group, &reason);
            groups::take_role(&mut tx, group.id, role_id.0, change.by, ctx.now)
                .await
                .map_err(|error| not_given(error, role_id))?;
            group_members::end_assignments(&mut tx, change, None, Some(role_id.0)).await?;
            self.note_role(&mut tx, ctx, "group.take_role", &group, role_id).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    async fn note_role(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        action: &str,
        group: &Group,
        role_id: RoleId,
    ) -> Result<(), CoreError> {
        let entry = AuditEntry::of(ctx, &self.entropy, action, "group")
            .object(group.id)
            .after(json!({"display_name": group.display_name, "role_id": role_id}));
        audit::insert(conn, entry.row()).await?;
        Ok(notices::send(conn, notices::IDENTITY).await?)
    }
}

/// Why members hold what they hold by a group.
pub(crate) fn reason(group: &Group) -> String {
    format!("a member of the group {}", group.display_name)
}

pub(crate) fn change<'a>(ctx: &Ctx, group: &Group, reason: &'a str) -> Change<'a> {
    Change {
        organization_id: ctx.organization_id.0,
        group_id: group.id,
        by: ctx.actor.user_id.map(Into::into),
        reason,
        now: ctx.now,
    }
}

fn state(group: &Group) -> Value {
    json!({"display_name": group.display_name, "external_id": group.external_id})
}

fn taken(error: DbError) -> CoreError {
    exists_already(error, "the organization has a group of this name or external id already", "/display_name")
}

fn of_role_field(error: CoreError) -> CoreError {
    match error {
        CoreError::Refused(refusal) if refusal.code == ErrorCode::RoleNotFound => {
            refusal.field("/role_id").into()
        }
        other => other,
    }
}

fn not_given(error: DbError, id: RoleId) -> CoreError {
    match error {
        DbError::RowCount { .. } => {
            Refusal::new(ErrorCode::RoleNotFound, format!("the group does not have the role {id}")).into()
        }
        other => other.into(),
    }
}

async fn check_room(conn: &mut PgConnection, group: &Group) -> Result<(), CoreError> {
    let given = groups::list_roles(conn, group.id, MOST_ROLES).await?.len();
    if i64::try_from(given).unwrap_or(MOST_ROLES) < MOST_ROLES {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Conflict, format!("a group has {MOST_ROLES} roles at most"))
        .hint("make one role of several, or a second group")
        .into())
}

pub(crate) async fn find_group(conn: &mut PgConnection, ctx: &Ctx, id: GroupId) -> Result<Group, CoreError> {
    let found = groups::find(conn, id.0, ctx.organization_id.0).await?;
    found.ok_or_else(|| group_not_found(id).into())
}

/// Finds a group, still at `version` if that is given, and keeps others from changing it.
pub(crate) async fn lock_group(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: GroupId,
    version: Option<i64>,
) -> Result<Group, CoreError> {
    let found = groups::lock(conn, id.0, ctx.organization_id.0).await?;
    let group = found.ok_or_else(|| group_not_found(id))?;
    if version.is_some_and(|version| version != group.version) {
        return Err(changed_since().into());
    }
    Ok(group)
}

/// What the roles of a group grant, their parents included.
pub(crate) async fn granted_by(
    conn: &mut PgConnection,
    group_id: uuid::Uuid,
) -> Result<PermissionSet, CoreError> {
    let arrays = groups::list_permissions(conn, group_id).await?;
    Ok(PermissionSet::from_texts(arrays.iter().flat_map(texts)))
}
