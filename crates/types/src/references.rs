//! What Secure says of its rows so that Core's integrity job can compare them with its own.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    CertificateCategory, CertificateId, CertificateStatus, OperationId, OrganizationId, PolicyId,
    RevocationReason, Time, UserId, WorkflowInstanceId, text_enum,
};

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReference {
    /// Public identity; rows come in its order.
    pub certificate_id: CertificateId,
    /// Whose; none for certificates of authorities.
    pub organization_id: Option<OrganizationId>,
    /// Who answers for it.
    pub owner_user_id: Option<UserId>,
    /// The policy that governed it.
    pub policy_id: Option<PolicyId>,
    /// The operation that made it.
    pub operation_id: Option<OperationId>,
    /// State in Secure.
    pub status: CertificateStatus,
    /// When it ends.
    pub not_after: Time,
    /// What it is for.
    pub category: CertificateCategory,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<Time>,
    /// Why.
    pub revocation_reason: Option<RevocationReason>,
    /// The certificate that it replaces.
    pub renewal_of: Option<CertificateId>,
    /// The certificate that replaces it.
    pub renewed_by: Option<CertificateId>,
    /// Whether it is a leaf, or some authority's own certificate.
    pub explained: bool,
    /// Whether its status is what the revocation in force says, or that there is none.
    pub revocation_recorded: bool,
    /// Whether its private key, if Secure has one, is of the same organization and the same public key.
    pub key_fits: bool,
}

text_enum! {
    /// What an operation left behind in Secure.
    pub enum OperationTrace {
        /// A row of `certificate_requests`.
        Request => "request",
        /// A row of `certificate_revocations`.
        Revocation => "revocation",
        /// The end of a hold, in its row of `certificate_revocations`.
        Release => "release",
    }
}

/// An operation that Core ordered, by what it left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationReference {
    /// Its id; rows come in its order.
    pub operation_id: OperationId,
    /// What it left behind.
    pub trace: OperationTrace,
    /// That row's id.
    pub object_id: Uuid,
    /// Core's workflow, of a request.
    pub workflow_instance_id: Option<WorkflowInstanceId>,
    /// Whose, of a request.
    pub organization_id: Option<OrganizationId>,
    /// Who answers for it, of a request.
    pub owner_user_id: Option<UserId>,
    /// The policy that governs it, of a request.
    pub policy_id: Option<PolicyId>,
    /// The certificate that was issued, revoked or released.
    pub certificate_id: Option<CertificateId>,
    /// `certificate_requests.status`, of a request.
    pub status: Option<String>,
    /// RFC 5280 reason, of a revocation or release.
    pub reason: Option<String>,
    /// When it last changed.
    pub recorded_at: Time,
}

text_enum! {
    /// A row of Secure that must not be without its certificate.
    pub enum OrphanKind {
        /// A row of `private_keys`.
        PrivateKey => "private_key",
        /// A row of `certificate_revocations`.
        Revocation => "revocation",
    }
}

/// A row of Secure whose certificate does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// What it is.
    pub kind: OrphanKind,
    /// Its id.
    pub object_id: Uuid,
    /// The certificate that does not exist.
    pub certificate_id: CertificateId,
}
