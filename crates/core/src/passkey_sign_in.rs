//! Passkeys in use: to sign in without a password, or as a second factor.

use aws_lc_rs::digest::{SHA256, digest};
use clm_core_db::passkeys::{self, PasskeyRow, PasskeyUse};
use clm_core_db::{PgConnection, audit, sign_in, users};
use clm_types::{ErrorCode, Time, UserId};
use uuid::Uuid;

use crate::actor::SessionProof;
use crate::audit::AuditEntry;
use crate::challenges::Purpose;
use crate::passkeys::Passkey;
use crate::second_factors::proof;
use crate::sign_in::{SignInMethod, SignedIn, Visitor, sign_in_failed};
use crate::tokens::{Token, TokenKind};
use crate::webauthn::{Assertion, AuthenticatorState, RelyingParty};
use crate::{Core, CoreError, Ctx};

/// What a browser is told to use a passkey.
pub struct PasskeyQuestion {
    /// What is answered.
    pub challenge: Vec<u8>,
    /// For whom.
    pub relying_party: RelyingParty,
    /// The passkeys that are asked for; empty: any.
    pub known: Vec<Passkey>,
}

/// An answer that was found right, still to be taken.
pub(crate) struct Answer {
    passkey: PasskeyRow,
    challenge_hash: [u8; 32],
    state: AuthenticatorState,
}

impl Answer {
    /// Takes it, in an open transaction. Whether it was still to be had.
    pub(crate) async fn take(&self, conn: &mut PgConnection, now: Time) -> Result<bool, CoreError> {
        let taken = PasskeyUse {
            id: self.passkey.id,
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
            if !answer.take(&mut tx, ctx.now).await? {
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

/// SHA-256.
pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, octets).as_ref());
    hash
}
