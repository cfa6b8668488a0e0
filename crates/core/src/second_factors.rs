//! Second factors: one-time codes (TOTP, RFC 6238), passkeys, and the recovery codes that stand in for them.

use clm_core_db::second_factors;
use clm_core_db::sign_in::SignInRow;
use clm_core_db::{PgConnection, audit, notices, sessions, sign_in};
use clm_types::{ErrorCode, Refusal, SessionId, UserId};
use zeroize::Zeroizing;

use crate::actor::SessionProof;
use crate::audit::AuditEntry;
use crate::email_texts::EmailText;
use crate::error::has_changed;
use crate::passkey_sign_in::Answer;
use crate::recovery_codes::hash;
use crate::sessions::FRESH;
use crate::sign_in::{note_whole_sign_in, sign_in_failed};
use crate::tokens::{Token, TokenKind};
use crate::users::find_for_change;
use crate::webauthn::Assertion;
use crate::{Core, CoreError, Ctx};

/// Wrong codes that end a session.
const MOST_WRONG_CODES: i32 = 5;

/// What is shown as a second factor.
pub enum Factor {
    /// Six digits of an authenticator program.
    Totp(Zeroizing<String>),
    /// One of the codes for when it is lost.
    RecoveryCode(Zeroizing<String>),
    /// An answer of a passkey.
    Passkey(Assertion),
}

/// What a shown factor comes to, still to be taken.
enum Shown {
    Step(i64),
    RecoveryCode(Vec<u8>),
    Passkey(Answer),
    Wrong,
}

fn in_no_session() -> Refusal {
    Refusal::new(ErrorCode::PermissionDenied, "this is done in a session, not with an API key")
        .hint("sign in with name and password: clm login URL --username NAME")
}

/// Whose session this is.
pub(crate) fn proof(ctx: &Ctx) -> Result<(UserId, SessionProof), Refusal> {
    let session = ctx.actor.session.ok_or_else(in_no_session)?;
    Ok((ctx.user_id()?, session))
}

impl Core {
    /// Fails unless the caller may add a factor: who finds a session open shall not give it one of their own. Who has a factor
    /// has shown it just now; who has none shows the password again, or has just signed in by a provider.
    ///
    /// # Errors
    /// `step_up_required`; `sign_in_failed` for a wrong password.
    pub(crate) async fn check_may_enrol(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        current_password: Option<Zeroizing<String>>,
    ) -> Result<SignInRow, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let factors = second_factors::find_totp(&mut tx, user_id.0).await?;
        drop(tx);
        if factors.is_some_and(|factors| factors.mfa_enabled) {
            ctx.require_fresh_factor()?;
            return self.find_sign_in(user_id).await;
        }
        let user = self.check_current_password(ctx, user_id, current_password).await?;
        if user.password_hash.is_none() {
            let (_, session) = proof(ctx)?;
            check_just_opened(ctx, session)?;
        }
        Ok(user)
    }

    /// Completes a sign-in, or freshens it for five minutes. The session's token changes; five wrong codes end it.
    ///
    /// # Errors
    /// `sign_in_failed`, whatever was wrong.
    pub async fn show_factor(&self, ctx: &Ctx, factor: &Factor) -> Result<Token, CoreError> {
        let (user_id, session) = proof(ctx)?;
        let shown = &self.check_factor(ctx, (user_id, session), factor).await?;
        let token = Token::generate(TokenKind::Session, &self.entropy);
        let token_hash = &token.hash();
        let outcome = self.in_system("show_factor", |mut tx| async move {
            // One at a time: each wrong one counts before the next is looked at.
            let user = sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(sign_in_failed)?;
            // A lock keeps sign-ins out. Who is in already is not kept from work by others' failures.
            let is_locked =
                user.locked_until.is_some_and(|until| ctx.now < until) && session.factor_at.is_none();
            if is_locked || !take_factor(&mut tx, ctx, user_id, shown).await? {
                let locked = self.note_wrong_code(&mut tx, ctx, user_id, session).await?;
                return Ok((tx, Err(locked)));
            }
            self.accept_factor(&mut tx, ctx, session, factor, token_hash).await?;
            Ok((tx, Ok(())))
        });
        let outcome = outcome.await?;
        self.identities.clear();
        match outcome {
            Ok(()) => Ok(token),
            Err(locked) => Err(self.wrong_factor(ctx, user_id, locked)),
        }
    }

    /// The answer to a wrong factor, which may have locked the user.
    pub(crate) fn wrong_factor(&self, ctx: &Ctx, user_id: UserId, locked: bool) -> CoreError {
        if locked {
            self.tell_of_lock(ctx, user_id.0);
        }
        sign_in_failed().into()
    }

    async fn check_factor(
        &self,
        ctx: &Ctx,
        (user_id, session): (UserId, SessionProof),
        factor: &Factor,
    ) -> Result<Shown, CoreError> {
        let shown = match factor {
            Factor::Totp(code) => {
                let (row, sealed) = self.find_secret(user_id).await?;
                let step = self.matching_step(user_id, &sealed, code, ctx.now)?;
                step.filter(|_| row.totp_enabled).map(Shown::Step)
            }
            Factor::RecoveryCode(code) => Some(Shown::RecoveryCode(hash(user_id, code))),
            Factor::Passkey(assertion) => {
                self.check_passkey_factor(ctx, (user_id, session), assertion).await?.map(Shown::Passkey)
            }
        };
        Ok(shown.unwrap_or(Shown::Wrong))
    }

    async fn accept_factor(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        session: SessionProof,
        factor: &Factor,
        token_hash: &[u8; 32],
    ) -> Result<(), CoreError> {
        if session.factor_at.is_none() {
            note_whole_sign_in(conn, ctx, ctx.user_id()?.0).await?;
        }
        sessions::rotate(conn, session.id.0, token_hash, ctx.now).await.map_err(has_changed)?;
        let entry = AuditEntry::of(ctx, &self.entropy, "session.show_factor", "session")
            .object(session.id)
            .detail(factor.name());
        audit::insert(conn, entry.row()).await?;
        Ok(notices::send(conn, notices::IDENTITY).await?)
    }

    /// Counts it for the user and for the session, which ends at the fifth. Whether it locked the user.
    pub(crate) async fn note_wrong_code(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        user_id: UserId,
        session: SessionProof,
    ) -> Result<bool, CoreError> {
        if sessions::note_wrong_code(conn, session.id.0, MOST_WRONG_CODES, ctx.now).await? {
            notices::send(conn, notices::IDENTITY).await?;
        }
        self.note_failure(conn, ctx, "session.show_factor", Some(user_id.0)).await
    }

    /// Takes all second factors from a user who has lost them and whom the caller may change. The user's sessions end.
    ///
    /// # Errors
    /// `conflict` when there is none.
    pub async fn remove_factors(&self, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
        ctx.require_unrestricted()?;
        let own = ctx.actor.user_id == Some(user_id);
        let except = if own { Some(proof(ctx)?.1.id) } else { None };
        self.in_system("remove_factors", |mut tx| async move {
            find_for_change(&mut tx, ctx, user_id).await?;
            sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(not_set_up)?;
            let had_totp = second_factors::clear_totp(&mut tx, user_id.0, ctx.now).await?;
            let passkeys = second_factors::clear_passkeys(&mut tx, user_id.0, ctx.now).await?;
            if !had_totp && passkeys == 0 {
                return Err(not_set_up().into());
            }
            let entry = AuditEntry::of(ctx, &self.entropy, "factor.remove", "user")
                .object(user_id)
                .detail(format!("all, {passkeys} passkeys among them"));
            audit::insert(&mut tx, entry.row()).await?;
            self.note_lost_factor(&mut tx, ctx, (user_id, "all of them"), except).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// After a factor was taken away, in an open transaction: recovery codes stand in for nothing when it was the last, other
    /// sessions end, and the user is told.
    pub(crate) async fn note_lost_factor(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        (user_id, what): (UserId, &str),
        except: Option<SessionId>,
    ) -> Result<(), CoreError> {
        if !second_factors::recount(conn, user_id.0, ctx.now).await? {
            second_factors::replace_recovery_codes(conn, user_id.0, &[], ctx.now).await?;
        }
        self.end_sessions(conn, ctx, user_id, except, "factor_changed").await?;
        let text = EmailText::FactorRemoved { what, address: ctx.address };
        self.tell_by_email(conn, user_id.0, &text, ctx.now).await
    }
}

/// Fails unless a session was opened within the time that a factor counts as fresh.
pub(crate) fn check_just_opened(ctx: &Ctx, session: SessionProof) -> Result<(), Refusal> {
    // A session's id holds the time of its making (UUIDv7).
    let opened = session.id.0.get_timestamp().map_or(0, |timestamp| timestamp.to_unix().0);
    let age = ctx.now.timestamp().saturating_sub(i64::try_from(opened).unwrap_or(0));
    if age < FRESH.num_seconds() {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::StepUpRequired,
        "this needs a session that was opened in the last five minutes",
    )
    .hint("sign in again by your provider, and repeat it"))
}

/// Takes what was shown, which no other call gets after. Whether it was right.
async fn take_factor(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
    shown: &Shown,
) -> Result<bool, CoreError> {
    match shown {
        Shown::Step(step) => Ok(second_factors::take_step(conn, user_id.0, *step).await?),
        Shown::RecoveryCode(hash) => {
            Ok(second_factors::take_recovery_code(conn, user_id.0, hash, ctx.now).await?)
        }
        Shown::Passkey(answer) => answer.take(conn, ctx.now).await,
        Shown::Wrong => Ok(false),
    }
}

impl Factor {
    const fn name(&self) -> &'static str {
        match self {
            Self::Totp(_) => "one-time code",
            Self::RecoveryCode(_) => "recovery code",
            Self::Passkey(_) => "passkey",
        }
    }
}

pub(crate) fn not_set_up() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "no second factor is set up").hint("set one up: clm factor totp")
}
