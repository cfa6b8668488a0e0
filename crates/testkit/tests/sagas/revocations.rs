use chrono::TimeDelta;
use clm_core::revocations::NewRevocation;
use clm_types::{CertificateStatus, ErrorCode, RevocationReason, WorkflowStatus};

use crate::house::{House, WAIT, refused};

fn because(reason: RevocationReason) -> NewRevocation {
    NewRevocation { reason, invalidity_date: None, comment: None }
}

#[tokio::test]
async fn a_certificate_is_revoked_in_both_databases_and_only_once() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let now = house.core.clock.now();
    let new = NewRevocation {
        invalidity_date: Some(now - TimeDelta::days(1)),
        comment: Some("laptop lost".to_owned()),
        ..because(RevocationReason::KeyCompromise)
    };
    let request = house.core.revoke_certificate(&service, id, new, WAIT).await.unwrap();
    assert_eq!(request.status, WorkflowStatus::Completed);
    let certificate = house.core.show_certificate(&service, id).await.unwrap();
    assert_eq!(certificate.status, CertificateStatus::Revoked);
    assert_eq!(certificate.revocation_reason.as_deref(), Some("keyCompromise"));
    assert!(certificate.revoked_at.is_some());
    let recorded =
        "SELECT count(*) FROM certificate_revocations WHERE reason_code = 1 AND invalidity_date IS NOT NULL";
    assert_eq!(house.count_in_secure(recorded).await, 1);
    let again =
        house.core.revoke_certificate(&service, id, because(RevocationReason::Superseded), WAIT).await;
    assert_eq!(refused(again), ErrorCode::CertificateAlreadyRevoked);
    let told = "SELECT count(*) FROM notifications WHERE kind = 'certificate.revoke'";
    assert_eq!(house.count_in_core(told).await, 1);
}

#[tokio::test]
async fn every_reason_of_rfc_5280_is_taken_but_remove_from_crl() {
    let house = House::open().await;
    let service = house.service().await;
    for reason in RevocationReason::ALL {
        let id = house.issue(&service, "www").await.record.certificate_id;
        let revoked = house.core.revoke_certificate(&service, id, because(*reason), WAIT).await;
        if *reason == RevocationReason::RemoveFromCrl {
            assert_eq!(refused(revoked), ErrorCode::RevocationReasonInvalid);
        } else {
            assert_eq!(revoked.unwrap().status, WorkflowStatus::Completed, "{reason}");
        }
    }
}

#[tokio::test]
async fn a_hold_is_released_or_becomes_a_revocation() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let released = house.core.release_certificate(&service, id, None, WAIT).await;
    assert_eq!(refused(released), ErrorCode::CertificateNotOnHold);
    for _ in 0..2 {
        let hold = because(RevocationReason::CertificateHold);
        house.core.revoke_certificate(&service, id, hold, WAIT).await.unwrap();
        let kept = house.core.show_certificate(&service, id).await.unwrap();
        assert_eq!(kept.status, CertificateStatus::OnHold);
        house.core.release_certificate(&service, id, None, WAIT).await.unwrap();
        let free = house.core.show_certificate(&service, id).await.unwrap();
        assert_eq!((free.status, free.revoked_at), (CertificateStatus::Active, None));
    }
    let hold = because(RevocationReason::CertificateHold);
    house.core.revoke_certificate(&service, id, hold, WAIT).await.unwrap();
    house.core.revoke_certificate(&service, id, because(RevocationReason::Superseded), WAIT).await.unwrap();
    let revoked = house.core.show_certificate(&service, id).await.unwrap();
    assert_eq!(revoked.status, CertificateStatus::Revoked);
}

#[tokio::test]
async fn a_certificate_of_another_organization_does_not_exist_here() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let elsewhere = house.elsewhere().await;
    let revoked =
        house.core.revoke_certificate(&elsewhere, id, because(RevocationReason::KeyCompromise), WAIT).await;
    assert_eq!(refused(revoked), ErrorCode::CertificateNotFound);
    assert_eq!(refused(house.core.show_certificate(&elsewhere, id).await), ErrorCode::CertificateNotFound);
    assert_eq!(
        refused(house.core.download_certificate(&elsewhere, id).await),
        ErrorCode::CertificateNotFound
    );
}

#[tokio::test]
async fn an_invalidity_date_in_the_future_is_refused() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let new = NewRevocation {
        invalidity_date: Some(house.core.clock.now() + TimeDelta::hours(1)),
        ..because(RevocationReason::KeyCompromise)
    };
    let revoked = house.core.revoke_certificate(&service, id, new, WAIT).await;
    assert_eq!(refused(revoked), ErrorCode::InvalidityDateInvalid);
}

#[tokio::test]
async fn of_two_revocations_at_once_one_takes_effect() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let (first, second) = tokio::join!(
        house.core.revoke_certificate(&service, id, because(RevocationReason::KeyCompromise), WAIT),
        house.core.revoke_certificate(&service, id, because(RevocationReason::Superseded), WAIT),
    );
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let loser = if first.is_ok() { refused(second) } else { refused(first) };
    assert_eq!(loser, ErrorCode::CertificateAlreadyRevoked);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM certificate_revocations").await, 1);
    let told = "SELECT count(*) FROM notifications WHERE kind = 'certificate.revoke'";
    assert_eq!(house.count_in_core(told).await, 1);
}
