//! The rules of the Core Service: people, roles, policies, workflows, inventory, jobs.
//!
//! No HTTP and no SQL text here. A rule is a method of [`Core`] in the file of its noun; its first
//! argument is the [`Ctx`], its error the [`CoreError`].

pub mod actor;
pub mod api_keys;
pub mod audit;
pub mod authentication;
pub mod bootstrap;
mod cache;
pub mod ctx;
mod defaults;
pub mod error;
mod fields;
pub mod idempotency;
pub mod ip_range;
pub mod name_rules;
pub mod organizations;
pub mod page;
pub mod passwords;
pub mod policies;
pub mod policy_rules;
pub mod proposal;
pub mod roles;
pub mod subject_rules;
pub mod tokens;
pub mod users;
pub mod workflow_definition;
pub mod workflows;

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::{PgPool, notices, tenancy};
use clm_pg::{DbError, Tx};
use clm_rpc::SecureClient;
use clm_types::{ApiKeyId, Clock, Entropy, OrganizationId};
use moka::sync::Cache;

pub use actor::{Actor, ActorKind, PermissionSet};
pub use ctx::Ctx;
pub use error::CoreError;

use authentication::{Identity, IdentityKey};
use cache::ShortCache;
use policies::ReadPolicy;
use workflows::ReadWorkflow;

/// How long keys, roles, policies and workflows are believed without asking again. Changes are
/// announced to every process and take effect at once; this bounds the wait if that fails.
const BELIEVED: Duration = Duration::from_secs(5);

/// What the rules work with.
pub struct CoreParts {
    /// Connections as `clm_core_app`: one organization per transaction.
    pub app: PgPool,
    /// Connections as `clm_core_system`: every organization.
    pub system: PgPool,
    /// The Secure Service.
    pub secure: SecureClient,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

/// The rules of Core over their database and the Secure Service.
pub struct Core {
    pub(crate) app: PgPool,
    pub(crate) system: PgPool,
    pub(crate) secure: SecureClient,
    /// The time, for the edge and the job runner.
    pub clock: Clock,
    /// Randomness, for the edge and the job runner.
    pub entropy: Entropy,
    pub(crate) identities: ShortCache<IdentityKey, Identity>,
    /// Keys whose use was noted within the last minute.
    pub(crate) used_keys: Cache<ApiKeyId, ()>,
    /// By id or code.
    pub(crate) policies: ShortCache<(OrganizationId, String), ReadPolicy>,
    /// By code.
    pub(crate) workflows: ShortCache<(OrganizationId, String), ReadWorkflow>,
}

impl Core {
    /// The rules over these parts, shared by every task of the process.
    pub fn new(parts: CoreParts) -> Arc<Self> {
        Arc::new(Self {
            app: parts.app,
            system: parts.system,
            secure: parts.secure,
            clock: parts.clock,
            entropy: parts.entropy,
            identities: ShortCache::new(10_000, BELIEVED),
            used_keys: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_mins(1)).build(),
            policies: ShortCache::new(1_000, BELIEVED),
            workflows: ShortCache::new(1_000, BELIEVED),
        })
    }

    /// Drops what a notice of another process says is no longer so; see [`clm_core_db::notices`].
    pub fn heed_notice(&self, channel: &str) {
        match channel {
            notices::IDENTITY => self.identities.clear(),
            notices::POLICY => self.forget_policies(),
            _ => {}
        }
    }

    /// Drops everything believed, for when notices may have been missed.
    pub fn forget_everything(&self) {
        self.identities.clear();
        self.forget_policies();
    }

    pub(crate) fn forget_policies(&self) {
        self.policies.clear();
        self.workflows.clear();
    }

    /// A transaction that sees one organization; not retried. Commit with [`clm_pg::commit`].
    pub(crate) async fn tenant_tx(&self, organization_id: OrganizationId) -> Result<Tx, DbError> {
        let mut tx = clm_pg::begin(&self.app).await?;
        tenancy::enter(&mut tx, organization_id).await?;
        Ok(tx)
    }

    /// Runs `body` in a transaction that sees one organization, again if it loses against another
    /// one (see [`clm_pg::transaction`]).
    pub(crate) async fn in_tenant<T, F, Fut>(
        &self,
        organization_id: OrganizationId,
        name: &'static str,
        body: F,
    ) -> Result<T, CoreError>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<(Tx, T), CoreError>>,
    {
        let body = &body;
        clm_pg::transaction(&self.app, name, |mut tx| async move {
            tenancy::enter(&mut tx, organization_id).await?;
            body(tx).await
        })
        .await
    }

    /// Runs `body` in a transaction that sees every organization, again if it loses.
    pub(crate) async fn in_system<T, F, Fut>(&self, name: &'static str, body: F) -> Result<T, CoreError>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<(Tx, T), CoreError>>,
    {
        clm_pg::transaction(&self.system, name, body).await
    }
}
