//! Requests: for a new certificate, a renewal or a revocation, and how far they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clm_types::{
    AuthorityId, CertificateId, KeyAlgorithm, KeySource, OperationId, OrganizationId, PolicyId, RequestId,
    RoleId, StepStatus, UserId, WorkflowId, WorkflowKind, WorkflowStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// Asks for a certificate: from a certificate signing request, or with a key that is generated and kept here.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRequest {
    /// Id or code of the policy; the organization's only one for this profile unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Profile name, for example `tls-server`.
    pub profile: String,
    /// Id or name of the authority; chosen by the policy unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// PKCS#10 in PEM. Without it, `key_algorithm` says which key is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_pem: Option<String>,
    /// Algorithm of the key to generate.
    #[schema(schema_with = schema::key_algorithm)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Subject, RFC 4514; taken from the CSR unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Names: `dns:…`, `ip:…`, `email:…`, `uri:…`; taken from the CSR when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sans: Vec<String>,
    /// Lifetime; the policy's default unless given.
    #[schema(minimum = 1)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_seconds: Option<u64>,
    /// Who answers for the certificate; the caller unless given.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_user_id: Option<UserId>,
    /// Names and values to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Where it is used, for example `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The organization's own category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Fields of the organization's own.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub custom_fields: serde_json::Map<String, serde_json::Value>,
    /// A word to the approvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A request and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// Its identity, in both databases.
    #[schema(value_type = Uuid)]
    pub id: RequestId,
    /// The operation: what the audit logs of both databases name it by.
    #[schema(value_type = Uuid)]
    pub operation_id: OperationId,
    /// What is asked for.
    #[schema(schema_with = schema::workflow_kind)]
    pub kind: WorkflowKind,
    /// How far it is.
    #[schema(schema_with = schema::workflow_status)]
    pub status: WorkflowStatus,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// Who asked.
    #[schema(value_type = Uuid)]
    pub requester_user_id: UserId,
    /// Who shall answer for the certificate.
    #[schema(value_type = Option<Uuid>)]
    pub owner_user_id: Option<UserId>,
    /// The policy that governs it.
    #[schema(value_type = Option<Uuid>)]
    pub policy_id: Option<PolicyId>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// The workflow that decides.
    #[schema(value_type = Option<Uuid>)]
    pub workflow_id: Option<WorkflowId>,
    /// The certificate: the one issued, or the one to revoke.
    #[schema(value_type = Option<Uuid>)]
    pub certificate_id: Option<CertificateId>,
    /// What would be issued; absent for revocations.
    pub certificate: Option<RequestedCertificate>,
    /// What would be revoked; absent for issuance.
    pub revocation: Option<RequestedRevocation>,
    /// What the requester said to the approvers.
    pub comment: Option<String>,
    /// Why no approval was needed, or why it was.
    pub approval_reason: Option<String>,
    /// The approval steps in their order.
    pub steps: Vec<RequestStep>,
    /// Why it failed.
    pub failure: Option<RequestFailure>,
    /// When it must be decided.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When nothing was left to do.
    pub completed_at: Option<DateTime<Utc>>,
    /// Counts its changes, without the decisions on its steps.
    pub version: i64,
}

/// The certificate that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestedCertificate {
    /// The authority that shall sign.
    #[schema(value_type = Uuid)]
    pub authority_id: AuthorityId,
    /// Profile name.
    pub profile: String,
    /// Where the key comes from.
    #[schema(schema_with = schema::key_source)]
    pub key_source: KeySource,
    /// The key's algorithm.
    #[schema(schema_with = schema::key_algorithm)]
    pub key_algorithm: Option<KeyAlgorithm>,
    /// RFC 4514.
    pub subject: String,
    /// `dns:…`, `ip:…`, `email:…`, `uri:…`.
    pub sans: Vec<String>,
    /// Lifetime from issuance.
    pub validity_seconds: u64,
    /// The certificate that this one would replace.
    #[schema(value_type = Option<Uuid>)]
    pub renewal_of: Option<CertificateId>,
}

/// The revocation that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestedRevocation {
    /// RFC 5280 reason; `removeFromCRL` releases a hold.
    #[schema(schema_with = schema::revocation_reason)]
    pub reason: clm_types::RevocationReason,
    /// Since when the key is suspected.
    pub invalidity_date: Option<DateTime<Utc>>,
    /// Why, in words.
    pub comment: Option<String>,
}

/// One approval step.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestStep {
    /// Its place, from 1.
    pub number: i32,
    /// Its name.
    pub name: String,
    /// How far it is.
    #[schema(schema_with = schema::step_status)]
    pub status: StepStatus,
    /// Approvals it needs.
    pub quorum: i32,
    /// The one user who decides, or:
    #[schema(value_type = Option<Uuid>)]
    pub approver_user_id: Option<UserId>,
    /// any user with this role.
    #[schema(value_type = Option<Uuid>)]
    pub approver_role_id: Option<RoleId>,
    /// When it must be decided.
    pub due_at: Option<DateTime<Utc>>,
    /// What was decided.
    pub decisions: Vec<StepDecision>,
}

/// What one approver decided.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepDecision {
    /// Who.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// `approved` or `rejected`.
    pub decision: String,
    /// What was said.
    pub comment: Option<String>,
    /// When.
    pub decided_at: DateTime<Utc>,
}

/// Why a request failed for good.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestFailure {
    /// Stable code.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// An approval, refusal or withdrawal.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Which requests to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestQuery {
    /// Only those that are this far.
    #[param(schema_with = schema::workflow_status)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkflowStatus>,
    /// Only of this kind.
    #[param(schema_with = schema::workflow_kind)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<WorkflowKind>,
    /// Only of this requester.
    #[param(value_type = Option<Uuid>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<UserId>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
