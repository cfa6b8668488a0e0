//! Changing a password: one's own, with the present one; by a one-time link without it.

use clm_core_db::sign_in::{self, SignInRow};
use clm_core_db::{PgConnection, audit, one_time_links, second_factors};
use clm_pg::DbError;
use clm_types::{ErrorCode, Refusal, UserId};
use zeroize::Zeroizing;

use crate::audit::AuditEntry;
use crate::email_texts::EmailText;
use crate::passwords::{HashedPassword, check_password};
use crate::second_factors::check_just_opened;
use crate::sign_in::sign_in_failed;
use crate::users::user_not_found;
use crate::{Core, CoreError, Ctx};

/// Former passwords that may not be taken again, beside the present one.
const REMEMBERED: i64 = 5;

/// A password that may take the place of another.
pub(crate) struct NewPassword {
    old_hash: Option<String>,
    new: HashedPassword,
}

impl Core {
    /// Changes the caller's password, or sets the first one. All other sessions of the caller end.
    ///
    /// # Errors
    /// `sign_in_failed` when `current` is not the present one; `step_up_required` for who has none; `password_too_weak`, `invalid_request`.
    pub async fn change_password(
        &self,
        ctx: &Ctx,
        current: Option<Zeroizing<String>>,
        password: &Zeroizing<String>,
    ) -> Result<(), CoreError> {
        let user_id = ctx.user_id()?;
        ctx.require_unrestricted()?;
        let user = self.check_current_password(ctx, user_id, current).await?;
        if user.password_hash.is_none() {
            self.check_first_password(ctx, user_id).await?;
        }
        let new = &self.prepare_password(&user, password).await?;
        self.in_system("change_password", |mut tx| async move {
            self.replace_password(&mut tx, ctx, user_id, new).await?;
            let own = ctx.actor.session.map(|session| session.id);
            self.end_sessions(&mut tx, ctx, user_id, own, "password_changed").await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Fails unless somebody without a password may set one: a session that others find open does not suffice. An API key of
    /// theirs that is not cut down does, as before the first sign-in of the first administrator.
    async fn check_first_password(&self, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
        let Some(session) = ctx.actor.session else {
            return Ok(());
        };
        let mut tx = clm_pg::begin(&self.system).await?;
        let factors = second_factors::find_totp(&mut tx, user_id.0).await?;
        if factors.is_some_and(|factors| factors.mfa_enabled) {
            return Ok(ctx.require_fresh_factor()?);
        }
        Ok(check_just_opened(ctx, session)?)
    }

    /// The user, if this is the password; a failure counts like one at sign-in.
    pub(crate) async fn check_current_password(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        current: Option<Zeroizing<String>>,
    ) -> Result<SignInRow, CoreError> {
        let user = self.find_sign_in(user_id).await?;
        let Some(hash) = &user.password_hash else {
            return Ok(user);
        };
        let fits = self.passwords.verify(current.unwrap_or_default(), Some(hash), &self.entropy).await?;
        let user = &user;
        let outcome = self.in_system("check_current_password", |mut tx| async move {
            // Others may have guessed meanwhile, or changed it.
            let still = sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(|| user_not_found(user_id))?;
            let is_locked = still.locked_until.is_some_and(|until| ctx.now < until);
            if fits && !is_locked && still.password_changed_at == user.password_changed_at {
                return Ok((tx, Ok(still)));
            }
            let locked = self.note_failure(&mut tx, ctx, "user.check_password", Some(user_id.0)).await?;
            Ok((tx, Err(locked)))
        });
        outcome.await?.map_err(|locked| {
            if locked {
                self.tell_of_lock(ctx, user_id.0);
            }
            sign_in_failed().field("/current_password").into()
        })
    }

    /// What signing in needs of a user.
    pub(crate) async fn find_sign_in(&self, user_id: UserId) -> Result<SignInRow, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let found = sign_in::find_by_id(&mut tx, user_id.0).await?;
        found.ok_or_else(|| user_not_found(user_id).into())
    }

    /// Checks a new password against rules and history, and hashes it. It takes the place of the one that `user` has.
    pub(crate) async fn prepare_password(
        &self,
        user: &SignInRow,
        password: &Zeroizing<String>,
    ) -> Result<NewPassword, CoreError> {
        let names = [user.username.as_str(), &user.email, &user.display_name];
        check_password(password, &names, "/password", &self.common_passwords)?;
        let mut tx = clm_pg::begin(&self.system).await?;
        let former = sign_in::list_former_passwords(&mut tx, user.id, REMEMBERED).await?;
        drop(tx);
        for hash in former.iter().chain(user.password_hash.as_ref()) {
            if self.passwords.verify(password.clone(), Some(hash), &self.entropy).await? {
                let detail = format!("this is one of your last {} passwords", REMEMBERED + 1);
                return Err(Refusal::new(ErrorCode::PasswordTooWeak, detail).field("/password").into());
            }
        }
        let new = self.passwords.hash(password.clone(), &self.entropy).await?;
        Ok(NewPassword { old_hash: user.password_hash.clone(), new })
    }

    /// Puts it in place, in an open transaction; links that were not used end.
    pub(crate) async fn replace_password(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        user_id: UserId,
        password: &NewPassword,
    ) -> Result<(), CoreError> {
        let NewPassword { old_hash, new } = password;
        let set =
            sign_in::set_password(conn, user_id.0, old_hash.as_deref(), (&new.hash, &new.salt), ctx.now);
        set.await.map_err(changed_meanwhile)?;
        one_time_links::revoke_all(conn, user_id.0, ctx.now).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, "user.set_password", "user").object(user_id);
        audit::insert(conn, entry.row()).await?;
        let text = EmailText::PasswordChanged { address: ctx.address };
        self.tell_by_email(conn, user_id.0, &text, ctx.now).await
    }
}

fn changed_meanwhile(error: DbError) -> CoreError {
    match error {
        DbError::RowCount { .. } => {
            Refusal::new(ErrorCode::Conflict, "the password was changed by another call meanwhile").into()
        }
        other => other.into(),
    }
}
