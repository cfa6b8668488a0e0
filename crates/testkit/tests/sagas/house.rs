//! A Core and a Secure on fresh databases, and short ways to do things in them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core::api_keys::NewApiKey;
use clm_core::bootstrap::NewInstallation;
use clm_core::organizations::NewOrganization;
use clm_core::page::PageRequest;
use clm_core::request_view::Request;
use clm_core::requests::{NewRequest, Submitted};
use clm_core::roles::NewAssignment;
use clm_core::sealed_secrets::SecretsKeys;
use clm_core::sign_in::SignInParts;
use clm_core::users::NewUser;
use clm_core::webauthn::RelyingParty;
use clm_core::{Core, CoreError, CoreParts, Ctx};
use clm_rpc::v1::secure_service_server::SecureServiceServer;
use clm_rpc::{SecureClient, TlsFiles};
use clm_secure::Secure;
use clm_secure::envelope::{Envelope, OcspSigner};
use clm_secure::master_key::{Opener, SealedKey};
use clm_secure::new_authorities::AuthorityPlan;
use clm_secure::signing_keys::KeyStore;
use clm_testkit::TestDatabases;
use clm_types::{Clock, Entropy, ErrorCode, IssuedCertificate, KeyAlgorithm, OrganizationId, RoleId, UserId};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::rpc::Rpc;

/// The first page of a list.
pub(crate) const FIRST: PageRequest = PageRequest { before: None, limit: 50 };
/// Longer than anything takes here.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

const PASSPHRASE: &[u8] = b"a passphrase for a test";

pub(crate) struct House {
    pub(crate) core: Arc<Core>,
    pub(crate) secure: Secure,
    pub(crate) databases: TestDatabases,
    pub(crate) administrator_key: String,
    address: SocketAddr,
    tls: TlsFiles,
    listener: Listener,
    folder: tempfile::TempDir,
}

/// Secure's end of the wire.
struct Listener {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl House {
    pub(crate) async fn open() -> Self {
        clm_service::install_provider();
        let databases = TestDatabases::start().await;
        let folder = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let secure = open_secure(&databases, &folder, &clock, &entropy).await;
        let tls = tls_files(&folder);
        let address = free_address();
        let listener = listen(&secure, address, &tls).await;
        let core = Core::new(CoreParts {
            app: databases.core.pool("clm_core_app").await,
            system: databases.core.pool("clm_core_system").await,
            secure: SecureClient::new(&format!("https://{address}"), "localhost", &tls).unwrap(),
            clock,
            entropy,
            sign_in: sign_in_parts(),
            mail: None,
        });
        let token = core.create_bootstrap_token(TimeDelta::hours(1)).await.unwrap();
        let made = core.bootstrap(token.expose(), &installation(), Uuid::nil(), None).await.unwrap();
        let administrator_key = made.api_key.expose().to_owned();
        Self { core, secure, databases, administrator_key, address, tls, listener, folder }
    }

    /// Another process of Secure on the same database.
    pub(crate) async fn secure_again(&self) -> Secure {
        let pool = self.databases.secure.pool("clm_secure_app").await;
        let path = self.folder.path().join("master.key");
        let master = SealedKey::open(&path, Opener::Passphrase(PASSPHRASE)).unwrap();
        Secure::new(pool, master, Clock::system(), Entropy::system())
    }

    /// Secure is gone, until [`Self::bring_secure_back`].
    pub(crate) async fn take_secure_away(&mut self) {
        self.listener.stop.cancel();
        (&mut self.listener.task).await.unwrap();
    }

    pub(crate) async fn bring_secure_back(&mut self) {
        self.listener = listen(&self.secure, self.address, &self.tls).await;
    }

    /// Runs the queue until it is empty.
    pub(crate) async fn settle(&self) {
        self.settle_with(&self.core).await;
    }

    /// The same in another process.
    pub(crate) async fn settle_with(&self, core: &Arc<Core>) {
        let stop = CancellationToken::new();
        let runner = tokio::spawn(Arc::clone(core).run_jobs(stop.clone()));
        let empty = async {
            while self.count_in_core("SELECT count(*) FROM jobs WHERE status <> 'dead'").await > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT, empty).await.unwrap();
        stop.cancel();
        runner.await.unwrap();
    }

    /// Follows Secure to its last event.
    pub(crate) async fn follow(&self) {
        while self.core.follow().await.unwrap() > 0 {}
    }

    /// Another process of Core on the same databases.
    pub(crate) async fn second_core(&self) -> Arc<Core> {
        Core::new(CoreParts {
            app: self.databases.core.pool("clm_core_app").await,
            system: self.databases.core.pool("clm_core_system").await,
            secure: SecureClient::new(&format!("https://{}", self.address), "localhost", &self.tls).unwrap(),
            clock: Clock::system(),
            entropy: Entropy::system(),
            sign_in: sign_in_parts(),
            mail: None,
        })
    }

    pub(crate) async fn administrator(&self) -> Ctx {
        self.enter(&self.administrator_key, None).await
    }

    async fn enter(&self, key: &str, organization: Option<OrganizationId>) -> Ctx {
        self.core.authenticate(key, organization, Uuid::nil(), None).await.unwrap()
    }

    /// A new user with one role in the first organization.
    pub(crate) async fn hire(&self, name: &str, role_id: RoleId) -> Ctx {
        let administrator = self.administrator().await;
        let user = self.core.create_user(&administrator, &new_user(name)).await.unwrap();
        let assignment = NewAssignment {
            user_id: UserId(user.id),
            role_id,
            everywhere: false,
            valid_from: None,
            valid_until: None,
            reason: None,
        };
        self.core.assign_role(&administrator, &assignment).await.unwrap();
        let key = NewApiKey {
            name: "test".to_owned(),
            user_id: Some(UserId(user.id)),
            service: false,
            everywhere: false,
            scopes: vec!["*".to_owned()],
            allowed_addresses: Vec::new(),
            expires_at: None,
        };
        let (_, key) = self.core.create_api_key(&administrator, &key).await.unwrap();
        self.enter(key.expose(), None).await
    }

    /// The administrator in another organization.
    pub(crate) async fn elsewhere(&self) -> Ctx {
        let new = NewOrganization { code: "other".to_owned(), name: "Other".to_owned() };
        let made = self.core.create_organization(&self.administrator().await, &new).await.unwrap();
        self.enter(&self.administrator_key, Some(OrganizationId(made.id))).await
    }

    /// A program whose requests nobody need approve.
    pub(crate) async fn service(&self) -> Ctx {
        self.hire("robot", clm_core::roles::SERVICE).await
    }

    pub(crate) async fn submit(&self, ctx: &Ctx, new: NewRequest) -> Result<Submitted, CoreError> {
        self.core.submit_request(ctx, new, WAIT).await
    }

    /// A certificate that is issued at once, for the name `<name>.example.com`.
    pub(crate) async fn issue(&self, service: &Ctx, name: &str) -> IssuedCertificate {
        self.submit(service, generated(name)).await.unwrap().certificate.unwrap()
    }

    /// A request that waits for approval.
    pub(crate) async fn ask(&self, requester: &Ctx, name: &str) -> Request {
        self.submit(requester, generated(name)).await.unwrap().request
    }

    /// One number out of the database of Core, as superuser.
    pub(crate) async fn count_in_core(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.databases.core.superuser().await).await.unwrap()
    }

    /// One number out of the database of Secure, as superuser.
    pub(crate) async fn count_in_secure(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.databases.secure.superuser().await).await.unwrap()
    }

    /// Changes rows of Core as only a superuser can.
    pub(crate) async fn tamper_with_core(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.databases.core.superuser().await).await.unwrap();
    }

    /// Changes rows of Secure as only a superuser can.
    pub(crate) async fn tamper_with_secure(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.databases.secure.superuser().await).await.unwrap();
    }
}

/// A request for `<name>.example.com` with a key that Secure generates.
pub(crate) fn generated(name: &str) -> NewRequest {
    NewRequest {
        profile: "tls-server".to_owned(),
        authority: Some("issuing".to_owned()),
        key_algorithm: Some(KeyAlgorithm::EcdsaP256),
        sans: vec![format!("{name}.example.com")],
        ..NewRequest::default()
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

fn new_user(name: &str) -> NewUser {
    NewUser {
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        display_name: None,
        invited: false,
    }
}

fn installation() -> NewInstallation {
    NewInstallation {
        administrator: new_user("root"),
        organization: NewOrganization { code: "example".to_owned(), name: "Example".to_owned() },
    }
}

async fn open_secure(
    databases: &TestDatabases,
    folder: &tempfile::TempDir,
    clock: &Clock,
    entropy: &Entropy,
) -> Secure {
    let pool = databases.secure.pool("clm_secure_app").await;
    let path = folder.path().join("master.key");
    let master = SealedKey::create(&path, PASSPHRASE, clock.now(), entropy).unwrap();
    let secure = Secure::new(pool, master, clock.clone(), entropy.clone());
    secure.create_authority(&plan("root", None)).await.unwrap();
    secure.create_authority(&plan("issuing", Some("root"))).await.unwrap();
    let mut strict = plan("strict", Some("root"));
    strict.envelope.required_approvals = 1;
    secure.create_authority(&strict).await.unwrap();
    secure
}

fn plan(name: &str, parent: Option<&str>) -> AuthorityPlan {
    let profiles = ["tls-server", "tls-client", "tls-server-client", "intermediate-ca"];
    AuthorityPlan {
        name: name.into(),
        subject: format!("CN=Test {name},O=Example"),
        profile: if parent.is_some() { "issuing-ca" } else { "root-ca" }.into(),
        parent: parent.map(str::to_owned),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        key_store: KeyStore::Software,
        validity_days: if parent.is_some() { 1_000 } else { 3_650 },
        base_url: "http://localhost:8080".into(),
        envelope: Envelope {
            crl_shards: 0,
            delta_crls: false,
            profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
            key_algorithms: KeyAlgorithm::ALL.to_vec(),
            max_validity_seconds: 397 * 86_400,
            required_approvals: 0,
            export_approvals: 2,
            dns_suffixes: std::collections::BTreeMap::new(),
            crl_validity_seconds: 86_400,
            ocsp_validity_seconds: 3_600,
            ocsp_signer: OcspSigner::Responder,
            presigned_ocsp: false,
        },
        operator: "test".into(),
    }
}

/// One certificate for both ends of the wire, and the authority that both trust.
fn tls_files(folder: &tempfile::TempDir) -> TlsFiles {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let mut end = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    end.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = end.signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsFiles {
        ca_file: write("ca.pem", authority_certificate.pem()),
        cert_file: write("end.pem", certificate.pem()),
        key_file: write("end.key", key.serialize_pem()),
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Serves until it is stopped; ready when this returns.
async fn listen(secure: &Secure, address: SocketAddr, tls: &TlsFiles) -> Listener {
    let service = SecureServiceServer::new(Rpc::new(secure.clone()));
    let mut server = tonic::transport::Server::builder().tls_config(tls.server().unwrap()).unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        server.add_service(service).serve_with_shutdown(address, stopped).await.unwrap();
    });
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::task::yield_now().await;
    }
    Listener { stop, task }
}

/// The usual ones, under a key that is lost with the test.
fn sign_in_parts() -> SignInParts {
    let key = SecretsKeys::generate(&Entropy::system());
    let party = RelyingParty::at("https://clm.example.com").unwrap();
    SignInParts::usual(SecretsKeys::parse(&key).unwrap(), party)
}
