//! The rules of the Core Service: people, roles, policies, workflows, inventory, jobs.
//!
//! No HTTP and no SQL text here. A rule is a method of [`Core`] in the file of its noun; its first
//! argument is the [`Ctx`], its error the [`CoreError`].

pub mod actor;
pub mod audit;
pub mod ctx;
pub mod error;

use std::sync::Arc;

use clm_core_db::{PgPool, tenancy};
use clm_pg::{DbError, Tx};
use clm_rpc::SecureClient;
use clm_types::{Clock, Entropy, OrganizationId};

pub use actor::{Actor, ActorKind, PermissionSet};
pub use ctx::Ctx;
pub use error::CoreError;

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
    #[expect(dead_code, reason = "the sagas use it")]
    pub(crate) secure: SecureClient,
    /// The time, for the edge and the job runner.
    pub clock: Clock,
    /// Randomness, for the edge and the job runner.
    pub entropy: Entropy,
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
        })
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
