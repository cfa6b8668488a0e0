use chrono::TimeDelta;
use clm_core::certificates::{CertificateChange, CertificateLookup, CertificateQuery};
use clm_core::page::PageRequest;
use clm_core::roles::REQUESTER;
use clm_types::{CertificateStatus, Change, ErrorCode};

use crate::house::{FIRST, House, refused};

#[tokio::test]
async fn certificates_are_found_by_name_tag_owner_state_and_end() {
    let house = House::open().await;
    let service = house.service().await;
    let administrator = house.administrator().await;
    let one = house.issue(&service, "one").await.record;
    house.issue(&service, "two").await;
    let change = CertificateChange {
        tags: Change::Set([("team".to_owned(), "web".to_owned())].into()),
        notes: Change::Set("the first".to_owned()),
        ..CertificateChange::default()
    };
    let changed =
        house.core.update_certificate(&administrator, one.certificate_id, 1, change.clone()).await.unwrap();
    assert_eq!((changed.version, changed.notes.as_deref()), (2, Some("the first")));
    let stale = house.core.update_certificate(&administrator, one.certificate_id, 1, change).await;
    assert_eq!(refused(stale), ErrorCode::PreconditionFailed);

    let now = house.core.clock.now();
    let count = async |query: CertificateQuery| {
        house.core.list_certificates(&service, &query, FIRST).await.unwrap().items.len()
    };
    let any = CertificateQuery::default;
    assert_eq!(count(any()).await, 2);
    assert_eq!(count(CertificateQuery { san: Some("one.example.com".into()), ..any() }).await, 1);
    assert_eq!(count(CertificateQuery { san: Some("dns:none.example.com".into()), ..any() }).await, 0);
    assert_eq!(count(CertificateQuery { tag: Some("team".into()), ..any() }).await, 1);
    assert_eq!(count(CertificateQuery { tag: Some("team=web".into()), ..any() }).await, 1);
    assert_eq!(count(CertificateQuery { tag: Some("team=api".into()), ..any() }).await, 0);
    assert_eq!(count(CertificateQuery { owner: service.actor.user_id, ..any() }).await, 2);
    assert_eq!(count(CertificateQuery { status: Some(CertificateStatus::Revoked), ..any() }).await, 0);
    let prefix = one.serial_number.chars().take(8).collect();
    assert_eq!(count(CertificateQuery { text: Some(prefix), ..any() }).await, 1);
    let soon = Some(now + TimeDelta::days(100));
    assert_eq!(count(CertificateQuery { expires_before: soon, ..any() }).await, 2);
    assert_eq!(count(CertificateQuery { expires_after: soon, ..any() }).await, 0);
    assert_eq!(count(CertificateQuery { authority: Some(one.authority_id), ..any() }).await, 2);

    let by_print = CertificateLookup::Fingerprint(one.fingerprint_sha256.clone());
    let found = house.core.look_up_certificate(&service, &by_print).await.unwrap();
    assert_eq!(found.id, one.certificate_id);
    let by_serial = CertificateLookup::Serial(one.serial_number.to_uppercase(), Some(one.authority_id));
    let found = house.core.look_up_certificate(&service, &by_serial).await.unwrap();
    assert_eq!(found.id, one.certificate_id);
}

#[tokio::test]
async fn pages_hold_every_certificate_once() {
    let house = House::open().await;
    let service = house.service().await;
    for number in 0..5 {
        house.issue(&service, &format!("host{number}")).await;
    }
    let mut page = PageRequest { before: None, limit: 2 };
    let mut seen = Vec::new();
    loop {
        let found = house.core.list_certificates(&service, &CertificateQuery::default(), page).await.unwrap();
        seen.extend(found.items.iter().map(|certificate| certificate.id));
        page.before = found.next;
        if page.before.is_none() {
            break;
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    sorted.reverse();
    sorted.dedup();
    assert_eq!(seen, sorted);
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn a_download_is_the_certificate_with_its_chain() {
    let house = House::open().await;
    let service = house.service().await;
    let issued = house.issue(&service, "www").await;
    let download = house.core.download_certificate(&service, issued.record.certificate_id).await.unwrap();
    assert_eq!(download.pem, issued.pem);
    assert!(download.chain_pem.contains("BEGIN CERTIFICATE"));
}

#[tokio::test]
async fn an_owner_must_be_a_user_of_the_organization() {
    let house = House::open().await;
    let service = house.service().await;
    let administrator = house.administrator().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let ann = house.hire("ann", REQUESTER).await;
    let to = |owner| CertificateChange { owner_user_id: owner, ..CertificateChange::default() };
    let changed =
        house.core.update_certificate(&administrator, id, 1, to(ann.actor.user_id.into())).await.unwrap();
    assert_eq!(changed.owner.as_deref(), Some("ann"));
    let nobody = Some(clm_types::UserId(uuid::Uuid::now_v7()));
    let changed = house.core.update_certificate(&administrator, id, 2, to(nobody.into())).await;
    assert_eq!(refused(changed), ErrorCode::UserNotFound);
    let denied = house.core.update_certificate(&ann, id, 2, CertificateChange::default()).await;
    assert_eq!(refused(denied), ErrorCode::PermissionDenied);
}
