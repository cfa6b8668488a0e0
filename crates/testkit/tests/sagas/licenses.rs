use clm_core::revocations::NewRevocation;
use clm_types::{ErrorCode, RevocationReason};
use futures::future::join_all;

use crate::house::{House, WAIT, generated, refused};

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_do_not_exceed_the_licence() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "first").await;
    house.tamper_with_core("UPDATE organizations SET license_max_certificates = 3").await;
    house.core.forget_everything();
    let names = ["a", "b", "c", "d", "e"];
    let asked = join_all(names.map(|name| house.submit(&service, generated(name)))).await;
    assert_eq!(asked.iter().filter(|one| one.is_ok()).count(), 2);
    for attempt in asked.into_iter().filter(Result::is_err) {
        assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached);
    }
    let active = "SELECT count(*) FROM certificate_metadata WHERE status = 'active'";
    assert_eq!(house.count_in_core(active).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_on_hold_keeps_its_place_until_it_ends() {
    let house = House::open().await;
    let service = house.service().await;
    let held = house.issue(&service, "held").await;
    house.tamper_with_core("UPDATE organizations SET license_max_certificates = 1").await;
    house.core.forget_everything();
    let id = held.record.certificate_id;
    let hold =
        NewRevocation { reason: RevocationReason::CertificateHold, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, id, hold, WAIT).await.unwrap();
    let attempt = house.submit(&service, generated("another")).await;
    assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached);

    let over = "UPDATE certificate_metadata SET not_before = now() - interval '2 days', not_after = now() - interval '1 day'";
    house.tamper_with_core(over).await;
    house.issue(&service, "another").await;
}
