//! What Core must present to make Secure act.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AuthorityId, MandateId, OperationId, OrganizationId, PolicyId, Time, UserId};

/// One approval behind a mandate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who approved.
    pub user_id: UserId,
    /// When.
    pub decided_at: Time,
    /// The approver's signature over the request digest, once approvers hold keys pinned in Secure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The order of Core to Secure, stored by Secure with the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    /// Its identity.
    pub id: MandateId,
    /// The operation it allows; once.
    pub operation_id: OperationId,
    /// `issue`, `revoke`, `reject`, …: the operation's name.
    pub operation: String,
    /// SHA-256 of the canonical request, hexadecimal.
    pub request_sha256: String,
    /// The authority that shall act.
    pub authority_id: AuthorityId,
    /// The profile, for issuance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// SHA-256 of the profile's document as Core knows it, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_hash: Option<String>,
    /// The policy that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<PolicyId>,
    /// That policy's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<i32>,
    /// Whose certificate.
    pub organization_id: OrganizationId,
    /// Who asked.
    pub requester_user_id: UserId,
    /// The workflow that decided.
    pub workflow_instance_id: Uuid,
    /// Who approved; empty when the workflow approved by its conditions.
    pub approvals: Vec<Approval>,
    /// When Core made it.
    pub issued_at: Time,
    /// When it ends.
    pub expires_at: Time,
}

/// Canonical JSON (RFC 8785) of any serializable value: what is hashed on both sides.
///
/// # Errors
/// When the value has no JSON form (a map with keys that are no strings).
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json_canonicalizer::to_string(value)
}
