//! A request as the API shows it.

use clm_api::requests as api;
use clm_core::request_view as core;

pub(crate) fn view(request: core::Request) -> api::Request {
    api::Request {
        id: request.id,
        operation_id: request.operation_id,
        kind: request.kind,
        status: request.status,
        organization_id: request.organization_id,
        requester_user_id: request.requester_user_id,
        owner_user_id: request.owner_user_id,
        policy_id: request.policy_id,
        policy_version: request.policy_version,
        workflow_id: request.workflow_id,
        certificate_id: request.certificate_id,
        certificate: request.certificate.map(certificate),
        revocation: request.revocation.map(revocation),
        comment: request.comment,
        approval_reason: request.approval_reason,
        steps: request.steps.into_iter().map(step).collect(),
        failure: request.failure.map(|(code, detail)| api::RequestFailure { code, detail }),
        due_at: request.due_at,
        created_at: request.created_at,
        completed_at: request.completed_at,
        version: request.version,
    }
}

fn certificate(wanted: core::RequestedCertificate) -> api::RequestedCertificate {
    api::RequestedCertificate {
        authority_id: wanted.authority_id,
        profile: wanted.profile,
        key_source: wanted.key_source,
        key_algorithm: wanted.key_algorithm,
        subject: wanted.subject,
        sans: wanted.sans,
        validity_seconds: wanted.validity_seconds,
        renewal_of: wanted.renewal_of,
    }
}

fn revocation(wanted: core::RequestedRevocation) -> api::RequestedRevocation {
    api::RequestedRevocation {
        reason: wanted.reason,
        invalidity_date: wanted.invalidity_date,
        comment: wanted.comment,
    }
}

fn step(step: core::RequestStep) -> api::RequestStep {
    let decisions = step.decisions.into_iter().map(|one| api::StepDecision {
        user_id: one.user_id,
        decision: one.decision,
        comment: one.comment,
        decided_at: one.decided_at,
    });
    api::RequestStep {
        number: step.number,
        name: step.name,
        status: step.status,
        quorum: step.quorum,
        approver_user_id: step.approver_user_id,
        approver_role_id: step.approver_role_id,
        due_at: step.due_at,
        decisions: decisions.collect(),
    }
}
