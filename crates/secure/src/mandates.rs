//! Checking a mandate against what it came with.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::TimeDelta;
use clm_types::{
    AuthorityId, CertificateSpec, ErrorCode, KeyExportSpec, Mandate, OrganizationId, Refusal,
    RevocationBatch, RevocationSpec, Time, UserId,
};
use serde_json::json;

use crate::Secure;
use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;

/// How far the clocks of Core and Secure may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Longest life of a mandate.
const LONGEST: TimeDelta = TimeDelta::hours(1);

/// SHA-256 of the exact octets of a request.
pub(crate) fn request_digest(octets: &[u8]) -> Vec<u8> {
    digest(&SHA256, octets).as_ref().to_vec()
}

/// Checks the mandate of an issuance.
pub(crate) fn check_issue(
    mandate: &Mandate,
    spec: &CertificateSpec,
    octets: &[u8],
    now: Time,
) -> Result<(), Refusal> {
    let parties = (spec.authority_id, spec.organization_id, spec.requester_user_id);
    check(mandate, "issue", parties, octets, now)?;
    let fits = mandate.profile.as_ref() == Some(&spec.profile)
        && mandate.policy_id == Some(spec.policy_id)
        && mandate.policy_version == Some(spec.policy_version)
        && mandate.workflow_instance_id == spec.workflow_instance_id.0;
    if fits { Ok(()) } else { Err(invalid("it names another profile, policy or workflow than the request")) }
}

/// Checks the mandate of a revocation, hold or release.
pub(crate) fn check_revoke(
    mandate: &Mandate,
    spec: &RevocationSpec,
    authority_id: AuthorityId,
    octets: &[u8],
    now: Time,
) -> Result<(), Refusal> {
    check(mandate, "revoke", (authority_id, spec.organization_id, spec.requested_by), octets, now)
}

/// Checks the mandate of a batch of revocations.
pub(crate) fn check_revoke_batch(
    mandate: &Mandate,
    batch: &RevocationBatch,
    octets: &[u8],
    now: Time,
) -> Result<(), Refusal> {
    let parties = (batch.authority_id, batch.organization_id, batch.requested_by);
    check(mandate, "revoke-batch", parties, octets, now)
}

/// Checks the mandate to hand out a private key.
pub(crate) fn check_key_export(
    mandate: &Mandate,
    spec: &KeyExportSpec,
    authority_id: AuthorityId,
    octets: &[u8],
    now: Time,
) -> Result<(), Refusal> {
    check(mandate, "export-key", (authority_id, spec.organization_id, spec.requested_by), octets, now)
}

fn check(
    mandate: &Mandate,
    operation: &str,
    parties: (AuthorityId, OrganizationId, UserId),
    octets: &[u8],
    now: Time,
) -> Result<(), Refusal> {
    if mandate.operation != operation {
        return Err(invalid("it is for another operation"));
    }
    if mandate.request_sha256 != hex::encode(request_digest(octets)) {
        return Err(invalid("its digest is not that of the request"));
    }
    if (mandate.authority_id, mandate.organization_id, mandate.requester_user_id) != parties {
        return Err(invalid("it names another authority, organization or requester than the request"));
    }
    if mandate.issued_at > now + SKEW
        || mandate.expires_at <= now
        || mandate.expires_at - mandate.issued_at > LONGEST
    {
        return Err(invalid("it is not valid now").hint("check the clocks of both services"));
    }
    Ok(())
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(ErrorCode::MandateInvalid, format!("the mandate does not hold: {why}"))
}

impl Secure {
    /// Records that a mandate was refused. The refusal stands whether or not this succeeds: nothing was done.
    pub(crate) async fn record_refusal(&self, mandate: &Mandate, action: &'static str, refusal: &Refusal) {
        let entry = AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Core,
            organization_id: Some(mandate.organization_id),
            operation_id: Some(mandate.operation_id),
            action,
            object_type: "authority",
            object_id: Some(mandate.authority_id.into()),
            outcome: Outcome::Refused,
            reason: Some(refusal.detail.clone()),
            detail: json!({ "mandate_id": mandate.id, "code": refusal.code, "requester": mandate.requester_user_id }),
        };
        tracing::warn!(code = %refusal.code, operation_id = %mandate.operation_id, "refused a mandate");
        if let Err(error) = self.commit(Write { audit: vec![entry], ..Write::default() }).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refusal could not be recorded");
        }
    }
}
