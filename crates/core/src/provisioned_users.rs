//! The members of an organization, as its provisioning client makes, changes and ends them. Whoever belongs to other
//! organizations too loses only what is of this one; nobody else of other organizations is seen at all.

use clm_core_db::provisioned_users;
use clm_core_db::{
    DbError, PgConnection, api_keys, audit, memberships, notices, one_time_links, role_assignments, users,
};
use clm_types::{ErrorCode, Refusal, UserId, ids};
use serde_json::json;

use crate::audit::AuditEntry;
use crate::email_messages::Recipient;
use crate::error::{changed_since, has_changed};
use crate::fields::{check_email, check_name};
use crate::provisioning::{Window, Windowed, check_reach, require_client};
use crate::users::{NewUser, find_user, insert_user, taken, user_not_found};
use crate::{Core, CoreError, Ctx, licenses};

pub use clm_core_db::provisioned_users::{ProvisionedUserFilter, ProvisionedUserRow as ProvisionedUser};

/// The field that refusals name when a name is to be changed, which never changes.
pub const NAME_FIELD: &str = "/userName";

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewProvisionedUser {
    /// Unique in the installation.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// What the client calls it, unique in the organization.
    pub external_id: Option<String>,
    /// Whether the membership is active.
    pub active: bool,
}

/// What is to change of a user; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct ProvisionedUserChange {
    /// Must be the one it has.
    pub username: Option<String>,
    /// Address.
    pub email: Option<String>,
    /// Name to show.
    pub display_name: Option<String>,
    /// What the client calls it, or that it calls it nothing.
    pub external_id: Option<Option<String>>,
    /// Whether the membership is active; `false` ends everything that the user has here at once.
    pub active: Option<bool>,
}

impl Core {
    /// Members that fit, oldest first.
    pub async fn list_provisioned_users(
        &self,
        ctx: &Ctx,
        filter: &ProvisionedUserFilter,
        window: Window,
    ) -> Result<Windowed<ProvisionedUser>, CoreError> {
        require_client(ctx)?;
        let (here, list) = (ctx.organization_id.0, format!("{filter:?}"));
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let (after, total) = if let Some(mark) = self.bookmarks.get(&window.key(ctx, &list)) {
            (Some(mark.after), mark.total)
        } else {
            let skipped = window.skipped()?;
            let total = provisioned_users::count(&mut tx, here, filter).await?;
            (provisioned_users::find_nth(&mut tx, here, filter, skipped).await?, total)
        };
        let items = provisioned_users::list(&mut tx, here, filter, after, i64::from(window.count)).await?;
        self.leave_bookmark(ctx, &list, window, (items.len(), items.last().map(|row| row.id), total));
        Ok(Windowed { total, items })
    }

    /// A member.
    pub async fn show_provisioned_user(&self, ctx: &Ctx, id: UserId) -> Result<ProvisionedUser, CoreError> {
        require_client(ctx)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        find(&mut tx, ctx, id).await
    }

    /// Makes a user whose home is the caller's organization, without roles and password.
    ///
    /// # Errors
    /// `already_exists`, whoever has the name; `license_limit_reached`.
    pub async fn create_provisioned_user(
        &self,
        ctx: &Ctx,
        new: &NewProvisionedUser,
    ) -> Result<ProvisionedUser, CoreError> {
        require_client(ctx)?;
        let user = NewUser {
            username: new.username.clone(),
            email: new.email.clone(),
            display_name: Some(new.display_name.clone()),
            invited: false,
        };
        user.check()?;
        check_external_id(new.external_id.as_deref())?;
        let user = &user;
        self.in_system("create_provisioned_user", |mut tx| async move {
            licenses::check_users(&mut tx, ctx.organization_id, ctx.now).await?;
            let id = UserId(insert_user(self, &mut tx, ctx, user).await?.id);
            self.name_externally(&mut tx, ctx, id, new.external_id.as_deref()).await?;
            if !new.active {
                set_status(&mut tx, ctx, id, "active", "suspended").await?;
            }
            let made = find(&mut tx, ctx, id).await?;
            Ok((tx, made))
        })
        .await
    }

    /// Changes a member that is still at `version`, if that is given.
    ///
    /// # Errors
    /// `user_not_found`; `permission_denied` for somebody who holds more than the client's user, and for name and address of
    /// somebody who belongs to other organizations too; `already_exists`; `conflict` for ending somebody who holds a role
    /// everywhere.
    pub async fn change_provisioned_user(
        &self,
        ctx: &Ctx,
        id: UserId,
        version: Option<i64>,
        change: &ProvisionedUserChange,
    ) -> Result<ProvisionedUser, CoreError> {
        require_client(ctx)?;
        check_change(change)?;
        let changed = self
            .in_system("change_provisioned_user", |mut tx| async move {
                if change.active == Some(false) {
                    memberships::lock_groups(&mut tx, id.0, Some(ctx.organization_id.0)).await?;
                }
                let old = lock(&mut tx, ctx, id, version).await?;
                check_reach(&mut tx, ctx, id).await?;
                self.change_person(&mut tx, ctx, &old, change).await?;
                if let Some(name) = change.external_id.as_ref().filter(|name| **name != old.external_id) {
                    self.name_externally(&mut tx, ctx, id, name.as_deref()).await?;
                }
                if let Some(active) = change.active {
                    self.set_active(&mut tx, ctx, &old, active).await?;
                }
                let user = find(&mut tx, ctx, id).await?;
                Ok((tx, user))
            })
            .await?;
        self.identities.clear();
        Ok(changed)
    }

    /// Ends a membership with everything that the user has here; who belongs nowhere else is deleted, and the name is never
    /// given to another user. Of those who are suspended everywhere else the membership is only suspended: without any they
    /// could not be administered.
    ///
    /// # Errors
    /// As [`Self::change_provisioned_user`].
    pub async fn delete_provisioned_user(
        &self,
        ctx: &Ctx,
        id: UserId,
        version: Option<i64>,
    ) -> Result<(), CoreError> {
        require_client(ctx)?;
        self.in_system("delete_provisioned_user", |mut tx| async move {
            memberships::lock_groups(&mut tx, id.0, Some(ctx.organization_id.0)).await?;
            let old = lock(&mut tx, ctx, id, version).await?;
            check_reach(&mut tx, ctx, id).await?;
            let reaches = users::reaches_beyond(&mut tx, id.0, ctx.organization_id.0).await?;
            self.end_access(&mut tx, ctx, id).await?;
            let action = if reaches {
                let has_other = memberships::has_other(&mut tx, id.0, ctx.organization_id.0).await?;
                let (to, action) =
                    if has_other { ("left", "member.remove") } else { ("suspended", "member.suspend") };
                set_status(&mut tx, ctx, id, &old.membership_status, to).await?;
                action
            } else {
                let user = find_user(&mut tx, ctx, id).await?;
                let by = ctx.actor.user_id.map(Into::into);
                users::delete(&mut tx, id.0, user.version, by, ctx.now).await.map_err(has_changed)?;
                "user.delete"
            };
            let entry = AuditEntry::of(ctx, &self.entropy, action, "user").object(id).before(
                json!({"username": old.username, "email": old.email, "external_id": old.external_id}),
            );
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Name and address, of those who belong here alone.
    async fn change_person(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        old: &ProvisionedUser,
        change: &ProvisionedUserChange,
    ) -> Result<(), CoreError> {
        if change.username.as_ref().is_some_and(|name| !name.eq_ignore_ascii_case(&old.username)) {
            return Err(name_stays().into());
        }
        let email = change.email.as_ref().unwrap_or(&old.email);
        let display_name = change.display_name.as_ref().unwrap_or(&old.display_name);
        if *email == old.email && *display_name == old.display_name {
            return Ok(());
        }
        if users::reaches_beyond(conn, old.id, ctx.organization_id.0).await? {
            return Err(elsewhere_too().into());
        }
        let user = find_user(conn, ctx, UserId(old.id)).await?;
        users::update(conn, old.id, user.version, email, display_name, ctx.now)
            .await
            .map_err(|error| taken(has_changed(error)))?;
        let entry = AuditEntry::of(ctx, &self.entropy, "user.update", "user")
            .object(old.id)
            .before(json!({"email": old.email, "display_name": old.display_name}))
            .after(json!({"email": email, "display_name": display_name}));
        audit::insert(conn, entry.row()).await?;
        let before = Recipient { user_id: old.id, username: &old.username, address: &old.email };
        self.note_new_address(conn, ctx, before, email).await
    }

    async fn name_externally(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        id: UserId,
        name: Option<&str>,
    ) -> Result<(), CoreError> {
        let row = ids::new_uuid(ctx.now, &self.entropy);
        let whose = (ctx.organization_id.0, id.0);
        provisioned_users::set_external_id(conn, row, whose, name, ctx.now)
            .await
            .map_err(|error| taken(error.into()))?;
        let entry = AuditEntry::of(ctx, &self.entropy, "user.set_external_id", "user")
            .object(id)
            .after(json!({"external_id": name}));
        Ok(audit::insert(conn, entry.row()).await?)
    }

    async fn set_active(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        old: &ProvisionedUser,
        active: bool,
    ) -> Result<(), CoreError> {
        let (id, was_active) = (UserId(old.id), old.membership_status == "active");
        if active && was_active {
            return Ok(());
        }
        let action = if active {
            set_status(conn, ctx, id, "suspended", "active").await?;
            "member.resume"
        } else {
            if was_active {
                set_status(conn, ctx, id, "active", "suspended").await?;
            }
            self.end_access(conn, ctx, id).await?;
            "member.suspend"
        };
        let entry = AuditEntry::of(ctx, &self.entropy, action, "membership").object(id);
        audit::insert(conn, entry.row()).await?;
        Ok(notices::send(conn, notices::IDENTITY).await?)
    }

    /// Ends what a leaver has: roles, groups and API keys here and, of those who belong nowhere else, sessions, links and all
    /// other keys. None of it comes back by itself.
    async fn end_access(&self, conn: &mut PgConnection, ctx: &Ctx, id: UserId) -> Result<(), CoreError> {
        check_nothing_everywhere(conn, ctx, id).await?;
        let by = ctx.actor.user_id.map(Into::into);
        memberships::end_rights(conn, id.0, ctx.organization_id.0, by, ctx.now).await?;
        if !users::reaches_beyond(conn, id.0, ctx.organization_id.0).await? {
            self.end_sessions(conn, ctx, id, None, "deprovisioned").await?;
            one_time_links::revoke_all(conn, id.0, ctx.now).await?;
            api_keys::revoke_all(conn, id.0, by, ctx.now).await?;
        }
        Ok(notices::send(conn, notices::IDENTITY).await?)
    }
}

/// Fails for somebody who holds a role everywhere: that would stay, and no organization ends it.
async fn check_nothing_everywhere(conn: &mut PgConnection, ctx: &Ctx, id: UserId) -> Result<(), CoreError> {
    let held = role_assignments::list_held_from(conn, id.0, ctx.now).await?;
    if held.iter().all(|role| role.organization_id.is_some()) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Conflict, "this user holds a role in all organizations, and would keep it")
        .hint("an administrator of the installation ends them: clm user disable")
        .into())
}

fn name_stays() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "the name that a user signs in with never changes")
        .field(NAME_FIELD)
        .hint("leave userName out of what is pushed after creation; or delete the user and make another one")
}

fn elsewhere_too() -> Refusal {
    Refusal::new(
        ErrorCode::PermissionDenied,
        "this user belongs to more than this organization; name and address are not for one of them to change",
    )
    .hint("the user or an administrator of the installation changes them")
}

fn check_external_id(name: Option<&str>) -> Result<(), Refusal> {
    name.map_or(Ok(()), |name| check_name(name, "/externalId"))
}

fn check_change(change: &ProvisionedUserChange) -> Result<(), Refusal> {
    if let Some(email) = &change.email {
        check_email(email, "/emails")?;
    }
    if let Some(name) = &change.display_name {
        check_name(name, "/displayName")?;
    }
    check_external_id(change.external_id.as_ref().and_then(Option::as_deref))
}

async fn find(conn: &mut PgConnection, ctx: &Ctx, id: UserId) -> Result<ProvisionedUser, CoreError> {
    let filter = ProvisionedUserFilter { id: Some(id.0), ..ProvisionedUserFilter::default() };
    let found = provisioned_users::list(conn, ctx.organization_id.0, &filter, None, 1).await?;
    found.into_iter().next().ok_or_else(|| user_not_found(id).into())
}

/// Finds a member, still at `version` if that is given, and keeps others from changing it.
async fn lock(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: UserId,
    version: Option<i64>,
) -> Result<ProvisionedUser, CoreError> {
    if !provisioned_users::lock(conn, ctx.organization_id.0, id.0).await? {
        return Err(user_not_found(id).into());
    }
    let user = find(conn, ctx, id).await?;
    if version.is_some_and(|version| version != user.version) {
        return Err(changed_since().into());
    }
    Ok(user)
}

async fn set_status(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: UserId,
    from: &str,
    to: &str,
) -> Result<(), DbError> {
    let from = [from.to_owned()];
    memberships::set_status(conn, id.0, ctx.organization_id.0, &from, to, ctx.now).await
}
