//! The circumstances of one call of a rule: who, for whom, when, in which request.

use std::net::IpAddr;

use clm_types::{Entropy, ErrorCode, OperationId, OrganizationId, Permission, Refusal, Time, UserId, ids};
use uuid::Uuid;

use crate::actor::{Actor, MissingFactor};
use crate::sessions::FRESH;

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

    /// Fails while the session lacks a factor.
    ///
    /// # Errors
    /// `second_factor_required`.
    pub fn require_whole_session(&self) -> Result<(), Refusal> {
        let (detail, hint) = match self.actor.session.and_then(|session| session.missing) {
            None => return Ok(()),
            Some(MissingFactor::Code) => (
                "show your second factor first",
                "POST /api/v1/sessions/current/factor, or `clm factor show`",
            ),
            Some(MissingFactor::Enrolment) => (
                "you need a second factor, and have none",
                "set one up: POST /api/v1/me/totp, or `clm factor totp`",
            ),
        };
        Err(Refusal::new(ErrorCode::SecondFactorRequired, detail).hint(hint))
    }

    /// Fails if an API key is used that is limited: what outlives it, or is wider than it, is not made with it.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn require_unrestricted(&self) -> Result<(), Refusal> {
        if !self.actor.restricted {
            return Ok(());
        }
        let detail =
            "an API key that is limited to scopes, networks, an organization or a short time cannot do this";
        Err(Refusal::new(ErrorCode::PermissionDenied, detail).hint("sign in, or use a key without limits"))
    }

    /// Fails unless a second factor was shown within the last minutes. A key stands for the factor that was shown when it was
    /// made.
    ///
    /// # Errors
    /// `step_up_required`.
    pub fn require_fresh_factor(&self) -> Result<(), Refusal> {
        let Some(session) = self.actor.session else {
            return Ok(());
        };
        if session.factor_at.is_some_and(|shown| self.now < shown + FRESH) {
            return Ok(());
        }
        let detail = format!(
            "this needs a second factor that was shown within the last {} minutes",
            FRESH.num_minutes()
        );
        Err(Refusal::new(ErrorCode::StepUpRequired, detail)
            .hint("show it again: POST /api/v1/sessions/current/factor, or `clm factor show`"))
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
