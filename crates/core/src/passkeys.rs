//! Passkeys: made in a session; used to sign in without a password, or as a second factor.

use aws_lc_rs::digest::{SHA256, digest};
use clm_core_db::passkeys::{self, PasskeyRow, PasskeyUse};
use clm_core_db::{PgConnection, audit, notices, second_factors, sessions, sign_in, users};
use clm_types::{ErrorCode, PasskeyId, Refusal, Time, UserId, ids};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::actor::SessionProof;
use crate::audit::AuditEntry;
use crate::challenges::Purpose;
use crate::error::{exists_already, has_changed};
use crate::second_factors::{new_codes, proof};
use crate::sign_in::{SignInMethod, SignedIn, Visitor, note_whole_sign_in, sign_in_failed};
use crate::tokens::{Token, TokenKind};
use crate::webauthn::{Assertion, AuthenticatorState, Registration, RelyingParty, Unsound};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::passkeys::PasskeyRow as Passkey;

const MOST_PASSKEYS: usize = 20;
const LONGEST_NAME: usize = 100;
const MOST_TRANSPORTS: usize = 8;
const LONGEST_TRANSPORT: usize = 32;

/// What a browser is told to make a passkey.
pub struct PasskeySetup {
    /// What is answered.
    pub challenge: Vec<u8>,
    /// For whom.
    pub relying_party: RelyingParty,
    /// What the relying party is called.
    pub issuer: String,
    /// Whose it will be.
    pub user_id: UserId,
    /// Name to sign in with.
    pub username: String,
    /// Name to show.
    pub display_name: String,
    /// Passkeys that there are: an authenticator makes no second one.
    pub known: Vec<Passkey>,
}

/// What a browser is told to use a passkey.
pub struct PasskeyQuestion {
    /// What is answered.
    pub challenge: Vec<u8>,
    /// For whom.
    pub relying_party: RelyingParty,
    /// The passkeys that are asked for; empty: any.
    pub known: Vec<Passkey>,
}

/// A new passkey, and what is shown once.
pub struct AddedPasskey {
    /// The passkey.
    pub passkey: Passkey,
    /// The session's new token.
    pub token: Token,
    /// Recovery codes, if this is the first factor.
    pub recovery_codes: Option<Vec<Zeroizing<String>>>,
}

/// An answer that was found right, still to be taken.
pub(crate) struct Answer {
    passkey: PasskeyRow,
    challenge_hash: [u8; 32],
    state: AuthenticatorState,
}

impl Answer {
    /// Takes it for a session, in an open transaction. Whether it was still to be had.
    pub(crate) async fn take(
        &self,
        conn: &mut PgConnection,
        session_id: Uuid,
        now: Time,
    ) -> Result<bool, CoreError> {
        let taken = PasskeyUse {
            id: self.passkey.id,
            session_id,
            challenge_hash: &self.challenge_hash,
            sign_count: self.state.sign_count.into(),
            backed_up: self.state.backed_up,
            now,
        };
        let was_taken = passkeys::take_use(conn, &taken).await?;
        if !was_taken {
            tracing::warn!(
                passkey = %self.passkey.id, user = %self.passkey.user_id, count = self.state.sign_count,
                "an answer came twice, or the authenticator's counter has not risen: perhaps it was copied"
            );
        }
        Ok(was_taken)
    }
}

impl Core {
    /// What to tell a browser that makes a passkey for the caller.
    ///
    /// # Errors
    /// `step_up_required` or `sign_in_failed`, see [`Core::check_may_enrol`]; `conflict` for the twenty-first.
    pub async fn begin_passkey(
        &self,
        ctx: &Ctx,
        current_password: Option<Zeroizing<String>>,
    ) -> Result<PasskeySetup, CoreError> {
        let (user_id, session) = proof(ctx)?;
        let user = self.check_may_enrol(ctx, user_id, current_password).await?;
        Ok(PasskeySetup {
            challenge: self.new_challenge(&Purpose::Registration(session))?,
            relying_party: self.relying_party.clone(),
            issuer: self.issuer.clone(),
            user_id,
            username: user.username,
            display_name: user.display_name,
            known: self.list_passkeys(ctx).await?,
        })
    }

    /// Keeps a passkey that a browser has made. From now on a second factor is asked for at each sign-in with a password.
    ///
    /// # Errors
    /// `passkey_refused`; `conflict` for the twenty-first, `already_exists` for one that is known, `invalid_request` for its name.
    pub async fn add_passkey(
        &self,
        ctx: &Ctx,
        name: &str,
        registration: &Registration,
        transports: Vec<String>,
    ) -> Result<AddedPasskey, CoreError> {
        let (user_id, session) = proof(ctx)?;
        check_name(name)?;
        let row = self.check_new_passkey(ctx, (user_id, session), registration)?;
        let row = &PasskeyRow { name: name.to_owned(), transports: known_transports(transports), ..row };
        let (token, codes) =
            (Token::generate(TokenKind::Session, &self.entropy), new_codes(&self.entropy, user_id));
        let (token_hash, hashes) = (&token.hash(), &codes.hashes);
        let is_first = self
            .in_system("add_passkey", |mut tx| async move {
                sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(sign_in_failed)?;
                check_count(passkeys::list(&mut tx, user_id.0, limit()).await?.len())?;
                let totp = second_factors::find_totp(&mut tx, user_id.0).await?;
                let is_first = totp.is_none_or(|totp| !totp.mfa_enabled);
                let inserted = passkeys::insert(&mut tx, row).await;
                inserted
                    .map_err(|error| exists_already(error, "this passkey is known already", "/credential"))?;
                second_factors::recount(&mut tx, user_id.0, ctx.now).await?;
                sessions::rotate(&mut tx, session.id.0, token_hash, ctx.now).await.map_err(has_changed)?;
                if is_first {
                    second_factors::replace_recovery_codes(&mut tx, user_id.0, hashes, ctx.now).await?;
                    note_whole_sign_in(&mut tx, ctx, user_id.0).await?;
                    self.end_sessions(&mut tx, ctx, user_id, Some(session.id), "factor_changed").await?;
                }
                let entry = AuditEntry::of(ctx, &self.entropy, "passkey.add", "passkey")
                    .object(row.id)
                    .detail(row.name.as_str());
                audit::insert(&mut tx, entry.row()).await?;
                notices::send(&mut tx, notices::IDENTITY).await?;
                Ok((tx, is_first))
            })
            .await?;
        self.identities.clear();
        Ok(AddedPasskey { passkey: row.clone(), token, recovery_codes: is_first.then_some(codes.shown) })
    }

    /// The caller's passkeys, newest first.
    pub async fn list_passkeys(&self, ctx: &Ctx) -> Result<Vec<Passkey>, CoreError> {
        ctx.require_unrestricted()?;
        let mut tx = clm_pg::begin(&self.system).await?;
        Ok(passkeys::list(&mut tx, ctx.user_id()?.0, limit()).await?)
    }

    /// Removes a passkey of the caller. Where a factor is required and this was the last, the next sign-in asks for a new one.
    ///
    /// # Errors
    /// `passkey_not_found`.
    pub async fn remove_passkey(&self, ctx: &Ctx, id: PasskeyId) -> Result<(), CoreError> {
        let (user_id, session) = proof(ctx)?;
        self.in_system("remove_passkey", |mut tx| async move {
            sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(sign_in_failed)?;
            passkeys::revoke(&mut tx, user_id.0, id.0, ctx.now).await.map_err(|_| passkey_not_found(id))?;
            let entry = AuditEntry::of(ctx, &self.entropy, "passkey.remove", "passkey").object(id);
            audit::insert(&mut tx, entry.row()).await?;
            self.note_lost_factor(&mut tx, ctx, user_id, Some(session.id)).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// What to tell a browser in which somebody signs in.
    pub fn begin_passkey_sign_in(&self) -> Result<PasskeyQuestion, CoreError> {
        self.question(&Purpose::SignIn, Vec::new())
    }

    /// What to tell a browser in which the caller shows a passkey as second factor.
    pub async fn begin_passkey_factor(&self, ctx: &Ctx) -> Result<PasskeyQuestion, CoreError> {
        let (_, session) = proof(ctx)?;
        let known = self.list_passkeys(ctx).await?;
        self.question(&Purpose::Factor(session), known)
    }

    /// Opens a session for whoever shows a passkey of an active user. It counts as both factors. The lock after wrong passwords
    /// does not count here: it is others' guesses that lock a user, and nobody guesses a passkey.
    ///
    /// # Errors
    /// `sign_in_failed`, whatever was wrong.
    pub async fn sign_in_with_passkey(
        &self,
        assertion: &Assertion,
        visitor: &Visitor,
    ) -> Result<SignedIn, CoreError> {
        let now = self.clock.now();
        let answer = self.check_answer(assertion, &Purpose::SignIn, now).await?;
        let user_id = answer.as_ref().map(|answer| answer.passkey.user_id);
        let mut tx = clm_pg::begin(&self.system).await?;
        let home = users::find_home(&mut tx, user_id.unwrap_or_default()).await?;
        drop(tx);
        let ctx = visitor.ctx(now, home);
        if let Some(answer) = answer
            && let Some(opened) =
                self.open_passkey_session(&ctx, &answer, visitor.user_agent.as_deref()).await?
        {
            return Ok(opened);
        }
        self.note_refused_passkey(&ctx, user_id).await?;
        Err(sign_in_failed().into())
    }

    /// None when the answer came twice or its user may not sign in.
    async fn open_passkey_session(
        &self,
        ctx: &Ctx,
        answer: &Answer,
        user_agent: Option<&str>,
    ) -> Result<Option<SignedIn>, CoreError> {
        let token = Token::generate(TokenKind::Session, &self.entropy);
        let session = self.new_session(ctx, answer.passkey.user_id, user_agent, SignInMethod::Passkey);
        let (token_hash, row) = (&token.hash(), &session);
        let opened = self.in_system("open_passkey_session", |mut tx| async move {
            let user = sign_in::lock(&mut tx, row.user_id).await?;
            if user.is_none_or(|user| user.status != "active") {
                return Err(sign_in_failed().into());
            }
            let missing = self.insert_session(&mut tx, ctx, row, token_hash).await?;
            if !answer.take(&mut tx, row.id, ctx.now).await? {
                return Err(sign_in_failed().into());
            }
            Ok((tx, missing))
        });
        match opened.await {
            Ok(missing) => Ok(Some(SignedIn { token, session, missing })),
            Err(CoreError::Refused(refusal)) if refusal.code == ErrorCode::SignInFailed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Such an attempt locks nobody: it takes no more than a name that authenticators give to whoever asks.
    async fn note_refused_passkey(&self, ctx: &Ctx, user_id: Option<Uuid>) -> Result<(), CoreError> {
        self.in_system("note_refused_passkey", |mut tx| async move {
            let entry = AuditEntry::of(ctx, &self.entropy, "session.open", "user")
                .outcome("refused")
                .detail("passkey");
            let entry = match user_id {
                Some(id) => entry.object(id),
                None => entry.of_installation(),
            };
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await
    }

    /// A right answer of the caller's passkey as second factor; none: it is wrong.
    pub(crate) async fn check_passkey_factor(
        &self,
        ctx: &Ctx,
        (user_id, session): (UserId, SessionProof),
        assertion: &Assertion,
    ) -> Result<Option<Answer>, CoreError> {
        let answer = self.check_answer(assertion, &Purpose::Factor(session), ctx.now).await?;
        Ok(answer.filter(|answer| answer.passkey.user_id == user_id.0))
    }

    async fn check_answer(
        &self,
        assertion: &Assertion,
        purpose: &Purpose,
        now: Time,
    ) -> Result<Option<Answer>, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let Some(passkey) = passkeys::find_by_credential(&mut tx, &assertion.credential_id).await? else {
            return Ok(None);
        };
        drop(tx);
        let checked = self.check_challenge(&assertion.client_data, purpose, now).and_then(|challenge| {
            let state = self.relying_party.check_assertion(&challenge, &passkey.public_key, assertion)?;
            Ok((challenge, state))
        });
        match checked {
            Ok((challenge, state)) if is_of_owner(assertion, &passkey, state) => {
                Ok(Some(Answer { passkey, challenge_hash: sha256(&challenge), state }))
            }
            Ok(_) => Ok(None),
            Err(unsound) => {
                tracing::info!(passkey = %passkey.id, %unsound, "an answer of a passkey was refused");
                Ok(None)
            }
        }
    }

    fn check_new_passkey(
        &self,
        ctx: &Ctx,
        (user_id, session): (UserId, SessionProof),
        registration: &Registration,
    ) -> Result<PasskeyRow, Refusal> {
        let purpose = Purpose::Registration(session);
        let made = self
            .check_challenge(&registration.client_data, &purpose, ctx.now)
            .and_then(|challenge| self.relying_party.check_registration(&challenge, registration))
            .map_err(|unsound| passkey_refused(&unsound))?;
        Ok(PasskeyRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            user_id: user_id.0,
            credential_id: made.credential_id,
            public_key: made.public_key,
            name: String::new(),
            transports: Vec::new(),
            authenticator_model: made.authenticator_model,
            sign_count: made.state.sign_count.into(),
            backup_eligible: made.state.backup_eligible,
            backed_up: made.state.backed_up,
            last_used_at: None,
            created_at: ctx.now,
        })
    }

    fn question(&self, purpose: &Purpose, known: Vec<Passkey>) -> Result<PasskeyQuestion, CoreError> {
        let challenge = self.new_challenge(purpose)?;
        Ok(PasskeyQuestion { challenge, relying_party: self.relying_party.clone(), known })
    }
}

/// Section 7.2, steps 6 and 18: the user whom the authenticator names, and a passkey that is copied only if it always could be.
fn is_of_owner(assertion: &Assertion, passkey: &PasskeyRow, state: AuthenticatorState) -> bool {
    let owner = passkey.user_id.as_bytes().as_slice();
    assertion.user_handle.as_deref().is_none_or(|handle| handle == owner)
        && state.backup_eligible == passkey.backup_eligible
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, octets).as_ref());
    hash
}

fn limit() -> i64 {
    i64::try_from(MOST_PASSKEYS).unwrap_or(i64::MAX)
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if count < MOST_PASSKEYS {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::Conflict,
        format!("there are {count} passkeys already, the most that one may have"),
    )
    .hint("remove one first: clm passkey remove"))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let length = name.chars().count();
    if (1..=LONGEST_NAME).contains(&length) && name.trim() == name && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let detail = format!(
        "the name is 1 to {LONGEST_NAME} characters, without control characters and blanks at its ends"
    );
    Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/name"))
}

/// Only hints for browsers; what is no short word is left out.
fn known_transports(transports: Vec<String>) -> Vec<String> {
    let is_word = |text: &String| {
        (1..=LONGEST_TRANSPORT).contains(&text.len())
            && text.chars().all(|one| one.is_ascii_lowercase() || one == '-')
    };
    transports.into_iter().filter(is_word).take(MOST_TRANSPORTS).collect()
}

fn passkey_refused(unsound: &Unsound) -> Refusal {
    Refusal::new(ErrorCode::PasskeyRefused, format!("the passkey cannot be kept: {unsound}"))
        .field("/credential")
        .hint("begin again: a challenge is good for five minutes, in the session that asked for it, on the address of this service")
}

fn passkey_not_found(id: PasskeyId) -> Refusal {
    Refusal::new(ErrorCode::PasskeyNotFound, format!("you have no passkey {id}"))
}
