//! Keys that are not certified any more: revoked as compromised, or known as such to an operator.

use clm_secure_db::blocked_keys::{self, BlockedKeyRow, BlockedKeyUse};
use clm_types::ids::new_uuid;
use clm_types::{ErrorCode, Refusal, RevocationReason};
use clm_x509::foreign::ForeignCertificate;
use clm_x509::{Csr, PublicKey, pem};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::{Secure, SecureError};

/// Keys of one read.
const PAGE: i64 = 200;

/// Whether a revocation for this reason says that the key itself is lost.
pub(crate) const fn says_compromised(reason: RevocationReason) -> bool {
    matches!(
        reason,
        RevocationReason::KeyCompromise | RevocationReason::CaCompromise | RevocationReason::AaCompromise
    )
}

/// A public key from PEM: of a certificate, a certificate request, or by itself.
///
/// # Errors
/// `key_malformed`, or what is wrong with the certificate or request.
pub fn read_subject_key(text: &str) -> Result<PublicKey, Refusal> {
    let block = |label| pem::decode_one(&[label], text).ok();
    if let Some(der) = block(pem::CERTIFICATE) {
        return Ok(ForeignCertificate::parse(&der)?.public_key);
    }
    if let Some(der) = block(pem::CERTIFICATE_REQUEST) {
        // Which key it is does not depend on what it asks for.
        return Ok(Csr::parse_for_authority(&der)?.public_key().clone());
    }
    crate::audit_keys::read_public_key(text)
}

impl Secure {
    /// Refuses a key that is blocked.
    pub(crate) async fn require_unblocked(&self, key: &PublicKey) -> Result<(), SecureError> {
        if self.is_blocked(key).await? {
            let detail = "the key was revoked as compromised, or is known to others";
            return Err(Refusal::new(ErrorCode::KeyCompromised, detail).hint("make a new key").into());
        }
        Ok(())
    }

    async fn is_blocked(&self, key: &PublicKey) -> Result<bool, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(blocked_keys::is_blocked(&mut conn, &key.fingerprint()).await?)
    }

    /// Blocks a key on an operator's word.
    ///
    /// # Errors
    /// `conflict` when it is blocked already; or the database fails.
    pub async fn block_key(&self, key: &PublicKey, comment: &str, operator: &str) -> Result<(), SecureError> {
        if self.is_blocked(key).await? {
            return Err(Refusal::new(ErrorCode::Conflict, "the key is blocked already").into());
        }
        let now = self.parts.clock.now();
        let row = BlockedKeyRow {
            id: new_uuid(now, &self.parts.entropy),
            public_key_sha256: key.fingerprint().to_vec(),
            source: "operator".into(),
            certificate_id: None,
            comment: Some(comment.into()),
            created_at: now,
        };
        let audit = AuditDraft {
            occurred_at: now,
            actor: Actor::Operator(operator.into()),
            organization_id: None,
            operation_id: None,
            action: "blocked_key.create",
            object_type: "blocked_key",
            object_id: Some(row.id),
            outcome: Outcome::Allowed,
            reason: Some(comment.into()),
            detail: json!({ "public_key_sha256": hex::encode(&row.public_key_sha256) }),
        };
        self.commit(Write { blocked_keys: vec![row], audit: vec![audit], ..Write::default() }).await
    }

    /// Blocked keys after `after`, in the order they were blocked, 200 at most, with the certificates that are still
    /// accepted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_blocked_keys(&self, after: Uuid) -> Result<Vec<BlockedKeyUse>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(blocked_keys::list(&mut conn, after, self.parts.clock.now(), PAGE).await?)
    }
}
