//! What Core writes down of every change, and who may read it.

use std::net::IpAddr;

use clm_core_db::audit::{self, AuditFilter, NewAuditRow};
use clm_types::{ApiKeyId, Entropy, OperationId, Permission, SecureAuditEntry, SessionId, Time, UserId, ids};
use serde_json::Value;
use uuid::Uuid;

use crate::page::{LARGEST_PAGE, Page, PageRequest};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::audit::AuditRow;

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
            session_id: ctx.actor.session.map(|session| session.id.into()),
            organization_id: Some(ctx.organization_id.into()).filter(|id: &Uuid| !id.is_nil()),
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

    /// About the whole installation, and not about the caller's organization alone.
    #[must_use]
    pub const fn of_installation(mut self) -> Self {
        self.0.organization_id = None;
        self
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

/// Which entries to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditQuery<'a> {
    /// Only about this object.
    pub object_id: Option<Uuid>,
    /// Only about objects of this sort.
    pub object_type: Option<&'a str>,
    /// Only by this user.
    pub actor_user_id: Option<UserId>,
    /// Only by this session.
    pub session_id: Option<SessionId>,
    /// Only by this API key.
    pub api_key_id: Option<ApiKeyId>,
    /// Only from this address.
    pub address: Option<IpAddr>,
    /// Only of this request.
    pub request_id: Option<Uuid>,
    /// Only this action.
    pub action: Option<&'a str>,
    /// Only with this outcome (`allowed`, `refused`, `failed`).
    pub outcome: Option<&'a str>,
    /// Only at this moment or after.
    pub since: Option<Time>,
    /// Only before this moment.
    pub until: Option<Time>,
}

/// What both databases wrote of one operation, each oldest first.
#[derive(Debug, Clone)]
pub struct OperationTrail {
    /// Of Core.
    pub core: Vec<AuditRow>,
    /// Of Secure.
    pub secure: Vec<SecureAuditEntry>,
}

impl Core {
    /// Entries of the caller's organization, newest first.
    pub async fn list_audit_entries(
        &self,
        ctx: &Ctx,
        query: AuditQuery<'_>,
        page: PageRequest,
    ) -> Result<Page<AuditRow>, CoreError> {
        ctx.require(Permission::AuditRead)?;
        let filter = AuditFilter {
            object_id: query.object_id,
            object_type: query.object_type.map(str::to_owned),
            operation_id: None,
            actor_user_id: query.actor_user_id.map(Into::into),
            session_id: query.session_id.map(Into::into),
            api_key_id: query.api_key_id.map(Into::into),
            ip_address: query.address.map(|address| address.to_string()),
            request_id: query.request_id,
            action: query.action.map(str::to_owned),
            outcome: query.outcome.map(str::to_owned),
            since: query.since,
            until: query.until,
            before: page.before,
        };
        let mut tx = self.search_tx(ctx.organization_id).await?;
        let rows = audit::list(&mut tx, ctx.organization_id.0, &filter, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// What both databases wrote of one operation of the caller's organization.
    ///
    /// # Errors
    /// `unavailable` while Secure is not reachable.
    pub async fn trace_operation(
        &self,
        ctx: &Ctx,
        operation_id: OperationId,
    ) -> Result<OperationTrail, CoreError> {
        ctx.require(Permission::AuditRead)?;
        let filter = AuditFilter { operation_id: Some(operation_id.into()), ..AuditFilter::default() };
        let mut tx = self.search_tx(ctx.organization_id).await?;
        let mut core = audit::list(&mut tx, ctx.organization_id.0, &filter, i64::from(LARGEST_PAGE)).await?;
        drop(tx);
        let filter = clm_rpc::client::AuditFilter {
            organization_id: Some(ctx.organization_id),
            operation_id: Some(operation_id),
            object_id: None,
            before: None,
            limit: LARGEST_PAGE,
        };
        let mut secure = self.secure.list_audit_entries(&filter).await?;
        core.reverse();
        secure.reverse();
        Ok(OperationTrail { core, secure })
    }
}
