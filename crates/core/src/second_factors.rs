//! Second factors: one-time codes (TOTP, RFC 6238), passkeys, and the recovery codes that stand in for them.

use aws_lc_rs::digest::{Context, SHA256};
use clm_core_db::second_factors::{self, TotpRow};
use clm_core_db::sign_in::SignInRow;
use clm_core_db::{DbError, PgConnection, audit, notices, sessions, sign_in};
use clm_types::{Entropy, ErrorCode, Refusal, SessionId, Time, UserId};
use totp_rs::{Builder, Secret, Totp};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::actor::SessionProof;
use crate::audit::AuditEntry;
use crate::error::has_changed;
use crate::passkeys::Answer;
use crate::sign_in::{note_whole_sign_in, sign_in_failed};
use crate::tokens::{Token, TokenKind};
use crate::users::find_for_change;
use crate::webauthn::Assertion;
use crate::{Core, CoreError, Ctx};

/// Octets of a secret: those of SHA-1 (RFC 4226 section 4).
const SECRET_OCTETS: usize = 20;
/// Wrong codes that end a session.
const MOST_WRONG_CODES: i32 = 5;
const RECOVERY_CODES: usize = 10;
/// 80 bits: five for each of sixteen characters.
const RECOVERY_CODE_OCTETS: usize = 10;

/// A secret that is still to be confirmed, shown this once.
pub struct TotpSetup {
    /// For typing, base32.
    pub secret: Zeroizing<String>,
    /// For authenticator programs: `otpauth://totp/…`.
    pub url: Zeroizing<String>,
}

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

/// Codes that are shown once, and the token of the session from now on.
pub struct Confirmed {
    /// The session's new token.
    pub token: Token,
    /// Recovery codes, if this is the first factor.
    pub recovery_codes: Option<Vec<Zeroizing<String>>>,
}

/// Recovery codes, and what is kept of them.
pub(crate) struct NewCodes {
    pub(crate) shown: Vec<Zeroizing<String>>,
    pub(crate) hashes: Vec<Vec<u8>>,
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
    /// has shown it just now; who has none shows the password again.
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
        self.check_current_password(ctx, user_id, current_password).await
    }

    /// Makes a secret for one-time codes of the caller; codes are asked for once it is confirmed.
    ///
    /// # Errors
    /// As [`Core::check_may_enrol`]; `conflict` when the caller has a secret in use.
    pub async fn set_up_totp(
        &self,
        ctx: &Ctx,
        current_password: Option<Zeroizing<String>>,
    ) -> Result<TotpSetup, CoreError> {
        let (user_id, _) = proof(ctx)?;
        let username = &self.check_may_enrol(ctx, user_id, current_password).await?.username;
        let secret = Zeroizing::new(self.entropy.bytes::<SECRET_OCTETS>());
        let sealed = self.secrets_keys.seal(&self.entropy, &place(user_id), secret.as_slice())?;
        let sealed = &sealed;
        self.in_system("set_up_totp", |mut tx| async move {
            let set = second_factors::set_totp(&mut tx, user_id.0, sealed, ctx.now).await;
            set.map_err(in_use_already)?;
            let entry = AuditEntry::of(ctx, &self.entropy, "factor.set_up", "user").object(user_id);
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        let totp = totp(secret.as_slice(), Some((&self.issuer, username)))?;
        let url =
            totp.to_url().map_err(|error| CoreError::defect_of("the address of one-time codes", error))?;
        Ok(TotpSetup {
            secret: Zeroizing::new(Secret::from(secret.as_slice()).to_base32()),
            url: Zeroizing::new(url),
        })
    }

    /// Puts the secret to use, once the caller has shown a code of it. From now on it is asked for at each sign-in.
    ///
    /// # Errors
    /// `sign_in_failed` for a wrong code; `conflict` without a secret to confirm.
    pub async fn confirm_totp(&self, ctx: &Ctx, code: &str) -> Result<Confirmed, CoreError> {
        let (user_id, session) = proof(ctx)?;
        let (row, sealed) = self.find_secret(user_id).await?;
        if row.totp_enabled {
            return Err(in_use().into());
        }
        let Some(step) = self.matching_step(user_id, &sealed, code, ctx.now)? else {
            return Err(sign_in_failed().into());
        };
        let token = Token::generate(TokenKind::Session, &self.entropy);
        let codes = new_codes(&self.entropy, user_id);
        let (hashes, token_hash, sealed) = (&codes.hashes, &token.hash(), &sealed);
        self.in_system("confirm_totp", |mut tx| async move {
            let enabled = second_factors::enable_totp(&mut tx, user_id.0, sealed, ctx.now).await;
            enabled.map_err(in_use_already)?;
            second_factors::take_step(&mut tx, user_id.0, step).await?;
            // Who has a passkey has codes already, perhaps printed.
            if !row.mfa_enabled {
                second_factors::replace_recovery_codes(&mut tx, user_id.0, hashes, ctx.now).await?;
            }
            sessions::rotate(&mut tx, session.id.0, token_hash, ctx.now).await.map_err(has_changed)?;
            note_whole_sign_in(&mut tx, ctx, user_id.0).await?;
            self.end_sessions(&mut tx, ctx, user_id, Some(session.id), "factor_changed").await?;
            let entry = AuditEntry::of(ctx, &self.entropy, "factor.enable", "user").object(user_id);
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(Confirmed { token, recovery_codes: (!row.mfa_enabled).then_some(codes.shown) })
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
            if is_locked || !take_factor(&mut tx, ctx, (user_id, session), shown).await? {
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
            Err(locked) => {
                if locked {
                    self.tell_of_lock(ctx, user_id.0);
                }
                Err(sign_in_failed().into())
            }
        }
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
    async fn note_wrong_code(
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

    /// New recovery codes in place of those that are left.
    ///
    /// # Errors
    /// `conflict` without a second factor.
    pub async fn renew_recovery_codes(&self, ctx: &Ctx) -> Result<Vec<Zeroizing<String>>, CoreError> {
        let (user_id, _) = proof(ctx)?;
        let codes = new_codes(&self.entropy, user_id);
        let hashes = &codes.hashes;
        self.in_system("renew_recovery_codes", |mut tx| async move {
            let factors = second_factors::find_totp(&mut tx, user_id.0).await?;
            if factors.is_none_or(|factors| !factors.mfa_enabled) {
                return Err(not_set_up().into());
            }
            second_factors::replace_recovery_codes(&mut tx, user_id.0, hashes, ctx.now).await?;
            let entry =
                AuditEntry::of(ctx, &self.entropy, "factor.renew_recovery_codes", "user").object(user_id);
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        Ok(codes.shown)
    }

    /// Takes the caller's one-time codes away.
    ///
    /// # Errors
    /// `conflict` when there are none.
    pub async fn remove_totp(&self, ctx: &Ctx) -> Result<(), CoreError> {
        let (user_id, session) = proof(ctx)?;
        self.in_system("remove_totp", |mut tx| async move {
            sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(sign_in_failed)?;
            if !second_factors::clear_totp(&mut tx, user_id.0, ctx.now).await? {
                return Err(not_set_up().into());
            }
            let entry = AuditEntry::of(ctx, &self.entropy, "factor.remove", "user").object(user_id);
            audit::insert(&mut tx, entry.row()).await?;
            self.note_lost_factor(&mut tx, ctx, user_id, Some(session.id)).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
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
            let had_totp = second_factors::clear_totp(&mut tx, user_id.0, ctx.now).await?;
            let passkeys = second_factors::clear_passkeys(&mut tx, user_id.0, ctx.now).await?;
            if !had_totp && passkeys == 0 {
                return Err(not_set_up().into());
            }
            let entry = AuditEntry::of(ctx, &self.entropy, "factor.remove", "user")
                .object(user_id)
                .detail(format!("all, {passkeys} passkeys among them"));
            audit::insert(&mut tx, entry.row()).await?;
            self.note_lost_factor(&mut tx, ctx, user_id, except).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// After a factor was taken away, in an open transaction: recovery codes stand in for nothing when it was the last, and other
    /// sessions end.
    pub(crate) async fn note_lost_factor(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        user_id: UserId,
        except: Option<SessionId>,
    ) -> Result<(), CoreError> {
        if !second_factors::recount(conn, user_id.0, ctx.now).await? {
            second_factors::replace_recovery_codes(conn, user_id.0, &[], ctx.now).await?;
        }
        self.end_sessions(conn, ctx, user_id, except, "factor_changed").await?;
        Ok(())
    }

    async fn find_secret(&self, user_id: UserId) -> Result<(TotpRow, Vec<u8>), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let row = second_factors::find_totp(&mut tx, user_id.0).await?.ok_or_else(not_set_up)?;
        let sealed = row.mfa_secret_encrypted.clone().ok_or_else(not_set_up)?;
        Ok((row, sealed))
    }

    fn matching_step(
        &self,
        user_id: UserId,
        sealed: &[u8],
        code: &str,
        now: Time,
    ) -> Result<Option<i64>, CoreError> {
        let secret = self.secrets_keys.open(&place(user_id), sealed)?;
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        let step = totp(&secret, None)?.check(code.trim(), seconds);
        Ok(step.and_then(|step| i64::try_from(step).ok()))
    }
}

/// Takes what was shown, which no other call gets after. Whether it was right.
async fn take_factor(
    conn: &mut PgConnection,
    ctx: &Ctx,
    (user_id, session): (UserId, SessionProof),
    shown: &Shown,
) -> Result<bool, CoreError> {
    match shown {
        Shown::Step(step) => Ok(second_factors::take_step(conn, user_id.0, *step).await?),
        Shown::RecoveryCode(hash) => {
            Ok(second_factors::take_recovery_code(conn, user_id.0, hash, ctx.now).await?)
        }
        Shown::Passkey(answer) => answer.take(conn, session.id.0, ctx.now).await,
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

fn place(user_id: UserId) -> String {
    format!("users.mfa_secret_encrypted/{user_id}")
}

fn in_use() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "one-time codes are in use already")
        .hint("remove them first, then set them up anew")
}

fn in_use_already(error: DbError) -> CoreError {
    match error {
        DbError::RowCount { .. } => in_use().into(),
        other => other.into(),
    }
}

fn not_set_up() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "no second factor is set up").hint("set one up: clm factor totp")
}

/// SHA-1, six digits, thirty seconds, one step of tolerance: what every authenticator program can do.
fn totp(secret: &[u8], names: Option<(&str, &str)>) -> Result<Totp, CoreError> {
    let mut builder = Builder::new().with_secret(secret);
    if let Some((issuer, account)) = names {
        builder = builder.with_issuer(Some(issuer)).with_account_name(account);
    }
    builder.build().map_err(|error| CoreError::defect_of("one-time codes", error))
}

/// Sixteen characters of base32 each, in groups of four.
pub(crate) fn new_codes(entropy: &Entropy, user_id: UserId) -> NewCodes {
    let code = |_| {
        let octets = Zeroizing::new(entropy.bytes::<RECOVERY_CODE_OCTETS>());
        let text = Zeroizing::new(Secret::from(octets.as_slice()).to_base32().to_lowercase());
        let groups: Vec<&str> = (0..4).filter_map(|group| text.get(4 * group..4 * group + 4)).collect();
        Zeroizing::new(groups.join("-"))
    };
    let shown: Vec<_> = (0..RECOVERY_CODES).map(code).collect();
    let hashes = shown.iter().map(|code| hash(user_id, code)).collect();
    NewCodes { shown, hashes }
}

/// SHA-256 of user and code; what people type between the characters does not count.
fn hash(user_id: UserId, code: &str) -> Vec<u8> {
    let plain: Zeroizing<String> = Zeroizing::new(
        code.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_lowercase()).collect(),
    );
    let mut context = Context::new(&SHA256);
    context.update(Uuid::from(user_id).as_bytes());
    context.update(plain.as_bytes());
    context.finish().as_ref().to_vec()
}
