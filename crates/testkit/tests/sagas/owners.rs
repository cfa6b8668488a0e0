use clm_core::certificates::{CertificateChange, CertificateQuery};
use clm_core::roles::REQUESTER;
use clm_core::{Core, Ctx};
use clm_types::{CertificateId, ErrorCode, OperationId, OwnerChange, UserId};

use crate::house::{FIRST, House};
use crate::integrity::{aged, findings};

async fn give(core: &Core, by: &Ctx, id: CertificateId, version: i64, to: &Ctx) {
    let change = CertificateChange { owner_user_id: to.actor.user_id.into(), ..CertificateChange::default() };
    core.update_certificate(by, id, version, change).await.unwrap();
}

async fn owner_in_secure(house: &House, id: CertificateId) -> Option<UserId> {
    house.secure.find_certificate(id).await.unwrap().unwrap().record.owner_user_id
}

#[tokio::test]
async fn a_new_owner_reaches_secure_with_audit_entry_and_event() {
    let house = House::open().await;
    let (service, administrator) = (house.service().await, house.administrator().await);
    let ann = house.hire("ann", REQUESTER).await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    assert_eq!(owner_in_secure(&house, id).await, service.actor.user_id);
    give(&house.core, &administrator, id, 1, &ann).await;
    house.settle().await;
    assert_eq!(owner_in_secure(&house, id).await, ann.actor.user_id);
    let audited = "SELECT count(*) FROM secure_audit_log a JOIN operations o ON o.operation_id = a.operation_id
         JOIN events e ON e.operation_id = a.operation_id
         WHERE a.action = 'certificate.change_owner' AND o.kind = 'owner' AND e.kind = 'certificate.owner_changed'";
    assert_eq!(house.count_in_secure(audited).await, 1);
    let updated =
        "SELECT count(*) FROM audit_log WHERE action = 'certificate.update' AND operation_id IS NOT NULL";
    assert_eq!(house.count_in_core(updated).await, 1);
    house.follow().await;
    assert!(house.secure.verify_audit(|_| {}).await.unwrap().is_ok());
    // The same owner again, and other metadata, are nothing for Secure.
    give(&house.core, &administrator, id, 2, &ann).await;
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn the_last_of_several_owners_stays_also_when_secure_was_away() {
    let mut house = House::open().await;
    let (service, administrator) = (house.service().await, house.administrator().await);
    let id = house.issue(&service, "www").await.record.certificate_id;
    let people = [house.hire("ann", REQUESTER).await, house.hire("ben", REQUESTER).await];
    house.take_secure_away().await;
    for (version, person) in (1..).zip([&people[0], &people[1], &service, &people[1]]) {
        give(&house.core, &administrator, id, version, person).await;
    }
    house.bring_secure_back().await;
    house.settle().await;
    assert_eq!(owner_in_secure(&house, id).await, people[1].actor.user_id);
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn a_change_of_owner_happens_once_and_the_later_decision_stays() {
    let house = House::open().await;
    let service = house.service().await;
    let record = house.issue(&service, "www").await.record;
    let [ann, ben] = [house.hire("ann", REQUESTER).await, house.hire("ben", REQUESTER).await];
    let change = |to: &Ctx, version| OwnerChange {
        certificate_id: record.certificate_id,
        organization_id: service.organization_id,
        to: to.actor.user_id.unwrap(),
        version,
        changed_by: to.actor.user_id.unwrap(),
    };
    let operation = |number| OperationId(uuid::Uuid::from_u128(number));
    let secure = &house.secure;
    assert!(secure.change_owner(operation(1), &change(&ann, 2)).await.unwrap());
    assert!(secure.change_owner(operation(3), &change(&ben, 4)).await.unwrap());
    // Late or repeated, the earlier ones do not undo the later.
    assert!(secure.change_owner(operation(1), &change(&ann, 2)).await.unwrap());
    assert!(!secure.change_owner(operation(2), &change(&ann, 3)).await.unwrap());
    assert_eq!(owner_in_secure(&house, record.certificate_id).await, ben.actor.user_id);
    let code = |outcome: Result<bool, clm_secure::SecureError>| outcome.unwrap_err().to_refusal().code;
    assert_eq!(code(secure.change_owner(operation(3), &change(&ann, 5)).await), ErrorCode::OperationIdReused);
    let mut foreign = change(&ann, 5);
    foreign.organization_id = clm_types::OrganizationId(uuid::Uuid::nil());
    assert_eq!(code(secure.change_owner(operation(4), &foreign).await), ErrorCode::CertificateNotFound);
    let audited = "SELECT count(*) FROM secure_audit_log WHERE action = 'certificate.change_owner'";
    assert_eq!(house.count_in_secure(audited).await, 2);
}

#[tokio::test]
async fn a_change_of_owner_on_its_way_is_left_alone() {
    let house = House::open().await;
    let (service, administrator) = (house.service().await, house.administrator().await);
    house.issue(&service, "www").await;
    aged(&house).await;
    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    let (id, ann) = (listed.items[0].id, house.hire("ann", REQUESTER).await);
    give(&house.core, &administrator, id, listed.items[0].version, &ann).await;
    let repaired = async || house.core.compare_databases().await.unwrap().repaired;
    assert_eq!(repaired().await, 0);
    let age = "UPDATE certificate_metadata SET updated_at = updated_at - interval '1 minute'";
    house.tamper_with_core(age).await;
    assert_eq!(repaired().await, 0);
    house.tamper_with_core("DELETE FROM jobs").await;
    assert_eq!(repaired().await, 1);
    assert_eq!(owner_in_secure(&house, id).await, ann.actor.user_id);
}

#[tokio::test]
async fn an_owner_that_differs_is_set_to_what_core_says() {
    let house = House::open().await;
    let service = house.service().await;
    for name in ["forged", "nobody"] {
        house.issue(&service, name).await;
    }
    aged(&house).await;
    house
        .tamper_with_secure(
            "UPDATE certificates SET owner_user_id = gen_random_uuid() WHERE sans ->> 0 = 'dns:forged.example.com'",
        )
        .await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata SET owner_user_id = NULL WHERE sans = '{dns:nobody.example.com}'",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    // The forged owner does not exist, one that Core does not know has no right answer.
    assert_eq!((report.open, report.repaired, report.alarms), (2, 1, 0));
    let found = findings(&house, "owner_differs").await;
    let mut sides: Vec<_> = found.iter().map(|it| (it.side.as_str(), it.status.as_str())).collect();
    sides.sort_unstable();
    assert_eq!(sides, [("core", "open"), ("secure", "repaired")]);
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.open, report.repaired, report.alarms, report.resolved), (1, 0, 0, 1));
    let by_core = "SELECT count(*) FROM secure_audit_log
         WHERE action = 'certificate.change_owner' AND actor = 'service:clm-core'";
    assert_eq!(house.count_in_secure(by_core).await, 1);
}
