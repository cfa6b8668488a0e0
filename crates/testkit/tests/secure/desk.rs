//! A Secure Service with a root and an issuing authority, and the orders that Core would send.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use clm_secure::envelope::{Envelope, OcspSigner};
use clm_secure::master_key::{Opener, SealedKey};
use clm_secure::new_authorities::AuthorityPlan;
use clm_secure::ocsp::{OcspAnswer, OcspQuestion};
use clm_secure::signing_keys::KeyStore;
use clm_secure::{KeyStores, Secure, SecureError};
use clm_testkit::TestDatabases;
use clm_types::{
    AuthorityId, CertificateSpec, Clock, Entropy, KeyAlgorithm, KeySource, Mandate, MandateId, OperationId,
    OrganizationId, PolicyId, RequestId, RevocationSpec, UserId, WorkflowInstanceId, canonical_json,
};

const PASSPHRASE: &[u8] = b"a passphrase for a test";

pub(crate) struct Desk {
    pub(crate) secure: Secure,
    pub(crate) databases: TestDatabases,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) root: AuthorityId,
    pub(crate) issuing: AuthorityId,
    pub(crate) folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let master = SealedKey::create(&path, PASSPHRASE, Clock::system().now(), &Entropy::system()).unwrap();
        Self::open_with(folder, master, KeyStore::Software).await
    }

    /// A desk with these key stores, its authorities' keys made in `key_store`.
    pub(crate) async fn open_with(
        folder: tempfile::TempDir,
        stores: impl Into<KeyStores>,
        key_store: KeyStore,
    ) -> Self {
        let databases = TestDatabases::start().await;
        let pool = databases.secure.pool("clm_secure_app").await;
        let entropy = Entropy::system();
        let clock = Clock::system();
        let secure = Secure::new(pool, stores, clock.clone(), entropy.clone());
        let kept = |plan: AuthorityPlan| AuthorityPlan { key_store, ..plan };
        let root = secure.create_authority(&kept(plan("Test Root", None))).await.unwrap().authority_id;
        let issuing = kept(plan("Test Issuing", Some("Test Root")));
        let issuing = secure.create_authority(&issuing).await.unwrap().authority_id;
        Self { secure, databases, clock, entropy, root, issuing, folder }
    }

    /// The same service after a restart.
    pub(crate) async fn reopen(&self) -> Secure {
        self.reopen_with(self.master()).await
    }

    /// The same service after a restart with other key stores.
    pub(crate) async fn reopen_with(&self, stores: impl Into<KeyStores>) -> Secure {
        let pool = self.databases.secure.pool("clm_secure_app").await;
        Secure::new(pool, stores, self.clock.clone(), self.entropy.clone())
    }

    /// The desk's master key.
    pub(crate) fn master(&self) -> SealedKey {
        SealedKey::open(&self.folder.path().join("master.key"), Opener::Passphrase(PASSPHRASE)).unwrap()
    }

    /// The octets that travel.
    pub(crate) fn documents(spec: &CertificateSpec, mandate: &Mandate) -> (String, String) {
        (canonical_json(spec).unwrap(), canonical_json(mandate).unwrap())
    }

    pub(crate) fn spec(&self, key_source: KeySource) -> CertificateSpec {
        let (now, entropy) = (self.clock.now(), &self.entropy);
        CertificateSpec {
            request_id: RequestId::generate(now, entropy),
            organization_id: OrganizationId::generate(now, entropy),
            requester_user_id: UserId::generate(now, entropy),
            owner_user_id: UserId::generate(now, entropy),
            policy_id: PolicyId::generate(now, entropy),
            policy_version: 1,
            workflow_instance_id: WorkflowInstanceId::generate(now, entropy),
            authority_id: self.issuing,
            profile: "tls-server".into(),
            key_source,
            csr: None,
            key_algorithm: (key_source == KeySource::Generated).then_some(KeyAlgorithm::EcdsaP256),
            subject: "CN=www.example.com".into(),
            sans: vec!["dns:www.example.com".into()],
            validity_seconds: 90 * 86_400,
            renewal_of: None,
        }
    }

    pub(crate) fn csr_spec(&self) -> CertificateSpec {
        CertificateSpec { csr: Some(STANDARD.encode(self.openssl_csr())), ..self.spec(KeySource::Csr) }
    }

    fn openssl_csr(&self) -> Vec<u8> {
        let key = self.folder.path().join("leaf.key");
        let key = key.to_str().unwrap();
        run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]);
        let output = self.folder.path().join("leaf.csr");
        let subject = ["-subj", "/CN=www.example.com", "-addext", "subjectAltName=DNS:www.example.com"];
        let files = ["req", "-new", "-key", key, "-outform", "DER", "-out", output.to_str().unwrap()];
        run("openssl", &[&files[..], &subject[..]].concat());
        std::fs::read(output).unwrap()
    }

    pub(crate) fn issue_mandate(&self, spec: &CertificateSpec, operation_id: OperationId) -> Mandate {
        let octets = canonical_json(spec).unwrap();
        Mandate {
            id: MandateId::generate(self.clock.now(), &self.entropy),
            operation_id,
            operation: "issue".into(),
            request_sha256: hex::encode(clm_x509::sha256(octets.as_bytes())),
            authority_id: spec.authority_id,
            profile: Some(spec.profile.clone()),
            profile_hash: Some(hex::encode(
                clm_x509::Profile::built_in(&spec.profile).unwrap().version_hash(),
            )),
            policy_id: Some(spec.policy_id),
            policy_version: Some(spec.policy_version),
            organization_id: spec.organization_id,
            requester_user_id: spec.requester_user_id,
            workflow_instance_id: spec.workflow_instance_id.0,
            approvals: vec![],
            issued_at: self.clock.now(),
            expires_at: self.clock.now() + TimeDelta::minutes(15),
        }
    }

    pub(crate) fn revoke_mandate(&self, spec: &RevocationSpec, operation_id: OperationId) -> Mandate {
        let octets = canonical_json(spec).unwrap();
        Mandate {
            id: MandateId::generate(self.clock.now(), &self.entropy),
            operation_id,
            operation: "revoke".into(),
            request_sha256: hex::encode(clm_x509::sha256(octets.as_bytes())),
            authority_id: self.issuing,
            profile: None,
            profile_hash: None,
            policy_id: None,
            policy_version: None,
            organization_id: spec.organization_id,
            requester_user_id: spec.requested_by,
            workflow_instance_id: uuid::Uuid::nil(),
            approvals: vec![],
            issued_at: self.clock.now(),
            expires_at: self.clock.now() + TimeDelta::minutes(15),
        }
    }

    pub(crate) fn operation(&self) -> OperationId {
        OperationId::generate(self.clock.now(), &self.entropy)
    }

    pub(crate) async fn issue(
        &self,
        spec: &CertificateSpec,
        mandate: &Mandate,
    ) -> Result<clm_types::IssuedCertificate, clm_types::Refusal> {
        let (spec, mandate) = Self::documents(spec, mandate);
        self.secure.issue(spec.as_bytes(), mandate.as_bytes()).await.map_err(|error| error.to_refusal())
    }

    pub(crate) async fn revoke(
        &self,
        spec: &RevocationSpec,
        operation_id: OperationId,
    ) -> Result<clm_types::RevocationRecord, clm_types::Refusal> {
        let mandate = canonical_json(&self.revoke_mandate(spec, operation_id)).unwrap();
        let spec = canonical_json(spec).unwrap();
        self.secure.revoke(spec.as_bytes(), mandate.as_bytes()).await.map_err(|error| error.to_refusal())
    }

    /// Writes `text` into the desk's folder and gives its path.
    pub(crate) fn file(&self, name: &str, octets: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, octets).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The root's certificate, as a PEM file.
    pub(crate) async fn root_file(&self) -> String {
        self.authority_file(self.root).await
    }

    /// The certificate of an authority, as a PEM file.
    pub(crate) async fn authority_file(&self, id: AuthorityId) -> String {
        let authorities = self.secure.list_authorities().await.unwrap();
        let record = authorities.iter().find(|record| record.authority_id == id).unwrap();
        let der = STANDARD.decode(&record.certificate).unwrap();
        self.file(&format!("{id}.pem"), clm_x509::pem::encode(clm_x509::pem::CERTIFICATE, &der))
    }
}

pub(crate) fn plan(name: &str, parent: Option<&str>) -> AuthorityPlan {
    let profiles = ["tls-server", "tls-client", "tls-server-client", "intermediate-ca"];
    AuthorityPlan {
        name: name.into(),
        subject: format!("CN={name},O=Example"),
        profile: if parent.is_some() { "issuing-ca" } else { "root-ca" }.into(),
        parent: parent.map(str::to_owned),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        key_store: KeyStore::Software,
        validity_days: if parent.is_some() { 1_000 } else { 3_650 },
        base_url: "http://pki.example.com".into(),
        envelope: Envelope {
            profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
            key_algorithms: KeyAlgorithm::ALL.to_vec(),
            max_validity_seconds: 397 * 86_400,
            required_approvals: 0,
            export_approvals: 2,
            dns_suffixes: std::collections::BTreeMap::new(),
            crl_validity_seconds: 86_400,
            crl_shards: 0,
            delta_crls: false,
            ocsp_validity_seconds: 3_600,
            ocsp_signer: OcspSigner::Responder,
            presigned_ocsp: false,
        },
        operator: "test".into(),
    }
}

/// The answer to one OCSP request.
pub(crate) async fn answer(
    secure: &Secure,
    authority_id: AuthorityId,
    request: Vec<u8>,
) -> Result<OcspAnswer, SecureError> {
    secure.respond_ocsp(&[OcspQuestion { authority_id, request }]).await.pop().unwrap()
}

/// Runs a program and gives its output, both streams; panics when it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}
