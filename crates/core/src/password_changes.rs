//! Changing a password: one's own, with the present one; by a one-time link without it.

use clm_core_db::{PgConnection, audit, one_time_links, sign_in};
use clm_pg::DbError;
use clm_types::{ErrorCode, Refusal, UserId};
use zeroize::Zeroizing;

use crate::audit::AuditEntry;
use crate::passwords::{HashedPassword, check_password};
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
    /// `sign_in_failed` when `current` is not the present one; `password_too_weak`, `invalid_request`.
    pub async fn change_password(
        &self,
        ctx: &Ctx,
        current: Option<Zeroizing<String>>,
        password: &Zeroizing<String>,
    ) -> Result<(), CoreError> {
        let user_id = ctx.user_id()?;
        if ctx.actor.restricted {
            let detail = "a key that is restricted cannot change its user's password";
            return Err(Refusal::new(ErrorCode::PermissionDenied, detail).into());
        }
        self.check_current_password(ctx, user_id, current).await?;
        let new = &self.prepare_password(user_id, password).await?;
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

    async fn check_current_password(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        current: Option<Zeroizing<String>>,
    ) -> Result<(), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let user = sign_in::find_by_id(&mut tx, user_id.0).await?.ok_or_else(|| user_not_found(user_id))?;
        drop(tx);
        let Some(hash) = user.password_hash else {
            return Ok(());
        };
        let locked = user.locked_until.is_some_and(|until| ctx.now < until);
        let fits = self.passwords.verify(current.unwrap_or_default(), Some(&hash), &self.entropy).await?;
        if fits && !locked {
            return Ok(());
        }
        self.note_failed_sign_in(ctx, Some(user_id.0)).await?;
        Err(sign_in_failed().field("/current_password").into())
    }

    /// Checks a new password against rules and history, and hashes it.
    pub(crate) async fn prepare_password(
        &self,
        user_id: UserId,
        password: &Zeroizing<String>,
    ) -> Result<NewPassword, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let user = sign_in::find_by_id(&mut tx, user_id.0).await?.ok_or_else(|| user_not_found(user_id))?;
        let former = sign_in::list_former_passwords(&mut tx, user_id.0, REMEMBERED).await?;
        drop(tx);
        check_password(password, &[&user.username, &user.email, &user.display_name], "/password")?;
        for hash in former.iter().chain(user.password_hash.as_ref()) {
            if self.passwords.verify(password.clone(), Some(hash), &self.entropy).await? {
                let detail = format!("this is one of your last {} passwords", REMEMBERED + 1);
                return Err(Refusal::new(ErrorCode::PasswordTooWeak, detail).field("/password").into());
            }
        }
        let new = self.passwords.hash(password.clone(), &self.entropy).await?;
        Ok(NewPassword { old_hash: user.password_hash, new })
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
        Ok(audit::insert(conn, entry.row()).await?)
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
