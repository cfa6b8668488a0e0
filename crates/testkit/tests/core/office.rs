//! A bootstrapped Core on a fresh database, and short ways to do things in it.

use std::sync::Arc;

use chrono::TimeDelta;
use clm_core::api_keys::NewApiKey;
use clm_core::bootstrap::NewInstallation;
use clm_core::email_messages::Mail;
use clm_core::identity_providers::{IdentityProvider, Newcomers};
use clm_core::organizations::NewOrganization;
use clm_core::page::PageRequest;
use clm_core::roles::NewAssignment;
use clm_core::sealed_secrets::SecretsKeys;
use clm_core::sign_in::SignInParts;
use clm_core::users::{NewUser, User};
use clm_core::webauthn::RelyingParty;
use clm_core::{Core, CoreError, CoreParts, Ctx};
use clm_oidc::Provider;
use clm_pg::PgConfig;
use clm_rpc::{SecureClient, TlsFiles};
use clm_testkit::{TestDatabase, TestDatabases};
use clm_types::{Clock, Entropy, ErrorCode, OrganizationId, RoleId, UserId};
use uuid::Uuid;

/// The first page of a list.
pub(crate) const FIRST: PageRequest = PageRequest { before: None, limit: 50 };

pub(crate) struct Office {
    pub(crate) core: Arc<Core>,
    pub(crate) database: TestDatabase,
    pub(crate) administrator: UserId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) administrator_key: String,
}

/// A Core whose Secure cannot be reached, on a fresh database. Its clock stands still.
pub(crate) async fn empty() -> (Arc<Core>, TestDatabase) {
    empty_as(OfficeKind::default()).await
}

/// What an office is opened with.
pub(crate) struct OfficeKind {
    /// Of the application role.
    pub(crate) connections: u32,
    /// How it sends e-mail, if it does.
    pub(crate) mail: Option<Mail>,
    /// Of everybody.
    pub(crate) second_factor_required: bool,
}

impl Default for OfficeKind {
    fn default() -> Self {
        Self { connections: 5, mail: None, second_factor_required: false }
    }
}

async fn empty_as(kind: OfficeKind) -> (Arc<Core>, TestDatabase) {
    clm_service::install_provider();
    let database = TestDatabases::start().await.core;
    let config = PgConfig { max_connections: kind.connections, ..database.config("clm_core_app") };
    let app = clm_pg::connect(&config, "test").await.unwrap();
    let files = TlsFiles { ca_file: config.ca_file, cert_file: config.cert_file, key_file: config.key_file };
    let core = Core::new(CoreParts {
        app,
        system: database.pool("clm_core_system").await,
        secure: SecureClient::new("https://127.0.0.1:1", "secure", &files).unwrap(),
        clock: Clock::fixed(Clock::system().now()),
        entropy: Entropy::system(),
        sign_in: SignInParts { second_factor_required: kind.second_factor_required, ..sign_in_parts() },
        mail: kind.mail,
    });
    (core, database)
}

pub(crate) fn new_user(name: &str) -> NewUser {
    NewUser {
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        display_name: None,
        invited: false,
    }
}

pub(crate) fn new_installation(name: &str) -> NewInstallation {
    NewInstallation {
        administrator: new_user(name),
        organization: NewOrganization { code: "example".to_owned(), name: "Example".to_owned() },
    }
}

/// What a rule refused with.
pub(crate) fn refused<T>(result: Result<T, CoreError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(CoreError::Refused(refusal)) => refusal.code,
        Err(error) => panic!("must be refused, but failed: {error:?}"),
    }
}

impl Office {
    pub(crate) async fn open() -> Self {
        Self::open_as(OfficeKind::default()).await
    }

    pub(crate) async fn open_as(kind: OfficeKind) -> Self {
        let (core, database) = empty_as(kind).await;
        let token = core.create_bootstrap_token(TimeDelta::hours(1)).await.unwrap();
        let made =
            core.bootstrap(token.expose(), &new_installation("root"), Uuid::nil(), None).await.unwrap();
        Self {
            core,
            database,
            administrator: made.user_id,
            organization_id: made.organization_id,
            administrator_key: made.api_key.expose().to_owned(),
        }
    }

    pub(crate) async fn enter(&self, key: &str) -> Result<Ctx, CoreError> {
        self.core.authenticate(key, None, Uuid::nil(), None).await
    }

    pub(crate) async fn as_administrator(&self) -> Ctx {
        self.enter(&self.administrator_key).await.unwrap()
    }

    pub(crate) async fn as_administrator_of(&self, id: OrganizationId) -> Ctx {
        self.core.authenticate(&self.administrator_key, Some(id), Uuid::nil(), None).await.unwrap()
    }

    /// A user of the organization of `ctx` with one role there.
    pub(crate) async fn hire(&self, ctx: &Ctx, name: &str, role_id: RoleId) -> User {
        let user = self.core.create_user(ctx, &new_user(name)).await.unwrap();
        self.core.assign_role(ctx, &assignment(UserId(user.id), role_id)).await.unwrap();
        user
    }

    /// A key in the clear for a user, good for what `scopes` name, in the organization of `ctx`.
    pub(crate) async fn key_for(&self, ctx: &Ctx, user: &User, scopes: &[&str]) -> String {
        let new = new_key(Some(UserId(user.id)), scopes);
        self.core.create_api_key(ctx, &new).await.unwrap().1.expose().to_owned()
    }

    pub(crate) async fn new_organization(&self, code: &str) -> OrganizationId {
        let new = NewOrganization { code: code.to_owned(), name: code.to_owned() };
        let made = self.core.create_organization(&self.as_administrator().await, &new).await.unwrap();
        OrganizationId(made.id)
    }
}

pub(crate) fn assignment(user_id: UserId, role_id: RoleId) -> NewAssignment {
    NewAssignment { user_id, role_id, everywhere: false, valid_from: None, valid_until: None, reason: None }
}

pub(crate) fn new_key(user_id: Option<UserId>, scopes: &[&str]) -> NewApiKey {
    NewApiKey {
        name: "test".to_owned(),
        user_id,
        service: false,
        everywhere: false,
        scopes: scopes.iter().map(|text| (*text).to_owned()).collect(),
        allowed_addresses: Vec::new(),
        expires_at: None,
    }
}

/// The usual ones, under a key that is lost with the test.
fn sign_in_parts() -> SignInParts {
    let key = SecretsKeys::generate(&Entropy::system());
    let party = RelyingParty::at("https://clm.example.com").unwrap();
    let usual = SignInParts::usual(SecretsKeys::parse(&key).unwrap(), party);
    let of_workloads = |name: &str, issuer: &str, organization: Option<&str>| IdentityProvider {
        name: name.to_owned(),
        provider: Provider::new(issuer.to_owned(), reqwest::Client::new()),
        client: None,
        organization_code: organization.map(str::to_owned),
        newcomers: Newcomers::Refused,
        external_id_claim: "sub".to_owned(),
        factor_methods: Vec::new(),
        groups_claim: "groups".to_owned(),
        groups: Vec::new(),
    };
    // Nobody calls them.
    let github = of_workloads("github", "https://token.actions.githubusercontent.com", None);
    let cluster = of_workloads("cluster", "https://cluster.invalid", Some("example"));
    SignInParts { identity_providers: vec![github, cluster], ..usual }
}
