//! What waits for the caller's decision.

use chrono::{DateTime, Utc};
use clm_types::{CertificateId, OperationId, RequestId, RoleId, UserId, WorkflowKind, WorkflowStepId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// One step that the caller may decide.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PendingApproval {
    /// The request to approve or reject.
    #[schema(value_type = Uuid)]
    pub request_id: RequestId,
    /// The step.
    #[schema(value_type = Uuid)]
    pub step_id: WorkflowStepId,
    /// Its name.
    pub step_name: String,
    /// Its place, from 1.
    pub step_number: i32,
    /// Approvals it needs.
    pub quorum: i32,
    /// What is asked for.
    #[schema(schema_with = schema::workflow_kind)]
    pub kind: WorkflowKind,
    /// The operation.
    #[schema(value_type = Uuid)]
    pub operation_id: OperationId,
    /// The certificate, where there is one.
    #[schema(value_type = Option<Uuid>)]
    pub certificate_id: Option<CertificateId>,
    /// Who asked.
    #[schema(value_type = Uuid)]
    pub requester_user_id: UserId,
    /// The role that decides, where it is not one user.
    #[schema(value_type = Option<Uuid>)]
    pub approver_role_id: Option<RoleId>,
    /// When it must be decided.
    pub due_at: Option<DateTime<Utc>>,
    /// Since when it waits.
    pub created_at: DateTime<Utc>,
}
