//! Passkeys: made in a session; used to sign in without a password, or as a second factor.

use clm_core_db::passkeys::{self, PasskeyRow};
use clm_core_db::{audit, notices, second_factors, sessions, sign_in};
use clm_types::{ErrorCode, PasskeyId, Refusal, UserId, ids};
use zeroize::Zeroizing;

use crate::actor::SessionProof;
use crate::audit::AuditEntry;
use crate::challenges::Purpose;
use crate::email_texts::EmailText;
use crate::error::{exists_already, has_changed};
use crate::fields::is_forbidden;
use crate::recovery_codes::new_codes;
use crate::second_factors::proof;
use crate::sign_in::{note_whole_sign_in, sign_in_failed};
use crate::tokens::{Token, TokenKind};
use crate::webauthn::{Registration, RelyingParty, Unsound};
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

/// A new passkey, and what is shown once.
pub struct AddedPasskey {
    /// The passkey.
    pub passkey: Passkey,
    /// The session's new token.
    pub token: Token,
    /// Recovery codes, if this is the first factor.
    pub recovery_codes: Option<Vec<Zeroizing<String>>>,
}

impl Core {
    /// What to tell a browser that makes a passkey for the caller.
    ///
    /// # Errors
    /// `step_up_required` or `sign_in_failed`, as for every new factor; `conflict` for the twenty-first.
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
                let is_first = totp.as_ref().is_none_or(|totp| !totp.mfa_enabled);
                // A secret that was never confirmed is not left for others to confirm.
                if totp.is_some_and(|totp| !totp.totp_enabled) {
                    second_factors::clear_totp(&mut tx, user_id.0, ctx.now).await?;
                }
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
                let text = EmailText::FactorAdded { what: "a passkey", address: ctx.address };
                self.tell_by_email(&mut tx, user_id.0, &text, ctx.now).await?;
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
            self.note_lost_factor(&mut tx, ctx, (user_id, "a passkey"), Some(session.id)).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
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
    if (1..=LONGEST_NAME).contains(&length) && name.trim() == name && !name.chars().any(is_forbidden) {
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
