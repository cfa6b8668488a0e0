//! Keys in a real SoftHSM2 token: made there, used there, and gone when it is gone.

use std::sync::Arc;

use clm_secure::ceremonies::Quorum;
use clm_secure::imports::{AuthorityImport, ImportedKey};
use clm_secure::master_key::TokenKey;
use clm_secure::signing_keys::KeyStore;
use clm_secure::{KeyStores, MasterKey, Secure, Token, TokenSettings};
use clm_testkit::{OldAuthority, SoftHsm};
use clm_types::{ErrorCode, KeyAlgorithm, KeySource, PrivateKeyId, RevocationReason, RevocationSpec};
use tokio::sync::{Mutex, MutexGuard};

use crate::crls::octets;
use crate::desk::{Desk, answer, plan, run};
use crate::imports::everything_of;

/// A process has one PKCS#11 module: tests with a token take turns.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

pub(crate) fn token(softhsm: &SoftHsm) -> Arc<Token> {
    token_with_pin(softhsm, softhsm.pin())
}

fn token_with_pin(softhsm: &SoftHsm, pin: &str) -> Arc<Token> {
    Arc::new(Token::new(TokenSettings {
        module: softhsm.module().into(),
        label: softhsm.label().into(),
        pin: Box::new(pin.as_bytes().to_vec()).into(),
        sessions: 4,
    }))
}

async fn stores(token: &Arc<Token>) -> KeyStores {
    let master = TokenKey::new(Arc::clone(token), "master");
    master.create().await.unwrap();
    KeyStores { master: MasterKey::Token(master), next_master: None, token: Some(Arc::clone(token)) }
}

#[tokio::test]
async fn authorities_sign_in_the_token_and_openssl_agrees() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("authorities");
    let token = token(&softhsm);
    let desk = Desk::open_with(tempfile::tempdir().unwrap(), stores(&token).await, KeyStore::Token).await;
    for (name, algorithm) in [("RSA", KeyAlgorithm::Rsa3072), ("P384", KeyAlgorithm::EcdsaP384)] {
        let plan = plan(name, Some("Test Root"));
        let plan = clm_secure::new_authorities::AuthorityPlan {
            key_algorithm: algorithm,
            key_store: KeyStore::Token,
            ..plan
        };
        let made = desk.secure.create_authority(&plan).await.unwrap();
        verify(&desk, made.authority_id).await;
    }
    verify(&desk, desk.issuing).await;
    let pool = desk.databases.secure.superuser().await;
    let kept: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM private_keys WHERE origin = 'hsm' AND encrypted_key_material IS NULL AND hsm_provider LIKE 'pkcs11:%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(kept, 4);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

/// A leaf of this authority, a revocation and the CRL, as openssl sees them.
async fn verify(desk: &Desk, authority: clm_types::AuthorityId) {
    let spec = clm_types::CertificateSpec { authority_id: authority, ..desk.csr_spec() };
    let mandate = desk.issue_mandate(&spec, desk.operation());
    let issued = desk.issue(&spec, &mandate).await.unwrap();
    let leaf = desk.file("leaf.pem", &issued.pem);
    let (root, issuing) = (desk.root_file().await, desk.authority_file(authority).await);
    run("openssl", &["verify", "-x509_strict", "-CAfile", &root, "-untrusted", &issuing, &leaf]);
    let crl = desk.file("list.crl", octets(desk, authority, 0, false).await);
    run("openssl", &["crl", "-inform", "DER", "-in", &crl, "-CAfile", &issuing, "-noout"]);
}

#[tokio::test]
async fn what_the_token_holds_cannot_be_read_out() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("secrets");
    let token = token(&softhsm);
    let _desk = Desk::open_with(tempfile::tempdir().unwrap(), stores(&token).await, KeyStore::Token).await;
    drop(_desk);
    let output = std::process::Command::new("pkcs11-tool")
        .args(["--module", softhsm.module().to_str().unwrap(), "--token-label", softhsm.label(), "--login"])
        .args(["--pin", softhsm.pin(), "--list-objects"])
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let private: Vec<_> = listed.split("Private Key Object").skip(1).collect();
    assert_eq!(private.len(), 2, "{listed}");
    for object in private.iter().copied().chain(listed.split("Secret Key Object").skip(1)) {
        assert!(object.contains("sensitive") && object.contains("never extractable"), "{object}");
    }
}

#[tokio::test]
async fn an_authority_without_its_token_is_locked_and_everything_else_goes_on() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("unplugged");
    let token = token(&softhsm);
    let folder = tempfile::tempdir().unwrap();
    let master = clm_secure::master_key::SealedKey::create(
        &folder.path().join("master.key"),
        b"a passphrase for a test",
        clm_types::Clock::system().now(),
        &clm_types::Entropy::system(),
    );
    let stores = KeyStores { token: Some(Arc::clone(&token)), ..KeyStores::from(master.unwrap()) };
    let desk = Desk::open_with(folder, stores, KeyStore::Token).await;
    let software = desk.secure.create_authority(&plan("Software", None)).await.unwrap().authority_id;
    let issued = issue(&desk, desk.issuing).await.unwrap();
    desk.secure.renew_ocsp_responders().await.unwrap();

    softhsm.unplug();
    let refused = issue(&desk, desk.issuing).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::AuthorityLocked, "{refused:?}");
    assert!(refused.code.is_retryable());
    issue(&desk, software).await.expect("an authority whose key is here goes on");
    desk.secure.newest_crl(desk.issuing, 0, false).await.expect("the signed list is still served");
    let spec = RevocationSpec {
        certificate_id: issued.record.certificate_id,
        organization_id: issued.record.organization_id.unwrap(),
        reason: RevocationReason::Superseded,
        invalidity_date: None,
        comment: None,
        requested_by: desk.spec(KeySource::Csr).requester_user_id,
    };
    desk.revoke(&spec, desk.operation()).await.expect("a revocation is recorded, whoever can sign");
    assert!(desk.secure.publish_due_crls().await.is_err());
    let request = clm_x509::ocsp::OcspRequest { cert_ids: vec![cert_id(&desk, &issued).await], nonce: None };
    let answer = answer(&desk.secure, desk.issuing, request.to_der()).await.expect("its responder goes on");
    assert!(crate::ocsp::read(&desk, &issued, &answer.der).await.contains(": revoked"));

    softhsm.plug_in();
    issue(&desk, desk.issuing).await.expect("the token is found again");
    desk.secure.publish_due_crls().await.unwrap();
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

async fn cert_id(desk: &Desk, issued: &clm_types::IssuedCertificate) -> clm_x509::ocsp::CertId {
    let file = desk.authority_file(desk.issuing).await;
    let authority = clm_x509::Certificate::parse_pem(&std::fs::read_to_string(file).unwrap()).unwrap();
    let issuer = clm_x509::IssuerInfo::from_certificate(&authority).unwrap();
    clm_x509::ocsp::CertId::under_sha1(&issuer, &issued.record.serial_number.parse().unwrap())
}

async fn issue(
    desk: &Desk,
    authority: clm_types::AuthorityId,
) -> Result<clm_types::IssuedCertificate, clm_types::Refusal> {
    let spec = clm_types::CertificateSpec { authority_id: authority, ..desk.csr_spec() };
    let mandate = desk.issue_mandate(&spec, desk.operation());
    desk.issue(&spec, &mandate).await
}

#[tokio::test]
async fn a_refused_pin_is_tried_once() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("pin");
    let wrong = token_with_pin(&softhsm, "wrong-pin-1");
    for _ in 0..10 {
        let error = wrong.ping().await.unwrap_err();
        assert!(error.to_string().contains("refused the PIN"), "{error}");
    }
    token(&softhsm).ping().await.expect("the token has not locked itself");
}

#[tokio::test]
async fn many_calls_at_once_share_the_sessions() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("sessions");
    let token = token(&softhsm);
    let desk = Desk::open_with(tempfile::tempdir().unwrap(), stores(&token).await, KeyStore::Token).await;
    let secure: Secure = desk.secure.clone();
    let calls = (0..40).map(|_| {
        let spec = desk.spec(KeySource::Generated);
        let (spec, mandate) = Desk::documents(&spec, &desk.issue_mandate(&spec, desk.operation()));
        let secure = secure.clone();
        tokio::spawn(async move { secure.issue(spec.as_bytes(), mandate.as_bytes()).await })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_key_that_is_in_the_token_stays_there_when_its_authority_is_imported() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("imported");
    let token = token(&softhsm);
    let desk = Desk::open_with(tempfile::tempdir().unwrap(), stores(&token).await, KeyStore::Token).await;
    let old = OldAuthority::root(desk.folder.path(), "old-root");
    let id = PrivateKeyId(uuid::Uuid::from_u128(0x1234_5678));
    let brought = everything_of(&old, "Old Root");
    let missing = AuthorityImport { key: ImportedKey::Token(id), ..everything_of(&old, "Old Root") };
    let missing = desk.secure.check_import(missing).await.err().unwrap().to_refusal();
    assert_eq!(missing.code, ErrorCode::AuthorityLocked);
    old.openssl("pkcs8 -topk8 -nocrypt -in ca.key -out ca.p8");
    softhsm.import(&old.folder.join("ca.p8"), &id.0.simple().to_string());
    let checked =
        desk.secure.check_import(AuthorityImport { key: ImportedKey::Token(id), ..brought }).await.unwrap();
    let imported = desk.secure.import_authority(&checked, &Quorum::default(), &[], "operator", |_| {}).await;
    let authority_id = imported.unwrap().0.authority_id;
    let spec = clm_types::CertificateSpec { authority_id, ..desk.csr_spec() };
    let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    let (leaf, root) = (desk.file("leaf.pem", &issued.pem), old.folder.join("ca.pem"));
    run("openssl", &["verify", "-x509_strict", "-CAfile", root.to_str().unwrap(), &leaf]);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}
