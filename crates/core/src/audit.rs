//! What Core writes down of every change, and who may read it.

use clm_core_db::audit::NewAuditRow;
use clm_types::{Entropy, OperationId, ids};
use serde_json::Value;
use uuid::Uuid;

use crate::Ctx;

/// One entry in the making: `AuditEntry::of(ctx, "policy.create", "policy").object(id).after(json)`.
#[derive(Debug, Clone)]
pub struct AuditEntry(NewAuditRow);

impl AuditEntry {
    /// An allowed `action` (`noun.verb`) of the actor on a kind of object.
    pub fn of(ctx: &Ctx, entropy: &Entropy, action: &str, object_type: &str) -> Self {
        Self(NewAuditRow {
            id: ids::new_uuid(ctx.now, entropy),
            occurred_at: ctx.now,
            actor_user_id: ctx.actor.user_id.map(Into::into),
            actor_type: ctx.actor.audit_type(),
            api_key_id: ctx.actor.api_key_id.map(Into::into),
            organization_id: Some(ctx.organization_id.into()),
            ip_address: ctx.address.map(|address| address.to_string()),
            request_id: Some(ctx.request_id),
            operation_id: None,
            action: action.to_owned(),
            object_type: object_type.to_owned(),
            object_id: None,
            before_state: None,
            after_state: None,
            outcome: "allowed",
            detail: None,
        })
    }

    /// Which object.
    #[must_use]
    pub fn object(mut self, id: impl Into<Uuid>) -> Self {
        self.0.object_id = Some(id.into());
        self
    }

    /// Of which operation across both databases.
    #[must_use]
    pub fn operation(mut self, id: OperationId) -> Self {
        self.0.operation_id = Some(id.into());
        self
    }

    /// The object before the change; never a secret.
    #[must_use]
    pub fn before(mut self, state: Value) -> Self {
        self.0.before_state = Some(state);
        self
    }

    /// The object after the change; never a secret.
    #[must_use]
    pub fn after(mut self, state: Value) -> Self {
        self.0.after_state = Some(state);
        self
    }

    /// Why, in words.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// It was refused or failed (`refused`, `failed`).
    #[must_use]
    pub const fn outcome(mut self, outcome: &'static str) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// For [`clm_core_db::audit::insert`], in the commit of the change.
    pub const fn row(&self) -> &NewAuditRow {
        &self.0
    }
}
