//! The mandates that Core gives to Secure: what exactly is ordered, on whose word.

use chrono::TimeDelta;
use clm_types::{
    Approval, AuthorityId, CertificateSpec, Entropy, KeyExportSpec, Mandate, MandateId, OperationId,
    OrganizationId, RevocationBatch, Time, UserId, WorkflowInstanceId, canonical_json,
};
use serde::Serialize;

use crate::CoreError;

/// How long a mandate may be used.
const LIFETIME: TimeDelta = TimeDelta::minutes(15);

/// Who decided what is ordered.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) operation_id: OperationId,
    pub(crate) instance_id: WorkflowInstanceId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) requester_user_id: UserId,
    pub(crate) approvals: Vec<Approval>,
}

/// The mandate to issue exactly `spec`.
pub(crate) fn to_issue(
    decided: &Decided,
    spec: &CertificateSpec,
    profile_hash: [u8; 32],
    now: Time,
    entropy: &Entropy,
) -> Result<Mandate, CoreError> {
    let mandate = mandate(decided, "issue", spec, spec.authority_id, now, entropy)?;
    Ok(Mandate {
        profile: Some(spec.profile.clone()),
        profile_hash: Some(hex::encode(profile_hash)),
        policy_id: Some(spec.policy_id),
        policy_version: Some(spec.policy_version),
        ..mandate
    })
}

/// The mandate to revoke, hold or release exactly as `spec` says.
pub(crate) fn to_revoke<T: Serialize>(
    decided: &Decided,
    spec: &T,
    authority_id: AuthorityId,
    now: Time,
    entropy: &Entropy,
) -> Result<Mandate, CoreError> {
    mandate(decided, "revoke", spec, authority_id, now, entropy)
}

/// The mandate to revoke exactly the certificates of `batch`.
pub(crate) fn to_revoke_batch(
    decided: &Decided,
    batch: &RevocationBatch,
    now: Time,
    entropy: &Entropy,
) -> Result<Mandate, CoreError> {
    mandate(decided, "revoke-batch", batch, batch.authority_id, now, entropy)
}

/// The mandate to hand out exactly the private key of `spec`.
pub(crate) fn to_export_key(
    decided: &Decided,
    spec: &KeyExportSpec,
    authority_id: AuthorityId,
    now: Time,
    entropy: &Entropy,
) -> Result<Mandate, CoreError> {
    mandate(decided, "export-key", spec, authority_id, now, entropy)
}

fn mandate<T: Serialize>(
    decided: &Decided,
    operation: &str,
    spec: &T,
    authority_id: AuthorityId,
    now: Time,
    entropy: &Entropy,
) -> Result<Mandate, CoreError> {
    let document = canonical_json(spec)
        .map_err(|error| CoreError::defect_of("a request has no canonical form", error))?;
    Ok(Mandate {
        id: MandateId::generate(now, entropy),
        operation_id: decided.operation_id,
        operation: operation.to_owned(),
        request_sha256: hex::encode(clm_x509::sha256(document.as_bytes())),
        authority_id,
        profile: None,
        profile_hash: None,
        policy_id: None,
        policy_version: None,
        organization_id: decided.organization_id,
        requester_user_id: decided.requester_user_id,
        workflow_instance_id: decided.instance_id.into(),
        approvals: decided.approvals.clone(),
        issued_at: now,
        expires_at: now + LIFETIME,
    })
}
