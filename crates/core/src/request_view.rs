//! A request as its readers see it.

use clm_core_db::requests::{InstanceRow, StepRow};
use clm_types::{
    AuthorityId, CertificateId, KeyAlgorithm, KeySource, OperationId, OrganizationId, PolicyId, RequestId,
    RevocationReason, RoleId, StepStatus, Time, UserId, WorkflowId, WorkflowKind, WorkflowStatus,
};
use serde::Deserialize;

use crate::CoreError;
use crate::request_context::RequestContext;

/// A request and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its identity, in both databases.
    pub id: RequestId,
    /// The operation: what the audit logs of both databases name it by.
    pub operation_id: OperationId,
    /// What is asked for.
    pub kind: WorkflowKind,
    /// How far it is.
    pub status: WorkflowStatus,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Who asked.
    pub requester_user_id: UserId,
    /// Who shall answer for the certificate.
    pub owner_user_id: Option<UserId>,
    /// The policy that governs it.
    pub policy_id: Option<PolicyId>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// The workflow that decides.
    pub workflow_id: Option<WorkflowId>,
    /// The certificate: the one issued, or the one to revoke.
    pub certificate_id: Option<CertificateId>,
    /// What would be issued; absent for revocations.
    pub certificate: Option<RequestedCertificate>,
    /// What would be revoked; absent for issuance.
    pub revocation: Option<RequestedRevocation>,
    /// Why no approval was needed, or why it was.
    pub approval_reason: Option<String>,
    /// A word of the requester to the approvers.
    pub comment: Option<String>,
    /// The approval steps in their order.
    pub steps: Vec<RequestStep>,
    /// Why it failed: stable code and words.
    pub failure: Option<(String, String)>,
    /// When it must be decided.
    pub due_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// When nothing was left to do.
    pub completed_at: Option<Time>,
    /// Counts its changes; the ETag.
    pub version: i64,
}

/// The certificate that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedCertificate {
    /// The authority that shall sign.
    pub authority_id: AuthorityId,
    /// Profile name.
    pub profile: String,
    /// Where the key comes from.
    pub key_source: KeySource,
    /// The key's algorithm.
    pub key_algorithm: Option<KeyAlgorithm>,
    /// RFC 4514.
    pub subject: String,
    /// Typed texts.
    pub sans: Vec<String>,
    /// Lifetime from issuance.
    pub validity_seconds: u64,
    /// The certificate that this one would replace.
    pub renewal_of: Option<CertificateId>,
}

/// The revocation that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedRevocation {
    /// RFC 5280 reason; `removeFromCRL` releases a hold.
    pub reason: RevocationReason,
    /// Since when the key is suspected.
    pub invalidity_date: Option<Time>,
    /// Why, in words.
    pub comment: Option<String>,
}

/// One approval step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestStep {
    /// Its place, from 1.
    pub number: i32,
    /// Its name.
    pub name: String,
    /// How far it is.
    pub status: StepStatus,
    /// Approvals it needs.
    pub quorum: i32,
    /// The one user who decides, or:
    pub approver_user_id: Option<UserId>,
    /// any user with this role.
    pub approver_role_id: Option<RoleId>,
    /// When it must be decided.
    pub due_at: Option<Time>,
    /// What was decided.
    pub decisions: Vec<StepDecision>,
}

/// What one approver decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StepDecision {
    /// Who.
    pub user_id: UserId,
    /// `approved` or `rejected`.
    pub decision: String,
    /// What was said.
    pub comment: Option<String>,
    /// When.
    pub decided_at: Time,
}

impl Request {
    /// Reads what is stored; the steps are those of this request.
    pub(crate) fn read(row: InstanceRow, steps: Vec<StepRow>) -> Result<Self, CoreError> {
        let context = RequestContext::parse(&row.context)?;
        Ok(Self {
            id: row.id.into(),
            operation_id: row.operation_id.into(),
            kind: stored(&row.instance_type)?,
            status: stored(&row.status)?,
            organization_id: row.organization_id.into(),
            requester_user_id: row.requester_user_id.into(),
            owner_user_id: row.owner_user_id.map(Into::into),
            policy_id: row.policy_id.map(Into::into),
            policy_version: row.policy_version,
            workflow_id: row.workflow_id.map(Into::into),
            certificate_id: row.certificate_id.map(Into::into),
            certificate: RequestedCertificate::of(&context),
            revocation: RequestedRevocation::of(&context),
            approval_reason: context.approval_reason,
            comment: context.comment,
            steps: steps.into_iter().map(RequestStep::read).collect::<Result<_, _>>()?,
            failure: row.failure_code.zip(row.failure_detail),
            due_at: row.due_at,
            created_at: row.created_at,
            completed_at: row.completed_at,
            version: row.version,
        })
    }
}

impl RequestedCertificate {
    fn of(context: &RequestContext) -> Option<Self> {
        let spec = context.certificate.as_ref()?;
        Some(Self {
            authority_id: spec.authority_id,
            profile: spec.profile.clone(),
            key_source: spec.key_source,
            key_algorithm: context.key_algorithm,
            subject: spec.subject.clone(),
            sans: spec.sans.clone(),
            validity_seconds: spec.validity_seconds,
            renewal_of: spec.renewal_of,
        })
    }
}

impl RequestedRevocation {
    fn of(context: &RequestContext) -> Option<Self> {
        let spec = context.revocation.as_ref()?;
        Some(Self {
            reason: spec.reason,
            invalidity_date: spec.invalidity_date,
            comment: spec.comment.clone(),
        })
    }
}

impl RequestStep {
    fn read(row: StepRow) -> Result<Self, CoreError> {
        Ok(Self {
            number: row.step_number,
            name: row.step_name,
            status: stored(&row.status)?,
            quorum: row.quorum,
            approver_user_id: row.assigned_to_user_id.map(Into::into),
            approver_role_id: row.assigned_to_role_id.map(Into::into),
            due_at: row.due_at,
            decisions: serde_json::from_value(row.decisions)
                .map_err(|error| CoreError::defect_of("stored decisions cannot be read", error))?,
        })
    }
}

/// Reads a stored text; one that is unknown is a defect.
pub(crate) fn stored<T>(text: &str) -> Result<T, CoreError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error| CoreError::defect_of("a stored text is unknown", error))
}
