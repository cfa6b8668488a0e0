//! The circumstances of one call of a rule: who, for whom, when, in which request.

use std::net::IpAddr;

use clm_types::{Entropy, ErrorCode, OperationId, OrganizationId, Permission, Refusal, Time, UserId, ids};
use uuid::Uuid;

use crate::actor::Actor;

/// Built once at the edge or by the job runner; the first argument of every rule.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Who acts.
    pub actor: Actor,
    /// In which organization.
    pub organization_id: OrganizationId,
    /// When the request came in.
    pub now: Time,
    /// Stands in logs, audit entries and answers.
    pub request_id: Uuid,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The operation that this call begins, where the caller sent an `Idempotency-Key`.
    pub asked: Option<AskedOperation>,
}

/// An operation that its caller can name again: the same call, sent twice, is one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedOperation {
    /// Follows from caller, route and key alone.
    pub operation_id: OperationId,
    /// SHA-256 of path and body, hexadecimal: another call under the same key shows.
    pub call_sha256: String,
}

impl Ctx {
    /// The service itself, in one organization.
    pub fn system(organization_id: OrganizationId, now: Time, entropy: &Entropy) -> Self {
        Self {
            actor: Actor::system(),
            organization_id,
            now,
            request_id: ids::new_uuid(now, entropy),
            address: None,
            asked: None,
        }
    }

    /// The id of the operation that this call begins: the same one when the call is repeated.
    pub fn operation_id(&self, entropy: &Entropy) -> OperationId {
        let asked = self.asked.as_ref().map(|asked| asked.operation_id);
        asked.unwrap_or_else(|| OperationId::generate(self.now, entropy))
    }

    /// Fails unless the actor has the permission in this organization.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.actor.permissions.contains(permission) {
            return Ok(());
        }
        Err(denied(permission).hint(
            "ask an administrator for a role that has this permission, or use an API key whose scopes include it",
        ))
    }

    /// Fails unless the actor has the permission in every organization.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn require_global(&self, permission: Permission) -> Result<(), Refusal> {
        if self.actor.global_permissions.contains(permission) {
            return Ok(());
        }
        Err(denied(permission).hint("this needs a role that is assigned for all organizations"))
    }

    /// The user who acts.
    ///
    /// # Errors
    /// `permission_denied` when it is no user.
    pub fn user_id(&self) -> Result<UserId, Refusal> {
        self.actor.user_id.ok_or_else(|| Refusal::new(ErrorCode::PermissionDenied, "only a user can do this"))
    }
}

fn denied(permission: Permission) -> Refusal {
    Refusal::new(ErrorCode::PermissionDenied, format!("the permission {permission} is needed"))
}
