//! Sessions: what a sign-in opens, what is still missing of it, and how it ends.

use chrono::TimeDelta;
use clm_core_db::organizations::OrganizationRow;
use clm_core_db::role_assignments::{self, HeldRoleRow};
use clm_core_db::sessions::{self, SessionCredentialRow, SessionEnd};
use clm_core_db::{DbError, PgConnection, audit, notices, users};
use clm_types::{ErrorCode, Permission, Refusal, SessionId, Time, UserId};
use uuid::Uuid;

use crate::actor::{ALL_PERMISSIONS, Actor, ActorKind, MissingFactor, SessionProof};
use crate::audit::AuditEntry;
use crate::error::has_changed;
use crate::identity::texts;
use crate::organization_settings::OrganizationSettings;
use crate::page::{Page, PageRequest};
use crate::users::{find_for_change, user_not_found};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::sessions::SessionRow as Session;

/// How long a shown factor counts for what is most worth protecting.
pub const FRESH: TimeDelta = TimeDelta::minutes(5);

fn session_not_found(id: SessionId) -> Refusal {
    Refusal::new(ErrorCode::SessionNotFound, format!("there is no open session {id}"))
}

/// The circumstances of somebody who has just opened a session.
pub(crate) fn of_session(ctx: &Ctx, session: &Session) -> Ctx {
    let proof = SessionProof { id: SessionId(session.id), factor_at: session.mfa_at, missing: None };
    let actor = Actor {
        kind: ActorKind::User,
        user_id: Some(UserId(session.user_id)),
        session: Some(proof),
        ..ctx.actor.clone()
    };
    Ctx { actor, ..ctx.clone() }
}

/// What a session lacks: users who have a second factor show it; administrators, and whoever works for an organization that
/// asks for one, have one.
pub(crate) fn missing_of(
    credential: &SessionCredentialRow,
    held: &[HeldRoleRow],
    organization: Option<&OrganizationRow>,
) -> Option<MissingFactor> {
    if credential.mfa_at.is_some() {
        return None;
    }
    if credential.mfa_enabled {
        return Some(MissingFactor::Code);
    }
    let administrates = held.iter().any(|role| texts(&role.permissions).contains(&ALL_PERMISSIONS));
    let is_required = credential.factor_required
        || organization.is_some_and(|it| OrganizationSettings::read(&it.settings).requires_factor());
    (administrates || is_required).then_some(MissingFactor::Enrolment)
}

impl Core {
    /// What a session lacks that was just opened.
    pub(crate) async fn missing_factor(
        &self,
        conn: &mut PgConnection,
        token_hash: &[u8; 32],
        now: Time,
    ) -> Result<Option<MissingFactor>, CoreError> {
        let credential = self.find_session_credential(conn, token_hash).await?;
        let credential =
            credential.ok_or_else(|| CoreError::defect("a new session is not there".to_owned()))?;
        let held = role_assignments::list_held(conn, credential.user_id, now).await?;
        Ok(missing_of(&credential, &held, None))
    }

    /// What a session's token stands for.
    pub(crate) async fn find_session_credential(
        &self,
        conn: &mut PgConnection,
        token_hash: &[u8; 32],
    ) -> Result<Option<SessionCredentialRow>, DbError> {
        let found = sessions::find_credential(conn, token_hash).await?;
        Ok(found.map(|row| SessionCredentialRow {
            factor_required: row.factor_required || self.second_factor_required,
            ..row
        }))
    }

    /// Open sessions, newest first: one's own, or those of a user of the caller's organization.
    pub async fn list_sessions(
        &self,
        ctx: &Ctx,
        of_user: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<Session>, CoreError> {
        let user_id = self.check_whose(ctx, of_user, Permission::UserRead).await?;
        let mut tx = clm_pg::begin(&self.system).await?;
        let times = (ctx.now, ctx.now - self.session_idle);
        let rows = sessions::list_open(&mut tx, user_id.0, times, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// Ends a session at once, in every process.
    pub async fn revoke_session(&self, ctx: &Ctx, id: SessionId) -> Result<(), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let found = sessions::find(&mut tx, id.0).await?.ok_or_else(|| session_not_found(id))?;
        drop(tx);
        let whose = self.check_whose(ctx, Some(UserId(found.user_id)), Permission::UserWrite).await;
        whose.map_err(|error| match error {
            CoreError::Refused(_) => session_not_found(id).into(),
            other => other,
        })?;
        let own = ctx.actor.user_id == Some(UserId(found.user_id));
        let end = end(ctx, if own { "signed_out" } else { "administrator" });
        self.in_system("revoke_session", |mut tx| async move {
            sessions::revoke(&mut tx, id.0, end).await.map_err(has_changed)?;
            let entry = AuditEntry::of(ctx, &self.entropy, "session.revoke", "session").object(id);
            audit::insert(&mut tx, entry.row()).await?;
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Ends all sessions of a user at once, of oneself all but the one in use. How many they were.
    pub async fn revoke_sessions(&self, ctx: &Ctx, of_user: Option<UserId>) -> Result<u64, CoreError> {
        let user_id = self.check_whose(ctx, of_user, Permission::UserWrite).await?;
        let own = ctx.actor.user_id == Some(user_id);
        let reason = if own { "signed_out" } else { "administrator" };
        let ended = self
            .in_system("revoke_sessions", |mut tx| async move {
                let except = ctx.actor.session.as_ref().map(|session| session.id).filter(|_| own);
                let ended = self.end_sessions(&mut tx, ctx, user_id, except, reason).await?;
                Ok((tx, ended))
            })
            .await?;
        self.identities.clear();
        Ok(ended)
    }

    /// Ends the sessions of a user but one, in an open transaction; asks nothing.
    pub(crate) async fn end_sessions(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        user_id: UserId,
        except: Option<SessionId>,
        reason: &str,
    ) -> Result<u64, CoreError> {
        let ended = sessions::revoke_all(conn, user_id.0, except.map(Into::into), end(ctx, reason)).await?;
        if ended > 0 {
            let entry = AuditEntry::of(ctx, &self.entropy, "session.revoke_all", "user")
                .object(user_id)
                .detail(format!("{ended} sessions: {reason}"));
            audit::insert(conn, entry.row()).await?;
        }
        notices::send(conn, notices::IDENTITY).await?;
        Ok(ended)
    }

    /// The caller, or a user of its organization for whoever has `permission` and may do no less.
    async fn check_whose(
        &self,
        ctx: &Ctx,
        of_user: Option<UserId>,
        permission: Permission,
    ) -> Result<UserId, CoreError> {
        let user_id = of_user.map_or_else(|| ctx.user_id(), Ok)?;
        if ctx.actor.user_id == Some(user_id) {
            ctx.require_unrestricted()?;
            return Ok(user_id);
        }
        ctx.require(permission)?;
        let mut tx = clm_pg::begin(&self.system).await?;
        if permission == Permission::UserWrite {
            find_for_change(&mut tx, ctx, user_id).await?;
            return Ok(user_id);
        }
        let found = users::find_in_organization(&mut tx, user_id.0, ctx.organization_id.0, ctx.now);
        found.await?.ok_or_else(|| user_not_found(user_id))?;
        // Where else somebody works is not for one organization to see.
        if users::reaches_beyond(&mut tx, user_id.0, ctx.organization_id.0).await? {
            ctx.require_global(permission)?;
        }
        Ok(user_id)
    }
}

fn end<'a>(ctx: &Ctx, reason: &'a str) -> SessionEnd<'a> {
    let by: Option<Uuid> = ctx.actor.user_id.map(Into::into);
    SessionEnd { reason, by, now: ctx.now }
}
