use clm_core::renewals::NewRenewal;
use clm_core::revocations::NewRevocation;
use clm_core::roles::REQUESTER;
use clm_types::{ErrorCode, KeyAlgorithm, RevocationReason, WorkflowKind, WorkflowStatus};
use clm_x509::Certificate;

use crate::house::{House, WAIT, refused};

#[tokio::test]
async fn a_renewal_keeps_the_key_or_takes_a_new_one_and_links_both() {
    let house = House::open().await;
    let service = house.service().await;
    let old = house.issue(&service, "www").await;
    let id = old.record.certificate_id;
    let same = house.core.renew_certificate(&service, id, NewRenewal::default(), WAIT).await.unwrap();
    assert_eq!(same.request.kind, WorkflowKind::Renewal);
    let same = same.certificate.unwrap();
    let key = |pem: &str| Certificate::parse_pem(pem).unwrap().public_key().fingerprint();
    assert_eq!(key(&same.pem), key(&old.pem));
    assert_eq!(same.record.sans, old.record.sans);
    let fresh = NewRenewal { key_algorithm: Some(KeyAlgorithm::EcdsaP384), ..NewRenewal::default() };
    let fresh =
        house.core.renew_certificate(&service, same.record.certificate_id, fresh, WAIT).await.unwrap();
    let fresh = fresh.certificate.unwrap();
    assert_eq!(fresh.record.key_algorithm, KeyAlgorithm::EcdsaP384);
    let first = house.core.show_certificate(&service, id).await.unwrap();
    let middle = house.core.show_certificate(&service, same.record.certificate_id).await.unwrap();
    assert_eq!(first.renewed_by, Some(middle.id));
    assert_eq!(middle.renewal_of, Some(first.id));
    assert_eq!(middle.renewed_by, Some(fresh.record.certificate_id));
}

#[tokio::test]
async fn a_revoked_certificate_cannot_be_renewed() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let new = NewRevocation { reason: RevocationReason::Superseded, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, id, new, WAIT).await.unwrap();
    let renewed = house.core.renew_certificate(&service, id, NewRenewal::default(), WAIT).await;
    assert_eq!(refused(renewed), ErrorCode::CertificateNotActive);
}

#[tokio::test]
async fn a_certificate_is_renewed_once() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let renew = || house.core.renew_certificate(&service, id, NewRenewal::default(), WAIT);
    let (first, second) = tokio::join!(renew(), renew());
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let loser = if first.is_ok() { refused(second) } else { refused(first) };
    assert_eq!(loser, ErrorCode::CertificateAlreadyRenewed);
    assert_eq!(refused(renew().await), ErrorCode::CertificateAlreadyRenewed);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM certificates WHERE category = 'leaf'").await, 2);
}

#[tokio::test]
async fn an_open_renewal_stands_in_the_way_of_another_one() {
    let house = House::open().await;
    let service = house.service().await;
    let ann = house.hire("ann", REQUESTER).await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let renew = |ctx| house.core.renew_certificate(ctx, id, NewRenewal::default(), WAIT);
    let waiting = renew(&ann).await.unwrap().request;
    assert_eq!(waiting.status, WorkflowStatus::Pending);
    assert_eq!(refused(renew(&service).await), ErrorCode::CertificateAlreadyRenewed);
    house.core.cancel_request(&ann, waiting.id, None).await.unwrap();
    renew(&service).await.unwrap().certificate.unwrap();
}
