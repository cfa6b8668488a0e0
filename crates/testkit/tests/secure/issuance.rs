//! Issuing.

use clm_types::{ErrorCode, KeyAlgorithm, KeySource, SecureEvent};

use crate::desk::{Desk, run};

#[tokio::test]
async fn a_certificate_from_a_csr_verifies_under_the_root() {
    let desk = Desk::open().await;
    let spec = desk.csr_spec();
    let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    let leaf = desk.file("leaf.pem", &issued.pem);
    let chain = desk.file("chain.pem", &issued.chain_pem);
    let root = desk.root_file().await;
    let verified = run("openssl", &["verify", "-x509_strict", "-CAfile", &root, "-untrusted", &chain, &leaf]);
    assert!(verified.contains("OK"), "{verified}");
    assert_eq!(issued.record.owner_user_id, Some(spec.owner_user_id));
    let events = desk.secure.read_events(0, 1000).await.unwrap();
    let reflected = events.iter().any(|event| {
        matches!(&event.event, SecureEvent::CertificateIssued(record) if record.certificate_id == issued.record.certificate_id)
    });
    assert!(reflected);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn every_key_algorithm_can_be_generated_and_is_kept_wrapped() {
    let desk = Desk::open().await;
    for algorithm in KeyAlgorithm::ALL {
        let spec =
            clm_types::CertificateSpec { key_algorithm: Some(*algorithm), ..desk.spec(KeySource::Generated) };
        let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
        assert!(issued.record.key_in_secure);
        assert_eq!(issued.record.key_algorithm, *algorithm);
    }
    let pool = desk.databases.secure.superuser().await;
    let (keys, uses): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM private_keys), (SELECT sum(use_count)::bigint FROM encryption_keys WHERE purpose = 'private_keys')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    let algorithms = i64::try_from(KeyAlgorithm::ALL.len()).unwrap();
    assert_eq!((keys, uses), (algorithms + 2, algorithms));
}

#[tokio::test]
async fn the_same_operation_gives_the_same_certificate_and_never_another() {
    let desk = Desk::open().await;
    let spec = desk.csr_spec();
    let operation = desk.operation();
    let calls = (0..8).map(|_| async { desk.issue(&spec, &desk.issue_mandate(&spec, operation)).await });
    let answers = futures::future::join_all(calls).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().pem == first.pem));
    let other = desk.csr_spec();
    let refused = desk.issue(&other, &desk.issue_mandate(&other, operation)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::OperationIdReused);
}

#[tokio::test]
async fn a_renewal_with_the_same_key_links_old_and_new() {
    let desk = Desk::open().await;
    let spec = desk.spec(KeySource::Generated);
    let old = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    let renewal = clm_types::CertificateSpec {
        renewal_of: Some(old.record.certificate_id),
        organization_id: spec.organization_id,
        ..desk.spec(KeySource::Reused)
    };
    let new = desk.issue(&renewal, &desk.issue_mandate(&renewal, desk.operation())).await.unwrap();
    assert_eq!(new.record.renewal_of, Some(old.record.certificate_id));
    let public = |pem: &str| clm_x509::Certificate::parse_pem(pem).unwrap().public_key().fingerprint();
    assert_eq!(public(&new.pem), public(&old.pem));
}

#[tokio::test]
async fn a_mandate_that_does_not_fit_gets_nothing() {
    let desk = Desk::open().await;
    let spec = desk.csr_spec();
    let good = desk.issue_mandate(&spec, desk.operation());
    let mut digest = good.clone();
    digest.request_sha256 = hex::encode([0; 32]);
    let mut late = good.clone();
    late.expires_at = desk.clock.now() - chrono::TimeDelta::seconds(1);
    let mut foreign = good.clone();
    foreign.organization_id = clm_types::OrganizationId::generate(desk.clock.now(), &desk.entropy);
    let mut other = good.clone();
    other.operation = "revoke".into();
    for mandate in [digest, late, foreign, other] {
        assert_eq!(desk.issue(&spec, &mandate).await.unwrap_err().code, ErrorCode::MandateInvalid);
    }
    let outside = clm_types::CertificateSpec { validity_seconds: 398 * 86_400, ..spec };
    let refused = desk.issue(&outside, &desk.issue_mandate(&outside, desk.operation())).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::MandateOutsideEnvelope);
}

#[tokio::test]
async fn a_renewal_reaches_no_other_organizations_certificate() {
    let desk = Desk::open().await;
    let spec = desk.spec(KeySource::Generated);
    let old = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    for key_source in [KeySource::Generated, KeySource::Reused] {
        let foreign = clm_types::CertificateSpec {
            renewal_of: Some(old.record.certificate_id),
            ..desk.spec(key_source)
        };
        let refused =
            desk.issue(&foreign, &desk.issue_mandate(&foreign, desk.operation())).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::CertificateNotFound);
    }
}

#[tokio::test]
async fn a_wrapped_key_stays_in_one_place() {
    let desk = Desk::open().await;
    let spec = desk.spec(KeySource::Generated);
    desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    let pool = desk.databases.secure.superuser().await;
    let copies: i64 =
        sqlx::query_scalar("SELECT count(*) FROM issuance_intents WHERE wrapped_private_key IS NOT NULL")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(copies, 0);
}

#[tokio::test]
async fn an_expired_encryption_key_is_followed_by_the_next_version() {
    let desk = Desk::open().await;
    let first = desk.spec(KeySource::Generated);
    let old = desk.issue(&first, &desk.issue_mandate(&first, desk.operation())).await.unwrap();
    let pool = desk.databases.secure.superuser().await;
    sqlx::query("UPDATE encryption_keys SET expires_at = created_at").execute(&pool).await.unwrap();
    let secure = desk.reopen().await;
    let renewal = clm_types::CertificateSpec {
        organization_id: first.organization_id,
        renewal_of: Some(old.record.certificate_id),
        ..desk.spec(KeySource::Reused)
    };
    let (spec, mandate) = Desk::documents(&renewal, &desk.issue_mandate(&renewal, desk.operation()));
    secure.issue(spec.as_bytes(), mandate.as_bytes()).await.unwrap();
    let states: Vec<(i32, String)> = sqlx::query_as(
        "SELECT key_version, state FROM encryption_keys WHERE purpose = 'private_keys' ORDER BY key_version",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(states, [(1, "decrypt_only".to_owned()), (2, "active".to_owned())]);
}
