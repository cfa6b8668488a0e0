//! One-time codes (TOTP, RFC 6238) as a second factor.

use clm_core_db::second_factors::{self, TotpRow};
use clm_core_db::{DbError, audit, sessions, sign_in};
use clm_types::{ErrorCode, Refusal, Time, UserId};
use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use crate::audit::AuditEntry;
use crate::email_texts::EmailText;
use crate::error::has_changed;
use crate::recovery_codes::new_codes;
use crate::second_factors::{not_set_up, proof};
use crate::sign_in::{note_whole_sign_in, sign_in_failed};
use crate::tokens::{Token, TokenKind};
use crate::{Core, CoreError, Ctx};

/// Octets of a secret: those of SHA-1 (RFC 4226 section 4).
const SECRET_OCTETS: usize = 20;

/// A secret that is still to be confirmed, shown this once.
pub struct TotpSetup {
    /// For typing, base32.
    pub secret: Zeroizing<String>,
    /// For authenticator programs: `otpauth://totp/…`.
    pub url: Zeroizing<String>,
}

/// Codes that are shown once, and the token of the session from now on.
pub struct Confirmed {
    /// The session's new token.
    pub token: Token,
    /// Recovery codes, if this is the first factor.
    pub recovery_codes: Option<Vec<Zeroizing<String>>>,
}

impl Core {
    /// Makes a secret for one-time codes of the caller; codes are asked for once it is confirmed.
    ///
    /// # Errors
    /// `step_up_required` or `sign_in_failed`, as for every new factor; `conflict` when the caller has a secret in use.
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

    /// Puts the secret to use, once the caller has shown a code of it. From now on it is asked for at each sign-in. Wrong codes
    /// count as everywhere, and who has a factor has shown it just now: a secret is the user's, whoever has set it up.
    ///
    /// # Errors
    /// `sign_in_failed` for a wrong code; `step_up_required`; `conflict` without a secret to confirm.
    pub async fn confirm_totp(&self, ctx: &Ctx, code: &str) -> Result<Confirmed, CoreError> {
        let (user_id, session) = proof(ctx)?;
        let (_, sealed) = self.find_secret(user_id).await?;
        let step = self.matching_step(user_id, &sealed, code, ctx.now)?;
        let token = Token::generate(TokenKind::Session, &self.entropy);
        let codes = new_codes(&self.entropy, user_id);
        let (hashes, token_hash, sealed) = (&codes.hashes, &token.hash(), &sealed);
        let outcome = self.in_system("confirm_totp", |mut tx| async move {
            sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(sign_in_failed)?;
            let row = second_factors::find_totp(&mut tx, user_id.0).await?.ok_or_else(not_set_up)?;
            if row.mfa_enabled {
                ctx.require_fresh_factor()?;
            }
            let Some(step) = step else {
                let locked = self.note_wrong_code(&mut tx, ctx, user_id, session).await?;
                return Ok((tx, Err(locked)));
            };
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
            let text = EmailText::FactorAdded { what: "one-time codes", address: ctx.address };
            self.tell_by_email(&mut tx, user_id.0, &text, ctx.now).await?;
            Ok((tx, Ok(!row.mfa_enabled)))
        });
        let outcome = outcome.await?;
        self.identities.clear();
        match outcome {
            Ok(is_first) => Ok(Confirmed { token, recovery_codes: is_first.then_some(codes.shown) }),
            Err(locked) => Err(self.wrong_factor(ctx, user_id, locked)),
        }
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
            self.note_lost_factor(&mut tx, ctx, (user_id, "one-time codes"), Some(session.id)).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    pub(crate) async fn find_secret(&self, user_id: UserId) -> Result<(TotpRow, Vec<u8>), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let row = second_factors::find_totp(&mut tx, user_id.0).await?.ok_or_else(not_set_up)?;
        let sealed = row.mfa_secret_encrypted.clone().ok_or_else(not_set_up)?;
        Ok((row, sealed))
    }

    pub(crate) fn matching_step(
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

/// SHA-1, six digits, thirty seconds, one step of tolerance: what every authenticator program can do.
fn totp(secret: &[u8], names: Option<(&str, &str)>) -> Result<Totp, CoreError> {
    let mut builder = Builder::new().with_secret(secret);
    if let Some((issuer, account)) = names {
        builder = builder.with_issuer(Some(issuer)).with_account_name(account);
    }
    builder.build().map_err(|error| CoreError::defect_of("one-time codes", error))
}
