//! Private keys of certificates: brought in, handed out, deleted, erased. Judged by openssl and by HPKE of another hand.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use clm_types::private_key::{EXPORT_INFO, IMPORT_INFO, sealed_for};
use clm_types::{
    Approval, CertificateSpec, ErrorCode, ExportedKey, KeyChange, KeyExportPurpose, KeyExportSpec, KeyOrder,
    KeyRecord, KeySource, Mandate, OperationId, Refusal, Sealed, UserId, canonical_json,
};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use uuid::Uuid;

use crate::desk::{Desk, run};

/// A certificate, and who may speak of its key.
struct Subject {
    desk: Desk,
    spec: CertificateSpec,
    certificate_id: clm_types::CertificateId,
    recipient: (HpkePublicKey, HpkePrivateKey),
}

impl Subject {
    async fn with(key_source: KeySource) -> Self {
        let desk = Desk::open().await;
        let spec =
            if key_source == KeySource::Csr { desk.csr_spec() } else { desk.spec(KeySource::Generated) };
        let mandate = desk.issue_mandate(&spec, desk.operation());
        let issued = desk.issue(&spec, &mandate).await.unwrap();
        let recipient = SUITE.generate_key_pair().unwrap();
        Self { certificate_id: issued.record.certificate_id, desk, spec, recipient }
    }

    async fn change(&self, change: KeyChange) -> Result<KeyRecord, Refusal> {
        self.change_as(self.desk.operation(), change).await
    }

    async fn change_as(&self, operation_id: OperationId, change: KeyChange) -> Result<KeyRecord, Refusal> {
        let order = KeyOrder {
            certificate_id: self.certificate_id,
            organization_id: self.spec.organization_id,
            ordered_by: self.spec.requester_user_id,
            reason: Some("for a test".into()),
            change,
        };
        self.desk.secure.change_key(operation_id, &order).await.map_err(|error| error.to_refusal())
    }

    async fn allow(&self, users: Vec<UserId>) {
        self.change(KeyChange::SetAccess { exportable: true, users }).await.unwrap();
    }

    fn import(&self, pkcs8: &[u8]) -> KeyChange {
        let transport = self.desk.secure.transport_key();
        let public = HpkePublicKey(STANDARD.decode(&transport.public_key).unwrap());
        let (encapsulated, ciphertext) =
            SUITE.seal(IMPORT_INFO, &sealed_for(self.certificate_id), pkcs8, &public).unwrap();
        let sealed =
            Sealed { encapsulated: STANDARD.encode(encapsulated.0), ciphertext: STANDARD.encode(ciphertext) };
        KeyChange::Import { transport_key_id: transport.id, sealed }
    }

    fn export_spec(&self, purpose: KeyExportPurpose) -> KeyExportSpec {
        KeyExportSpec {
            certificate_id: self.certificate_id,
            organization_id: self.spec.organization_id,
            requested_by: self.spec.requester_user_id,
            recipient: STANDARD.encode(&self.recipient.0.0),
            purpose,
            reason: "a new load balancer".into(),
        }
    }

    fn mandate(&self, spec: &KeyExportSpec, approvers: &[UserId]) -> Mandate {
        let desk = &self.desk;
        let approvals = approvers.iter().map(|user_id| Approval {
            user_id: *user_id,
            decided_at: desk.clock.now(),
            signature: None,
        });
        Mandate {
            operation: "export-key".into(),
            request_sha256: hex::encode(clm_x509::sha256(canonical_json(spec).unwrap().as_bytes())),
            profile: None,
            profile_hash: None,
            policy_id: None,
            policy_version: None,
            approvals: approvals.collect(),
            ..desk.issue_mandate(&self.spec, desk.operation())
        }
    }

    async fn grant(&self, purpose: KeyExportPurpose, approvers: &[UserId]) -> Result<OperationId, Refusal> {
        let spec = self.export_spec(purpose);
        let mandate = self.mandate(&spec, approvers);
        let (spec, mandate) = (canonical_json(&spec).unwrap(), canonical_json(&mandate).unwrap());
        let granted = self.desk.secure.grant_key_export(spec.as_bytes(), mandate.as_bytes()).await;
        granted.map(|grant| grant.operation_id).map_err(|error| error.to_refusal())
    }

    async fn fetch(&self, operation_id: OperationId, user: UserId) -> Result<ExportedKey, Refusal> {
        let fetched = self.desk.secure.fetch_key(operation_id, self.spec.organization_id, user).await;
        fetched.map_err(|error| error.to_refusal())
    }

    fn open(&self, exported: &ExportedKey) -> Vec<u8> {
        let encapsulated = EncapsulatedSecret(STANDARD.decode(&exported.sealed.encapsulated).unwrap());
        let ciphertext = STANDARD.decode(&exported.sealed.ciphertext).unwrap();
        let aad = sealed_for(self.certificate_id);
        SUITE.open(&encapsulated, EXPORT_INFO, &aad, &ciphertext, &self.recipient.1).unwrap()
    }

    fn two(&self) -> [UserId; 2] {
        [0; 2].map(|_| UserId::generate(self.desk.clock.now(), &self.desk.entropy))
    }

    async fn accesses(&self) -> Vec<(String, String)> {
        let listed = self
            .desk
            .secure
            .list_key_accesses(self.certificate_id, self.spec.organization_id, None, 200)
            .await;
        listed.unwrap().into_iter().map(|entry| (entry.action, entry.outcome)).collect()
    }

    /// The requester's own key, as openssl made it.
    fn own_pkcs8(&self) -> Vec<u8> {
        let folder = self.desk.folder.path();
        let (key, der) = (folder.join("leaf.key"), folder.join("leaf.p8"));
        let files = ["-in", key.to_str().unwrap(), "-out", der.to_str().unwrap()];
        run("openssl", &[&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"][..], &files].concat());
        std::fs::read(der).unwrap()
    }
}

#[tokio::test]
async fn a_key_comes_in_once_and_only_to_its_certificate() {
    let subject = Subject::with(KeySource::Csr).await;
    let pkcs8 = subject.own_pkcs8();
    let foreign = Subject::with(KeySource::Csr).await.own_pkcs8();
    assert_eq!(subject.change(subject.import(&foreign)).await.unwrap_err().code, ErrorCode::KeyMismatch);
    assert_eq!(subject.change(subject.import(b"no key")).await.unwrap_err().code, ErrorCode::KeyMismatch);
    let KeyChange::Import { sealed, .. } = subject.import(&pkcs8) else { unreachable!() };
    let elsewhere = KeyChange::Import { transport_key_id: "another".into(), sealed };
    assert_eq!(subject.change(elsewhere).await.unwrap_err().code, ErrorCode::KeyUnsealable);

    let operation = subject.desk.operation();
    let import = subject.import(&pkcs8);
    let record = subject.change_as(operation, import.clone()).await.unwrap();
    assert_eq!((record.origin.as_str(), record.exportable), ("imported", false));
    assert_eq!(subject.change_as(operation, import).await.unwrap(), record, "the same operation again");
    assert_eq!(subject.change(subject.import(&pkcs8)).await.unwrap_err().code, ErrorCode::KeyExists);

    subject.allow(vec![]).await;
    let operation = subject.grant(KeyExportPurpose::Export, &subject.two()).await.unwrap();
    let exported = subject.fetch(operation, subject.spec.requester_user_id).await.unwrap();
    let file = subject.desk.file("exported.p8", subject.open(&exported));
    let public = |arguments: &[&str]| run("openssl", &[&["pkey", "-pubout"], arguments].concat());
    let own = subject.desk.folder.path().join("leaf.key");
    assert_eq!(public(&["-in", own.to_str().unwrap()]), public(&["-inform", "DER", "-in", &file]));
    assert!(subject.desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_key_leaves_on_two_approvals_for_whom_its_rules_name() {
    let subject = Subject::with(KeySource::Generated).await;
    let (requester, two) = (subject.spec.requester_user_id, subject.two());
    let refused = subject.grant(KeyExportPurpose::Export, &two).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::KeyNotExportable);
    subject.allow(vec![two[0]]).await;
    let refused = subject.grant(KeyExportPurpose::Export, &two).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied, "the rules name somebody else");
    subject.allow(vec![requester]).await;
    for few in [&[][..], &two[..1], &[two[0], two[0]], &[two[0], requester]] {
        let refused = subject.grant(KeyExportPurpose::Export, few).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::MandateOutsideEnvelope, "{few:?}");
    }
    let operation = subject.grant(KeyExportPurpose::Export, &two).await.unwrap();
    let other = subject.fetch(operation, two[0]).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::KeyExportNotOpen);
    let unknown = subject.fetch(subject.desk.operation(), requester).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::KeyExportNotOpen);
    let first = subject.open(&subject.fetch(operation, requester).await.unwrap());
    let second = subject.fetch(operation, requester).await.unwrap();
    assert_eq!(first, subject.open(&second), "it may be fetched again while the grant is open");

    let pool = subject.desk.databases.secure.superuser().await;
    let past = "UPDATE operations SET outcome = jsonb_set(outcome, '{until}', '\"2020-01-01T00:00:00Z\"') WHERE operation_id = $1";
    sqlx::query(past).bind(Uuid::from(operation)).execute(&pool).await.unwrap();
    let late = subject.fetch(operation, requester).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::KeyExportNotOpen);

    let accesses = subject.accesses().await;
    let count = |action: &str, outcome: &str| {
        accesses.iter().filter(|(a, o)| (a.as_str(), o.as_str()) == (action, outcome)).count()
    };
    assert_eq!(count("private_key.grant_export", "refused"), 6);
    assert_eq!(count("private_key.grant_export", "allowed"), 1);
    assert_eq!(count("private_key.export", "allowed"), 2);
    assert_eq!(count("private_key.export", "refused"), 2);
    assert_eq!(count("private_key.set_access", "allowed"), 2);
    let record =
        subject.desk.secure.find_key_record(subject.certificate_id, subject.spec.organization_id).await;
    assert_eq!(record.unwrap().access_count, 2);
}

#[tokio::test]
async fn a_mandate_for_another_order_hands_nothing_out() {
    let subject = Subject::with(KeySource::Generated).await;
    subject.allow(vec![]).await;
    let spec = subject.export_spec(KeyExportPurpose::Export);
    let good = subject.mandate(&spec, &subject.two());
    let stranger = subject.two()[0];
    let bad = [
        Mandate { operation: "issue".into(), ..good.clone() },
        Mandate { request_sha256: hex::encode([0; 32]), ..good.clone() },
        Mandate { requester_user_id: stranger, ..good.clone() },
        Mandate { expires_at: subject.desk.clock.now() - TimeDelta::seconds(1), ..good.clone() },
        Mandate { authority_id: subject.desk.root, ..good.clone() },
    ];
    for mandate in bad {
        let (spec, mandate) = (canonical_json(&spec).unwrap(), canonical_json(&mandate).unwrap());
        let refused = subject.desk.secure.grant_key_export(spec.as_bytes(), mandate.as_bytes()).await;
        assert_eq!(refused.unwrap_err().to_refusal().code, ErrorCode::MandateInvalid);
    }
    let unsealable = KeyExportSpec { recipient: STANDARD.encode([4; 65]), ..spec };
    let mandate = canonical_json(&subject.mandate(&unsealable, &subject.two())).unwrap();
    let spec = canonical_json(&unsealable).unwrap();
    let refused = subject.desk.secure.grant_key_export(spec.as_bytes(), mandate.as_bytes()).await;
    assert_eq!(refused.unwrap_err().to_refusal().code, ErrorCode::KeyMalformed);
}

#[tokio::test]
async fn a_deleted_key_can_be_recovered_until_it_is_erased() {
    let subject = Subject::with(KeySource::Generated).await;
    let (requester, two) = (subject.spec.requester_user_id, subject.two());
    subject.allow(vec![]).await;
    assert!(subject.change(KeyChange::Delete).await.unwrap().deleted_at.is_some());
    let gone = subject.grant(KeyExportPurpose::Export, &two).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::KeyNotFound);
    let renewal = CertificateSpec {
        renewal_of: Some(subject.certificate_id),
        key_algorithm: None,
        organization_id: subject.spec.organization_id,
        ..subject.desk.spec(KeySource::Reused)
    };
    let mandate = subject.desk.issue_mandate(&renewal, subject.desk.operation());
    let renewed = subject.desk.issue(&renewal, &mandate).await.unwrap();
    assert!(!renewed.record.key_in_secure, "a deleted key is kept under no new certificate");

    let operation = subject.grant(KeyExportPurpose::Recovery, &two).await.unwrap();
    subject.open(&subject.fetch(operation, requester).await.unwrap());
    assert!(subject.change(KeyChange::Restore).await.unwrap().deleted_at.is_none());
    subject.grant(KeyExportPurpose::Export, &two).await.unwrap();

    subject.change(KeyChange::Delete).await.unwrap();
    assert_eq!(subject.desk.secure.erase_deleted_keys(TimeDelta::days(30)).await.unwrap(), 0);
    assert_eq!(subject.desk.secure.erase_deleted_keys(TimeDelta::zero()).await.unwrap(), 1);
    assert_eq!(subject.fetch(operation, requester).await.unwrap_err().code, ErrorCode::KeyNotFound);
    assert_eq!(subject.change(KeyChange::Restore).await.unwrap_err().code, ErrorCode::KeyNotFound);
    let pool = subject.desk.databases.secure.superuser().await;
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM private_keys WHERE certificate_id = $1 AND encrypted_key_material IS NOT NULL",
    )
    .bind(Uuid::from(subject.certificate_id))
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(left, 0);
    assert!(subject.desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}
