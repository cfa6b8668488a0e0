//! The rules of the Core Service: people, roles, policies, workflows, inventory, jobs.
//!
//! No HTTP and no SQL text here. A rule is a method of [`Core`] in the file of its noun; its first
//! argument is the [`Ctx`], its error the [`CoreError`].

pub mod access;
pub mod actor;
pub mod administrators;
pub mod api_keys;
pub mod approvals;
pub mod audit;
pub mod audit_exports;
pub mod authentication;
pub mod authorities;
pub mod bootstrap;
mod cache;
pub mod certificates;
pub mod challenges;
pub mod checkpoints;
mod committer;
pub mod common_passwords;
pub mod ctx;
pub mod deadlines;
mod defaults;
pub mod email_messages;
mod email_texts;
pub mod error;
pub mod external_identities;
pub mod external_sign_in;
mod fields;
pub mod follower;
pub mod group_members;
pub mod groups;
pub mod idempotency;
mod identity;
pub mod identity_providers;
mod imports;
pub mod integrity;
pub mod integrity_runs;
mod intents;
pub mod ip_range;
pub mod jobs;
pub mod keys;
mod licenses;
pub mod mailer;
mod mandates;
pub mod mass_revocation_runs;
pub mod mass_revocations;
pub mod memberships;
mod merge;
pub mod name_rules;
pub mod notices;
pub mod notifications;
mod ocsp_questions;
pub mod one_time_codes;
pub mod one_time_links;
mod operations;
pub mod organization_settings;
pub mod organizations;
mod owners;
pub mod page;
pub mod passkey_sign_in;
pub mod passkeys;
mod password_changes;
pub mod password_resets;
pub mod passwords;
pub mod policies;
pub mod policy_rules;
pub mod proposal;
pub mod provisioned_groups;
pub mod provisioned_users;
pub mod provisioning;
mod records;
mod recovery_codes;
mod references;
pub mod refusals;
pub mod renewals;
mod repairs;
mod repeats;
pub mod request_context;
pub mod request_view;
pub mod requests;
pub mod revocations;
pub mod role_assignments;
pub mod roles;
pub mod sealed_secrets;
pub mod second_factors;
pub mod sessions;
pub mod sign_in;
pub mod subject_rules;
pub mod subscriptions;
pub mod tokens;
pub mod users;
pub mod validation;
pub mod webauthn;
pub mod workflow_definition;
pub mod workflow_plan;
pub mod workflows;
mod workload_claims;
pub mod workload_rules;
pub mod workload_tokens;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::{PgPool, tenancy};
use clm_pg::{DbError, Tx};
use clm_rpc::SecureClient;
use clm_types::{CertificateId, Clock, Entropy, IssuedCertificate, OrganizationId};
use moka::sync::Cache;
use uuid::Uuid;

pub use actor::{Actor, ActorKind, PermissionSet};
pub use ctx::{AskedOperation, Ctx};
pub use error::CoreError;

use authorities::AuthorityCache;
use cache::ShortCache;
use committer::Committer;
use common_passwords::CommonPasswords;
use email_messages::{Mail, Outbox};
use identity::{Identity, IdentityKey};
use identity_providers::IdentityProvider;
use jobs::Worker;
use ocsp_questions::OcspQuestions;
use passwords::Passwords;
use policies::ReadPolicy;
use provisioning::{Bookmark, BookmarkKey};
use references::ReferenceCache;
use refusals::Refusals;
use sealed_secrets::SecretsKeys;
use sign_in::SignInParts;
use validation::Validation;
use webauthn::RelyingParty;
use workflow_plan::ReadWorkflow;

/// How long keys, sessions and roles are believed without asking again. Changes are announced to every process and
/// take effect at once; this bounds the wait, to a second with what asking takes, if an announcement is lost.
const IDENTITY_BELIEVED: Duration = Duration::from_millis(900);
/// The same of policies and workflows.
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
    /// How people sign in.
    pub sign_in: SignInParts,
    /// How e-mail leaves; none is sent without.
    pub mail: Option<Mail>,
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
    /// Keys and sessions whose use was noted within the last minute.
    pub(crate) used_credentials: Cache<Uuid, ()>,
    /// Where lists that provisioning clients read go on.
    pub(crate) bookmarks: Cache<BookmarkKey, Bookmark>,
    pub(crate) passwords: Passwords,
    pub(crate) common_passwords: CommonPasswords,
    pub(crate) secrets_keys: Arc<SecretsKeys>,
    /// Where e-mail is written, if any is sent.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// Places for those who forgot their password.
    pub(crate) password_resets: password_resets::Places,
    pub(crate) issuer: String,
    pub(crate) relying_party: RelyingParty,
    pub(crate) identity_providers: Vec<IdentityProvider>,
    pub(crate) session_idle: TimeDelta,
    pub(crate) session_lifetime: TimeDelta,
    /// Of everybody, in sessions.
    pub(crate) second_factor_required: bool,
    /// By id or code.
    pub(crate) policies: ShortCache<(OrganizationId, String), ReadPolicy>,
    /// By code.
    pub(crate) workflows: ShortCache<(OrganizationId, String), ReadWorkflow>,
    pub(crate) references: ReferenceCache,
    pub(crate) authorities: AuthorityCache,
    /// Certificates fetched from Secure: public and never changing.
    pub(crate) downloads: Cache<CertificateId, Arc<IssuedCertificate>>,
    pub(crate) validation: Validation,
    pub(crate) worker: Worker,
    /// Wakes who carries out mass revocations.
    pub(crate) mass_revocation_due: tokio::sync::Notify,
    /// How often in a row a batch of a mass revocation could not be ordered.
    pub(crate) mass_revocation_tries: Mutex<HashMap<Uuid, i32>>,
    pub(crate) committer: Committer,
    pub(crate) ocsp_questions: OcspQuestions,
    pub(crate) refusals: Refusals,
}

impl Core {
    /// The rules over these parts, shared by every task of the process; to be called in a runtime, which commits.
    pub fn new(parts: CoreParts) -> Arc<Self> {
        let worker = Worker::new(parts.clock.now(), &parts.entropy);
        let committer = Committer::start(parts.app.clone(), parts.system.clone());
        let ocsp_questions = OcspQuestions::new(parts.secure.clone());
        let secrets_keys = Arc::new(parts.sign_in.secrets_keys);
        let new_outbox = |mail| Arc::new(Outbox::new(mail, Arc::clone(&secrets_keys), parts.entropy.clone()));
        let outbox = parts.mail.map(new_outbox);
        Arc::new(Self {
            app: parts.app,
            system: parts.system,
            secure: parts.secure,
            clock: parts.clock,
            entropy: parts.entropy,
            identities: ShortCache::new(10_000, IDENTITY_BELIEVED),
            used_credentials: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(Duration::from_mins(1))
                .build(),
            bookmarks: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_mins(10)).build(),
            passwords: Passwords::new(parts.sign_in.password_cost),
            common_passwords: parts.sign_in.common_passwords,
            secrets_keys,
            outbox,
            password_resets: password_resets::Places::new(),
            issuer: parts.sign_in.issuer,
            relying_party: parts.sign_in.relying_party,
            identity_providers: parts.sign_in.identity_providers,
            session_idle: parts.sign_in.session_idle,
            session_lifetime: parts.sign_in.session_lifetime,
            second_factor_required: parts.sign_in.second_factor_required,
            policies: ShortCache::new(1_000, BELIEVED),
            workflows: ShortCache::new(1_000, BELIEVED),
            references: references::new_cache(),
            authorities: AuthorityCache::new(),
            downloads: Cache::new(5_000),
            validation: Validation::new(),
            worker,
            mass_revocation_due: tokio::sync::Notify::new(),
            mass_revocation_tries: Mutex::default(),
            committer,
            ocsp_questions,
            refusals: Refusals::new(),
        })
    }

    /// Drops everything believed, for when notices may have been missed.
    pub fn forget_everything(&self) {
        self.identities.clear();
        self.references.clear();
        self.validation.forget_all();
        self.forget_policies();
    }

    /// Drops everything believed, and believes nothing while `deaf`.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.identities.set_deaf(deaf);
        self.references.set_deaf(deaf);
        self.policies.set_deaf(deaf);
        self.workflows.set_deaf(deaf);
        self.forget_everything();
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

    /// The same, for lists with filters.
    pub(crate) async fn search_tx(&self, organization_id: OrganizationId) -> Result<Tx, DbError> {
        let mut tx = clm_pg::begin(&self.app).await?;
        tenancy::enter_to_search(&mut tx, organization_id).await?;
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
