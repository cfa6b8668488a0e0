//! Revoking many certificates for one reason, a batch at a time.

use serde::{Deserialize, Serialize};

use crate::{
    AuthorityId, CertificateId, ErrorCode, MassRevocationId, OperationId, OrganizationId, RevocationReason,
    RevocationRecord, Time, UserId,
};

/// Most certificates of one batch.
pub const LARGEST_BATCH: usize = 500;

/// One batch of a mass revocation: certificates of one organization and one authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationBatch {
    /// Which mass revocation it belongs to.
    pub mass_revocation_id: MassRevocationId,
    /// Whose certificates.
    pub organization_id: OrganizationId,
    /// Who issued them.
    pub authority_id: AuthorityId,
    /// Why; `removeFromCRL` is none.
    pub reason: RevocationReason,
    /// Since when the keys are suspected (RFC 5280 §5.3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalidity_date: Option<Time>,
    /// Who asks.
    pub requested_by: UserId,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// At most [`LARGEST_BATCH`], each once.
    pub certificates: Vec<BatchedRevocation>,
}

/// A certificate of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchedRevocation {
    /// Which certificate.
    pub certificate_id: CertificateId,
    /// The operation that revokes it: the same one always has the same effect.
    pub operation_id: OperationId,
}

/// What became of one certificate of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchedOutcome {
    /// It is revoked, or on hold, by this operation.
    Revoked(RevocationRecord),
    /// It is not, and cannot be.
    Refused {
        /// Which certificate.
        certificate_id: CertificateId,
        /// Why.
        code: ErrorCode,
    },
}
