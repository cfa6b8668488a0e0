//! Recovery codes: each stands in once for a lost second factor.

use aws_lc_rs::digest::{Context, SHA256};
use clm_core_db::{audit, second_factors};
use clm_types::{Entropy, UserId};
use totp_rs::Secret;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::audit::AuditEntry;
use crate::email_texts::EmailText;
use crate::second_factors::{not_set_up, proof};
use crate::{Core, CoreError, Ctx};

const RECOVERY_CODES: usize = 10;
/// 120 bits, five for each of 24 characters: a fast hash is enough from 112 (OWASP ASVS 5, 6.5.2).
const RECOVERY_CODE_OCTETS: usize = 15;
const GROUPS: usize = 6;

/// Recovery codes, and what is kept of them.
pub(crate) struct NewCodes {
    pub(crate) shown: Vec<Zeroizing<String>>,
    pub(crate) hashes: Vec<Vec<u8>>,
}

impl Core {
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
            let text = EmailText::FactorAdded { what: "new recovery codes", address: ctx.address };
            self.tell_by_email(&mut tx, user_id.0, &text, ctx.now).await?;
            Ok((tx, ()))
        })
        .await?;
        Ok(codes.shown)
    }
}

/// 24 characters of base32 each, in groups of four.
pub(crate) fn new_codes(entropy: &Entropy, user_id: UserId) -> NewCodes {
    let code = |_| {
        let octets = Zeroizing::new(entropy.bytes::<RECOVERY_CODE_OCTETS>());
        let text = Zeroizing::new(Secret::from(octets.as_slice()).to_base32().to_lowercase());
        let groups: Vec<&str> = (0..GROUPS).filter_map(|group| text.get(4 * group..4 * group + 4)).collect();
        Zeroizing::new(groups.join("-"))
    };
    let shown: Vec<_> = (0..RECOVERY_CODES).map(code).collect();
    let hashes = shown.iter().map(|code| hash(user_id, code)).collect();
    NewCodes { shown, hashes }
}

/// SHA-256 of user and code; what people type between the characters does not count.
pub(crate) fn hash(user_id: UserId, code: &str) -> Vec<u8> {
    let plain: Zeroizing<String> = Zeroizing::new(
        code.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_lowercase()).collect(),
    );
    let mut context = Context::new(&SHA256);
    context.update(Uuid::from(user_id).as_bytes());
    context.update(plain.as_bytes());
    context.finish().as_ref().to_vec()
}
