//! The words of CLM: typed ids, serials, states and their transitions, error codes, permissions, clock.
//!
//! Nothing here does I/O; every other crate may depend on it, and it depends on none of ours.

pub mod certificate;
pub mod change;
pub mod checkpoint;
pub mod clock;
pub mod entropy;
pub mod error;
pub mod ids;
pub mod issuance;
pub mod key;
pub mod mandate;
pub mod mass_revocation;
pub mod permission;
pub mod private_key;
pub mod references;
pub mod request;
pub mod revocation;
pub mod serial;
pub mod subscription;
pub mod text_enum;
pub mod workflow;

pub use certificate::{CertificateCategory, CertificateStatus};
pub use change::Change;
pub use clock::{Clock, Time};
pub use entropy::Entropy;
pub use error::{ErrorCode, Refusal};
pub use ids::{
    ApiKeyId, AuthorityId, CertificateId, ExternalIdentityId, GroupId, JobId, MandateId, MassRevocationId,
    NotificationId, OperationId, OrganizationId, PasskeyId, PolicyId, PrivateKeyId, RequestId, RoleId,
    SessionId, UserId, WorkflowId, WorkflowInstanceId, WorkflowStepId, WorkloadRuleId,
};
pub use issuance::{
    AuthorityRecord, CertificateRecord, CertificateSpec, IssuedCertificate, OwnerChange, RevocationRecord,
    RevocationSpec, SecureAuditEntry, SecureEvent,
};
pub use key::{KeyAlgorithm, KeySource};
pub use mandate::{Approval, Mandate, canonical_json};
pub use mass_revocation::{BatchedOutcome, BatchedRevocation, RevocationBatch};
pub use permission::Permission;
pub use private_key::{
    ExportedKey, KeyChange, KeyExportGrant, KeyExportPurpose, KeyExportSpec, KeyOrder, KeyRecord, Sealed,
    TransportKey,
};
pub use references::{CertificateReference, OperationReference, OperationTrace, Orphan, OrphanKind};
pub use request::RequestStatus;
pub use revocation::RevocationReason;
pub use serial::SerialNumber;
pub use subscription::SubscriptionStatus;
pub use workflow::{StepStatus, WorkflowKind, WorkflowStatus};
