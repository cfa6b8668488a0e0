//! Users: people and programs. They are global; what a caller sees are those of its organization.

use clm_core_db::users::{self, NewUserRow};
use clm_core_db::{
    DbError, PgConnection, audit, memberships, notices, one_time_links, role_assignments, sign_in,
    workload_rules,
};
use clm_types::{ErrorCode, Permission, Refusal, UserId, ids};
use serde_json::json;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::email_messages::Recipient;
use crate::email_texts::EmailText;
use crate::error::has_changed;
use crate::fields::{check_email, check_name, check_username};
use crate::identity::union;
use crate::page::{Page, PageRequest};
use crate::role_assignments::{administrates, check_other_administrator};
use crate::roles::check_grant;
use crate::{Core, CoreError, Ctx, licenses};

pub use clm_core_db::users::UserRow as User;

/// A new user.
pub struct NewUser {
    /// Unique in the installation.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name to show; the username unless given.
    pub display_name: Option<String>,
    /// Whether the user is to set a password by a one-time link before anything else.
    pub invited: bool,
}

impl NewUser {
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        check_username(&self.username, "/username")?;
        check_email(&self.email, "/email")?;
        if let Some(name) = &self.display_name {
            check_name(name, "/display_name")?;
        }
        Ok(())
    }
}

/// What can change of a user.
#[derive(Debug, Clone)]
pub struct UserChange {
    /// Address.
    pub email: String,
    /// Name to show.
    pub display_name: String,
}

/// `user_not_found`.
pub(crate) fn user_not_found(id: UserId) -> Refusal {
    Refusal::new(ErrorCode::UserNotFound, format!("there is no user {id}"))
}

impl Core {
    /// Makes a user, a member of the caller's organization, without roles.
    pub async fn create_user(&self, ctx: &Ctx, new: &NewUser) -> Result<User, CoreError> {
        ctx.require(Permission::UserWrite)?;
        new.check()?;
        self.in_system("create_user", |mut tx| async move {
            licenses::check_users(&mut tx, ctx.organization_id, ctx.now).await?;
            let user = insert_user(self, &mut tx, ctx, new).await?;
            Ok((tx, user))
        })
        .await
    }

    /// A user of the caller's organization. Everybody may see themselves.
    pub async fn show_user(&self, ctx: &Ctx, id: UserId) -> Result<User, CoreError> {
        if ctx.actor.user_id != Some(id) {
            ctx.require(Permission::UserRead)?;
        }
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        find_user(&mut tx, ctx, id).await
    }

    /// Members of the caller's organization, newest first.
    pub async fn list_users(&self, ctx: &Ctx, page: PageRequest) -> Result<Page<User>, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows =
            users::list_in_organization(&mut tx, ctx.organization_id.0, page.before, page.fetch_limit());
        Ok(Page::cut(rows.await?, page, |row| row.id))
    }

    /// Changes address and name. With e-mail, another address leads to a password: no limited API key changes it.
    ///
    /// # Errors
    /// `permission_denied`, `already_exists`, `precondition_failed`.
    pub async fn update_user(
        &self,
        ctx: &Ctx,
        id: UserId,
        version: i64,
        change: &UserChange,
    ) -> Result<User, CoreError> {
        check_email(&change.email, "/email")?;
        check_name(&change.display_name, "/display_name")?;
        self.in_system("update_user", |mut tx| async move {
            let old = find_for_change(&mut tx, ctx, id).await?;
            if old.email != change.email {
                ctx.require_unrestricted()?;
            }
            users::update(&mut tx, id.0, version, &change.email, &change.display_name, ctx.now)
                .await
                .map_err(|error| taken(has_changed(error)))?;
            let entry = AuditEntry::of(ctx, &self.entropy, "user.update", "user")
                .object(id)
                .before(json!({"email": old.email, "display_name": old.display_name}))
                .after(json!({"email": change.email, "display_name": change.display_name}));
            audit::insert(&mut tx, entry.row()).await?;
            let before = Recipient { user_id: id.0, username: &old.username, address: &old.email };
            self.note_new_address(&mut tx, ctx, before, &change.email).await?;
            let user = find_user(&mut tx, ctx, id).await?;
            Ok((tx, user))
        })
        .await
    }

    /// After an address may have changed, in an open transaction: the one before is told, and every link that may have gone
    /// there ends.
    pub(crate) async fn note_new_address(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        before: Recipient<'_>,
        address: &str,
    ) -> Result<(), CoreError> {
        if before.address == address {
            return Ok(());
        }
        one_time_links::revoke_all(conn, before.user_id, ctx.now).await?;
        if let Some(outbox) = &self.outbox {
            outbox.write(conn, before, &EmailText::AddressChanged { address: ctx.address }, ctx.now).await?;
        }
        Ok(())
    }

    /// Lets a user in no longer: keys and sessions end at once.
    ///
    /// # Errors
    /// `conflict` for the last administrator of the installation.
    pub async fn disable_user(&self, ctx: &Ctx, id: UserId, version: i64) -> Result<User, CoreError> {
        self.set_user_status(ctx, id, version, "disabled").await
    }

    /// Lets a disabled user in again.
    pub async fn enable_user(&self, ctx: &Ctx, id: UserId, version: i64) -> Result<User, CoreError> {
        self.set_user_status(ctx, id, version, "active").await
    }

    async fn set_user_status(
        &self,
        ctx: &Ctx,
        id: UserId,
        version: i64,
        status: &'static str,
    ) -> Result<User, CoreError> {
        let user = self
            .in_system("set_user_status", |mut tx| async move {
                role_assignments::lock_administrators(&mut tx).await?;
                let old = find_for_change(&mut tx, ctx, id).await?;
                ctx.require(Permission::UserWrite)?;
                if status != "active" && administrates(&mut tx, ctx, id).await? {
                    check_other_administrator(&mut tx, ctx, id).await?;
                }
                users::set_status(&mut tx, id.0, version, status, ctx.now).await.map_err(has_changed)?;
                let entry = AuditEntry::of(ctx, &self.entropy, "user.set_status", "user")
                    .object(id)
                    .before(json!({"status": old.status}))
                    .after(json!({"status": status}));
                audit::insert(&mut tx, entry.row()).await?;
                if status != "active" {
                    // They do not come back with the user.
                    self.end_sessions(&mut tx, ctx, id, None, "disabled").await?;
                    one_time_links::revoke_all(&mut tx, id.0, ctx.now).await?;
                }
                notices::send(&mut tx, notices::IDENTITY).await?;
                let user = find_user(&mut tx, ctx, id).await?;
                Ok((tx, user))
            })
            .await?;
        self.identities.clear();
        Ok(user)
    }

    /// Deletes a user: sessions, keys, roles and memberships end at once. The row stays for the audit, and the name is never
    /// given to another user.
    ///
    /// # Errors
    /// `conflict` for the last administrator of the installation.
    pub async fn delete_user(&self, ctx: &Ctx, id: UserId, version: i64) -> Result<(), CoreError> {
        self.in_system("delete_user", |mut tx| async move {
            role_assignments::lock_administrators(&mut tx).await?;
            // No group of theirs gives a role meanwhile.
            memberships::lock_groups(&mut tx, id.0, None).await?;
            let old = find_for_change(&mut tx, ctx, id).await?;
            ctx.require(Permission::UserWrite)?;
            if administrates(&mut tx, ctx, id).await? {
                check_other_administrator(&mut tx, ctx, id).await?;
            }
            self.end_sessions(&mut tx, ctx, id, None, "deleted").await?;
            one_time_links::revoke_all(&mut tx, id.0, ctx.now).await?;
            let by = ctx.actor.user_id.map(Into::into);
            workload_rules::disable_of_user(&mut tx, id.0, None, ctx.now).await?;
            users::delete(&mut tx, id.0, version, by, ctx.now).await.map_err(has_changed)?;
            let entry = AuditEntry::of(ctx, &self.entropy, "user.delete", "user")
                .object(id)
                .before(json!({"username": old.username, "email": old.email, "status": old.status}));
            audit::insert(&mut tx, entry.row()).await?;
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Ends the lock of a user after too many failed sign-ins.
    ///
    /// # Errors
    /// `conflict` when there is none.
    pub async fn unlock_user(&self, ctx: &Ctx, id: UserId) -> Result<User, CoreError> {
        ctx.require(Permission::UserWrite)?;
        self.in_system("unlock_user", |mut tx| async move {
            find_for_change(&mut tx, ctx, id).await?;
            if !sign_in::unlock(&mut tx, id.0, ctx.now).await? {
                return Err(Refusal::new(ErrorCode::Conflict, "the user is not locked").into());
            }
            let entry = AuditEntry::of(ctx, &self.entropy, "user.unlock", "user").object(id);
            audit::insert(&mut tx, entry.row()).await?;
            let user = find_user(&mut tx, ctx, id).await?;
            Ok((tx, user))
        })
        .await
    }
}

pub(crate) async fn find_user(conn: &mut PgConnection, ctx: &Ctx, id: UserId) -> Result<User, CoreError> {
    let found = users::find_in_organization(conn, id.0, ctx.organization_id.0, ctx.now).await?;
    found.ok_or_else(|| user_not_found(id).into())
}

/// Finds a user whom the caller may change: themselves, or one of their organization who may do no
/// more than they. Who belongs elsewhere
/// too is changed only by those who may do so everywhere.
pub(crate) async fn find_for_change(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: UserId,
) -> Result<User, CoreError> {
    let oneself = ctx.actor.user_id == Some(id) && !ctx.actor.restricted;
    if !oneself {
        ctx.require(Permission::UserWrite)?;
    }
    let user = find_user(conn, ctx, id).await?;
    if oneself {
        return Ok(user);
    }
    let held = role_assignments::list_held_from(conn, id.0, ctx.now).await?;
    if users::reaches_beyond(conn, id.0, ctx.organization_id.0).await? {
        ctx.require_global(Permission::UserWrite)?;
        check_grant(union(held.iter()), ctx.actor.global_permissions)?;
    } else {
        check_grant(union(held.iter()), ctx.actor.permissions)?;
    }
    Ok(user)
}

/// A conflict on username or address, as `already_exists`; not which of them: users are global, and an organization
/// does not learn whom others have.
pub(crate) fn taken(error: CoreError) -> CoreError {
    let CoreError::Database(DbError::Conflict { .. }) = &error else {
        return error;
    };
    Refusal::new(ErrorCode::AlreadyExists, "this username or e-mail address cannot be used")
        .hint("choose others")
        .into()
}

async fn insert_membership(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: Uuid,
) -> Result<(), DbError> {
    let id = ids::new_uuid(ctx.now, &core.entropy);
    let by = ctx.actor.user_id.map(Into::into);
    users::insert_membership(conn, id, user_id, ctx.organization_id.0, by, ctx.now).await
}

/// Adds a user with membership and audit entry, in an open transaction; asks nothing.
pub(crate) async fn insert_user(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    new: &NewUser,
) -> Result<User, CoreError> {
    let id = UserId::generate(ctx.now, &core.entropy);
    let row = NewUserRow {
        id: id.0,
        username: &new.username,
        email: &new.email,
        display_name: new.display_name.as_deref().unwrap_or(&new.username),
        status: if new.invited { "invited" } else { "active" },
        created_at: ctx.now,
    };
    users::insert(conn, &row).await.map_err(|error| taken(error.into()))?;
    insert_membership(core, conn, ctx, id.0).await?;
    let entry = AuditEntry::of(ctx, &core.entropy, "user.create", "user")
        .object(id)
        .after(json!({"username": new.username, "email": new.email}));
    audit::insert(conn, entry.row()).await?;
    find_user(conn, ctx, id).await
}
