//! Memberships: an organization invites, the invited one joins or not; either side can end it.

use clm_core_db::memberships;
use clm_core_db::{DbError, PgConnection, audit, notices, role_assignments, sign_in, users};
use clm_types::{ErrorCode, OrganizationId, Permission, Refusal, UserId, ids};
use serde_json::json;

use crate::audit::AuditEntry;
use crate::fields::check_username;
use crate::identity::union;
use crate::notifications::{self, Message};
use crate::roles::check_withdrawal;
use crate::users::find_user;
use crate::{Core, CoreError, Ctx, licenses};

pub use clm_core_db::memberships::MembershipRow as Membership;

/// Which organization it is, is not for everybody who reads for the one at home.
const INVITED: Message<'_> = Message {
    kind: "member.invite",
    priority: "normal",
    title: "An organization invites you",
    body: "See which one, and join or not: clm membership list",
};

/// Memberships of one user that are listed.
const MOST_LISTED: i64 = 200;

/// Whatever the reason is.
fn takes_nobody_in() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "the organization takes nobody in at present")
        .hint("the invitation stays; ask whoever has sent it")
}

fn no_membership(id: OrganizationId) -> Refusal {
    Refusal::new(ErrorCode::OrganizationNotFound, format!("you have no such membership in {id}"))
        .hint("list yours: clm membership list")
}

/// What users do with memberships of their own.
#[derive(Clone, Copy)]
enum OwnChange {
    Join,
    Decline,
    Leave,
    Prefer,
}

impl OwnChange {
    const fn action(self) -> &'static str {
        match self {
            Self::Join => "member.join",
            Self::Decline => "member.decline",
            Self::Leave => "member.leave",
            Self::Prefer => "member.prefer",
        }
    }

    /// Who leaves what they were only invited to turns the invitation down.
    async fn in_state(
        self,
        conn: &mut PgConnection,
        user_id: UserId,
        id: OrganizationId,
    ) -> Result<Self, CoreError> {
        if !matches!(self, Self::Leave) {
            return Ok(self);
        }
        let status = users::find_membership_status(conn, user_id.0, id.0).await?;
        Ok(if status.as_deref() == Some("invited") { Self::Decline } else { self })
    }

    async fn make(self, conn: &mut PgConnection, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
        let id = ctx.organization_id;
        match self {
            Self::Join => {
                // Who was not invited learns nothing of the organization, not even that it is full.
                let status = users::find_membership_status(conn, user_id.0, id.0).await?;
                if status.as_deref() != Some("invited") {
                    return Err(no_membership(id).into());
                }
                let may_come = licenses::check_users(conn, id, ctx.now).await;
                may_come.map_err(|error| licenses::without_reason(error, takes_nobody_in()))?;
                // What an earlier membership left behind, whoever was late with it.
                memberships::lock_groups(conn, user_id.0, Some(id.0)).await?;
                memberships::end_rights(conn, user_id.0, id.0, Some(user_id.0), ctx.now).await?;
                set_status(conn, ctx, user_id, &["invited"], "active").await
            }
            Self::Decline => set_status(conn, ctx, user_id, &["invited"], "left").await,
            Self::Leave => {
                memberships::lock_groups(conn, user_id.0, Some(id.0)).await?;
                check_other_membership(conn, user_id, id).await?;
                set_status(conn, ctx, user_id, &["active", "suspended"], "left").await?;
                Ok(memberships::end_rights(conn, user_id.0, id.0, Some(user_id.0), ctx.now).await?)
            }
            Self::Prefer => {
                let set = memberships::set_primary(conn, user_id.0, id.0, ctx.now).await;
                set.map_err(|error| missing(error, id))
            }
        }
    }
}

impl Core {
    /// Invites a user of the installation into the caller's organization. Whether there is such a user is not told: other
    /// organizations' people are not for this one to know before they join.
    pub async fn invite_member(&self, ctx: &Ctx, username: &str) -> Result<(), CoreError> {
        ctx.require(Permission::UserWrite)?;
        check_username(username, "/username")?;
        self.in_system("invite_member", |mut tx| async move {
            let user = sign_in::find(&mut tx, username).await?;
            if let Some(user) = user.filter(|user| user.status == "active") {
                let (id, by) = (ids::new_uuid(ctx.now, &self.entropy), ctx.actor.user_id.map(Into::into));
                let new =
                    memberships::invite(&mut tx, id, user.id, ctx.organization_id.0, by, ctx.now).await?;
                if new {
                    notifications::tell_at_home(&mut tx, &self.entropy, ctx.now, &[user.id], &INVITED)
                        .await?;
                }
            }
            let entry = AuditEntry::of(ctx, &self.entropy, "member.invite", "membership")
                .after(json!({"username": username}));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await
    }

    /// The caller's memberships, the first choice first.
    pub async fn list_memberships(&self, ctx: &Ctx) -> Result<Vec<Membership>, CoreError> {
        ctx.require_unrestricted()?;
        let mut tx = clm_pg::begin(&self.system).await?;
        Ok(memberships::list(&mut tx, ctx.user_id()?.0, MOST_LISTED).await?)
    }

    /// Joins an organization that has invited the caller.
    ///
    /// # Errors
    /// `organization_not_found` without an invitation; `conflict` when the organization takes nobody in: why is not told.
    pub async fn accept_membership(&self, ctx: &Ctx, id: OrganizationId) -> Result<(), CoreError> {
        self.change_own(ctx, id, OwnChange::Join).await
    }

    /// Ends the caller's membership, or turns an invitation down. Roles there and keys for there end at once.
    ///
    /// # Errors
    /// `organization_not_found` without a membership; `conflict` for the last one that is active.
    pub async fn leave_organization(&self, ctx: &Ctx, id: OrganizationId) -> Result<(), CoreError> {
        self.change_own(ctx, id, OwnChange::Leave).await
    }

    /// Makes an organization the one that the caller works in unless another is named.
    ///
    /// # Errors
    /// `organization_not_found` without an active membership.
    pub async fn prefer_organization(&self, ctx: &Ctx, id: OrganizationId) -> Result<(), CoreError> {
        self.change_own(ctx, id, OwnChange::Prefer).await
    }

    async fn change_own(&self, ctx: &Ctx, id: OrganizationId, change: OwnChange) -> Result<(), CoreError> {
        let user_id = ctx.user_id()?;
        ctx.require_unrestricted()?;
        let inside = &Ctx { organization_id: id, ..ctx.clone() };
        self.in_system("change_membership", |mut tx| async move {
            let change = change.in_state(&mut tx, user_id, id).await?;
            change.make(&mut tx, inside, user_id).await?;
            // Where it is read: in that organization, unless it shall not know who turned it down.
            let read_in = if matches!(change, OwnChange::Decline) { ctx } else { inside };
            let entry = AuditEntry::of(read_in, &self.entropy, change.action(), "membership").object(user_id);
            audit::insert(&mut tx, entry.row()).await?;
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Keeps a member out of the caller's organization for a while.
    ///
    /// # Errors
    /// `user_not_found`, `conflict` unless the membership is active.
    pub async fn suspend_member(&self, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
        self.change_member(ctx, user_id, "member.suspend", &["active"], "suspended").await
    }

    /// Lets a suspended member in again.
    ///
    /// # Errors
    /// `user_not_found`, `conflict` unless the membership is suspended.
    pub async fn resume_member(&self, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
        self.change_member(ctx, user_id, "member.resume", &["suspended"], "active").await
    }

    /// Ends a membership in the caller's organization; roles and keys there end at once. The user stays.
    ///
    /// # Errors
    /// `user_not_found`, `conflict` when there is none, or no other.
    pub async fn remove_member(&self, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
        self.change_member(ctx, user_id, "member.remove", &["active", "suspended"], "left").await
    }

    async fn change_member(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        action: &str,
        from: &[&str],
        to: &str,
    ) -> Result<(), CoreError> {
        ctx.require(Permission::UserWrite)?;
        self.in_system("change_member", |mut tx| async move {
            find_user(&mut tx, ctx, user_id).await?;
            // Who may do less does not disarm who may do more.
            let held = role_assignments::list_held_from(&mut tx, user_id.0, ctx.now).await?;
            let theirs = union(held.iter().filter(|role| role.holds_in(ctx.organization_id.0)));
            check_withdrawal(theirs, ctx.actor.permissions)?;
            // Nor does one organization keep out who holds a role in all of them.
            if to != "active" {
                let everywhere = union(held.iter().filter(|role| role.organization_id.is_none()));
                check_withdrawal(everywhere, ctx.actor.global_permissions)?;
            }
            if to == "left" {
                memberships::lock_groups(&mut tx, user_id.0, Some(ctx.organization_id.0)).await?;
            }
            set_status(&mut tx, ctx, user_id, from, to).await.map_err(|error| not_so(error, user_id))?;
            if to == "left" {
                check_other_membership(&mut tx, user_id, ctx.organization_id).await?;
                let by = ctx.actor.user_id.map(Into::into);
                memberships::end_rights(&mut tx, user_id.0, ctx.organization_id.0, by, ctx.now).await?;
            }
            let entry = AuditEntry::of(ctx, &self.entropy, action, "membership").object(user_id);
            audit::insert(&mut tx, entry.row()).await?;
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }
}

/// Fails for the last membership of a user: who has none can neither sign in nor be administered.
async fn check_other_membership(
    conn: &mut PgConnection,
    user_id: UserId,
    id: OrganizationId,
) -> Result<(), CoreError> {
    if memberships::has_other(conn, user_id.0, id.0).await? {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Conflict, "this is the user's last membership")
        .hint("an administrator suspends the member, or disables or deletes the user")
        .into())
}

/// Moves a membership in the organization of `ctx`.
async fn set_status(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
    from: &[&str],
    to: &str,
) -> Result<(), CoreError> {
    let (id, from) = (ctx.organization_id, from.iter().map(|&state| state.to_owned()).collect::<Vec<_>>());
    let set = memberships::set_status(conn, user_id.0, id.0, &from, to, ctx.now).await;
    set.map_err(|error| missing(error, id))
}

fn missing(error: DbError, id: OrganizationId) -> CoreError {
    match error {
        DbError::RowCount { .. } => no_membership(id).into(),
        other => other.into(),
    }
}

/// For the organization's side: a user who is seen but whose membership is in another state, or who has none and works here
/// by a role for all organizations.
fn not_so(error: CoreError, user_id: UserId) -> CoreError {
    match error {
        CoreError::Refused(refusal) if refusal.code == ErrorCode::OrganizationNotFound => Refusal::new(
            ErrorCode::Conflict,
            format!("the membership of {user_id} is in another state, or there is none"),
        )
        .hint("look at it: clm user show")
        .into(),
        other => other,
    }
}
