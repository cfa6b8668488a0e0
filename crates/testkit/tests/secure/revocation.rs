//! Revocation, hold and release, as CRL and OCSP show them.

use clm_secure::blocked_keys::read_subject_key;
use clm_types::{CertificateSpec, CertificateStatus, ErrorCode, KeySource, RevocationReason, RevocationSpec};

use crate::crls::octets;
use crate::desk::{Desk, answer, run};

async fn ocsp(desk: &Desk, leaf: &str) -> String {
    let issuer = desk.authority_file(desk.issuing).await;
    let request = desk.folder.path().join("request.der");
    let request = request.to_str().unwrap();
    run("openssl", &["ocsp", "-no_nonce", "-issuer", &issuer, "-cert", leaf, "-reqout", request]);
    let answer = answer(&desk.secure, desk.issuing, std::fs::read(request).unwrap()).await.unwrap();
    let response = desk.file("response.der", answer.der);
    run(
        "openssl",
        &["ocsp", "-issuer", &issuer, "-cert", leaf, "-no_nonce", "-respin", &response, "-VAfile", &issuer],
    )
}

async fn crl(desk: &Desk) -> String {
    desk.secure.publish_due_crls().await.unwrap();
    let path = desk.file("crl.der", octets(desk, desk.issuing, 0, false).await);
    let issuer = desk.authority_file(desk.issuing).await;
    run("openssl", &["crl", "-inform", "DER", "-in", &path, "-CAfile", &issuer, "-noout", "-text"])
}

#[tokio::test]
async fn every_reason_shows_in_ocsp_at_once_and_in_the_next_crl() {
    let desk = Desk::open().await;
    for reason in RevocationReason::ALL.iter().filter(|reason| **reason != RevocationReason::RemoveFromCrl) {
        let request = desk.csr_spec();
        let issued = desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap();
        let leaf = desk.file("leaf.pem", &issued.pem);
        assert!(ocsp(&desk, &leaf).await.contains(": good"));
        let spec = RevocationSpec {
            certificate_id: issued.record.certificate_id,
            organization_id: request.organization_id,
            reason: *reason,
            invalidity_date: Some(desk.clock.now() - chrono::TimeDelta::days(1)),
            requested_by: request.requester_user_id,
            comment: Some("a test".into()),
        };
        let operation = desk.operation();
        let record = desk.revoke(&spec, operation).await.unwrap();
        assert_eq!(desk.revoke(&spec, operation).await.unwrap(), record);
        let said = ocsp(&desk, &leaf).await;
        assert!(said.contains(": revoked"), "{said}");
        let serial = issued.record.serial_number.to_uppercase();
        assert!(crl(&desk).await.contains(&serial));
        let again = desk.revoke(&spec, desk.operation()).await.unwrap_err();
        assert_eq!(again.code, ErrorCode::CertificateAlreadyRevoked);
    }
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_hold_is_released_and_leaves_the_crl() {
    let desk = Desk::open().await;
    let request = desk.csr_spec();
    let issued = desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap();
    let serial = issued.record.serial_number.to_uppercase();
    let leaf = desk.file("leaf.pem", &issued.pem);
    let spec = |reason| RevocationSpec {
        certificate_id: issued.record.certificate_id,
        organization_id: request.organization_id,
        reason,
        invalidity_date: None,
        requested_by: request.requester_user_id,
        comment: None,
    };
    let held = desk.revoke(&spec(RevocationReason::CertificateHold), desk.operation()).await.unwrap();
    assert_eq!(held.status, CertificateStatus::OnHold);
    assert!(crl(&desk).await.contains(&serial));
    let released = desk.revoke(&spec(RevocationReason::RemoveFromCrl), desk.operation()).await.unwrap();
    assert_eq!(released.status, CertificateStatus::Active);
    assert!(!crl(&desk).await.contains(&serial));
    assert!(ocsp(&desk, &leaf).await.contains(": good"));
    desk.revoke(&spec(RevocationReason::CertificateHold), desk.operation()).await.unwrap();
    let gone = desk.revoke(&spec(RevocationReason::KeyCompromise), desk.operation()).await.unwrap();
    assert_eq!(gone.status, CertificateStatus::Revoked);
    let refused = desk.revoke(&spec(RevocationReason::RemoveFromCrl), desk.operation()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::CertificateNotOnHold);
}

#[tokio::test]
async fn another_organizations_certificate_is_not_found() {
    let desk = Desk::open().await;
    let request = desk.csr_spec();
    let issued = desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap();
    let spec = RevocationSpec {
        certificate_id: issued.record.certificate_id,
        organization_id: clm_types::OrganizationId::generate(desk.clock.now(), &desk.entropy),
        reason: RevocationReason::Superseded,
        invalidity_date: None,
        requested_by: request.requester_user_id,
        comment: None,
    };
    assert_eq!(desk.revoke(&spec, desk.operation()).await.unwrap_err().code, ErrorCode::CertificateNotFound);
}

#[tokio::test]
async fn an_invalidity_date_that_no_crl_can_say_is_refused() {
    let desk = Desk::open().await;
    let request = desk.csr_spec();
    let issued = desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap();
    for date in ["-0001-01-01T00:00:00Z", "1949-12-31T23:59:59Z", "2999-01-01T00:00:00Z"] {
        let spec = RevocationSpec {
            certificate_id: issued.record.certificate_id,
            organization_id: request.organization_id,
            reason: RevocationReason::KeyCompromise,
            invalidity_date: Some(date.parse().unwrap()),
            requested_by: request.requester_user_id,
            comment: None,
        };
        let refused = desk.revoke(&spec, desk.operation()).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidityDateInvalid, "{date}");
    }
}

#[tokio::test]
async fn a_hold_that_has_ended_stays_on_one_more_list_and_in_ocsp() {
    let desk = Desk::open().await;
    let request = desk.csr_spec();
    let issued = desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap();
    let serial = issued.record.serial_number.to_uppercase();
    let leaf = desk.file("leaf.pem", &issued.pem);
    let spec = RevocationSpec {
        certificate_id: issued.record.certificate_id,
        organization_id: request.organization_id,
        reason: RevocationReason::CertificateHold,
        invalidity_date: None,
        requested_by: request.requester_user_id,
        comment: None,
    };
    desk.revoke(&spec, desk.operation()).await.unwrap();
    assert!(crl(&desk).await.contains(&serial));
    let superuser = desk.databases.secure.superuser().await;
    let end = "UPDATE certificates SET not_after = clock_timestamp() WHERE category = 'leaf'";
    let end_of_entry = "UPDATE certificate_revocations r SET not_after = c.not_after
                        FROM certificates c WHERE c.certificate_id = r.certificate_id";
    let due = "UPDATE crl_scopes SET next_crl_at = now()";
    sqlx::query(end).execute(&superuser).await.unwrap();
    sqlx::query(end_of_entry).execute(&superuser).await.unwrap();
    while desk.secure.expire_certificates().await.unwrap() == 0 {}
    let record = desk.secure.find_certificate(spec.certificate_id).await.unwrap().unwrap().record;
    assert_eq!(record.status, CertificateStatus::Expired);
    assert_eq!(record.revocation_reason, Some(RevocationReason::CertificateHold));
    for listed in [true, false] {
        sqlx::query(due).execute(&superuser).await.unwrap();
        assert_eq!(crl(&desk).await.contains(&serial), listed);
        let said = ocsp(&desk, &leaf).await;
        assert!(said.contains(": revoked"), "{said}");
    }
    let refused = desk.revoke(&spec, desk.operation()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn a_key_that_was_revoked_as_compromised_is_not_certified_again() {
    let desk = Desk::open().await;
    let request = desk.csr_spec();
    let issue = |spec: clm_types::CertificateSpec| {
        let desk = &desk;
        async move { desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await }
    };
    // The same key again, and once more after a revocation that says nothing of the key.
    let again = || CertificateSpec { csr: request.csr.clone(), ..desk.spec(KeySource::Csr) };
    let (first, second, other) =
        (issue(request.clone()).await.unwrap(), issue(again()).await.unwrap(), desk.csr_spec());
    let revoke = |id, organization_id, reason| RevocationSpec {
        certificate_id: id,
        organization_id,
        reason,
        invalidity_date: None,
        requested_by: request.requester_user_id,
        comment: None,
    };
    let third = issue(again()).await.unwrap().record;
    let superseded =
        revoke(third.certificate_id, third.organization_id.unwrap(), RevocationReason::Superseded);
    desk.revoke(&superseded, desk.operation()).await.unwrap();
    issue(again()).await.unwrap();

    let compromised =
        revoke(first.record.certificate_id, request.organization_id, RevocationReason::KeyCompromise);
    desk.revoke(&compromised, desk.operation()).await.unwrap();
    assert_eq!(issue(again()).await.unwrap_err().code, ErrorCode::KeyCompromised);
    let spec = clm_types::canonical_json(&again()).unwrap();
    let submitted = desk.secure.submit_request(desk.operation(), spec.as_bytes()).await;
    assert_eq!(submitted.unwrap_err().to_refusal().code, ErrorCode::KeyCompromised);
    let blocked = desk.secure.list_blocked_keys(uuid::Uuid::nil()).await.unwrap();
    assert_eq!(blocked.len(), 1);
    let still_accepted = blocked[0].accepted_certificates.len();
    assert_eq!(still_accepted, 2, "found, so that they can be revoked too");
    assert!(blocked[0].accepted_certificates.contains(&second.record.certificate_id.into()));

    let key = read_subject_key(&issue(other.clone()).await.unwrap().pem).unwrap();
    desk.secure.block_key(&key, "found on a public share", "test").await.unwrap();
    let twice = desk.secure.block_key(&key, "found on a public share", "test").await.unwrap_err();
    assert_eq!(twice.to_refusal().code, ErrorCode::Conflict);
    let renewed = CertificateSpec { csr: other.csr, ..desk.spec(KeySource::Csr) };
    assert_eq!(issue(renewed).await.unwrap_err().code, ErrorCode::KeyCompromised);
    let pool = desk.databases.secure.superuser().await;
    let report = clm_secure::verification::verify_database(&pool, &[], |_| {}).await.unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}
