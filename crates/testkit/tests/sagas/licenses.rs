use clm_core::policies::PolicyDraft;
use clm_core::renewals::NewRenewal;
use clm_core::requests::NewRequest;
use clm_core::revocations::NewRevocation;
use clm_types::{ErrorCode, KeyAlgorithm, RevocationReason};
use futures::future::join_all;
use serde_json::json;

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

/// A request for the certificate of an authority.
fn authority(name: &str) -> NewRequest {
    NewRequest {
        policy: Some("authorities".to_owned()),
        profile: "intermediate-ca".to_owned(),
        authority: Some("root".to_owned()),
        key_algorithm: Some(KeyAlgorithm::EcdsaP256),
        subject: Some(format!("CN={name}")),
        ..NewRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_at_once_do_not_exceed_the_licence() {
    let house = House::open().await;
    let service = house.service().await;
    let rules = json!({"profiles": ["intermediate-ca"], "key_algorithms": ["ecdsa-p256"], "key_sources": ["generated"],
        "names": {}, "max_names": 1, "max_validity_seconds": 300 * 86_400, "default_validity_seconds": 30 * 86_400});
    let draft = PolicyDraft {
        code: "authorities".to_owned(),
        name: "Authorities".to_owned(),
        rules,
        compliance_frameworks: Vec::new(),
    };
    house.core.create_policy(&house.administrator().await, &draft).await.unwrap();
    house.tamper_with_core("UPDATE organizations SET license_max_authorities = 2").await;
    house.core.forget_everything();
    let asked = join_all(["A", "B", "C", "D"].map(|name| house.submit(&service, authority(name)))).await;
    assert_eq!(asked.iter().filter(|one| one.is_ok()).count(), 2);
    let mut made = Vec::new();
    for attempt in asked {
        match attempt {
            Ok(one) => made.push(one.certificate.unwrap().record.certificate_id),
            attempt => assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached),
        }
    }
    // Others are not counted, and a revoked one makes room.
    house.issue(&service, "server").await;
    let revoked = NewRevocation {
        reason: RevocationReason::CessationOfOperation,
        invalidity_date: None,
        comment: None,
    };
    house.core.revoke_certificate(&service, made[0], revoked, WAIT).await.unwrap();
    house.submit(&service, authority("E")).await.unwrap();
    // A lower limit ends nothing.
    house.tamper_with_core("UPDATE organizations SET license_max_authorities = 0").await;
    house.core.forget_everything();
    assert_eq!(refused(house.submit(&service, authority("F")).await), ErrorCode::LicenseLimitReached);
    let active =
        "SELECT count(*) FROM certificate_metadata WHERE status = 'active' AND profile = 'intermediate-ca'";
    assert_eq!(house.count_in_core(active).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_subscription_issues_nothing_and_revokes() {
    let house = House::open().await;
    let service = house.service().await;
    let old = house.issue(&service, "old").await;
    house.tamper_with_core("UPDATE organizations SET subscription_status = 'expired'").await;
    house.core.forget_everything();
    assert_eq!(refused(house.submit(&service, generated("new")).await), ErrorCode::SubscriptionEnded);
    let revoked =
        NewRevocation { reason: RevocationReason::Superseded, invalidity_date: None, comment: None };
    let id = old.record.certificate_id;
    house.core.revoke_certificate(&service, id, revoked, WAIT).await.unwrap();
    let gone = "SELECT count(*) FROM certificate_metadata WHERE status = 'revoked'";
    assert_eq!(house.count_in_core(gone).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_renewal_replaces_does_not_count() {
    let house = House::open().await;
    let service = house.service().await;
    let only = house.issue(&service, "only").await.record.certificate_id;
    house.tamper_with_core("UPDATE organizations SET license_max_certificates = 1").await;
    house.core.forget_everything();
    assert_eq!(refused(house.submit(&service, generated("more")).await), ErrorCode::LicenseLimitReached);
    let renewed = house.core.renew_certificate(&service, only, NewRenewal::default(), WAIT).await.unwrap();
    // Now there are two; the older one counts until it ends.
    let id = renewed.certificate.unwrap().record.certificate_id;
    let again = house.core.renew_certificate(&service, id, NewRenewal::default(), WAIT).await;
    assert_eq!(refused(again), ErrorCode::LicenseLimitReached);
}

/// The organization is believed to be active for a moment still; where something is counted, it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_issued_in_an_organization_that_is_shut() {
    let house = House::open().await;
    let service = house.service().await;
    house.tamper_with_core("UPDATE organizations SET license_max_certificates = 9").await;
    house.core.forget_everything();
    house.issue(&service, "before").await;
    for change in
        ["UPDATE organizations SET status = 'suspended'", "UPDATE organizations SET status = 'closed'"]
    {
        house.tamper_with_core(change).await;
        let attempt = house.submit(&service, generated("after")).await;
        assert_eq!(refused(attempt), ErrorCode::OrganizationNotActive);
    }
    let active = "SELECT count(*) FROM certificate_metadata WHERE status = 'active'";
    assert_eq!(house.count_in_core(active).await, 1);
}
