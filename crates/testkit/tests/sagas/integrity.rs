use clm_core::certificates::CertificateQuery;
use clm_core::integrity::Finding;
use clm_core::revocations::NewRevocation;
use clm_types::{CertificateStatus, ErrorCode, RevocationReason};

use crate::house::{FIRST, House, WAIT, refused};

/// Makes everything look older than the moment that operations are given.
const AGE: &str = "SET session_replication_role = replica;
    CREATE OR REPLACE FUNCTION aged(id uuid) RETURNS uuid LANGUAGE sql AS $$ SELECT overlay(id::text placing '0190' from 1 for 4)::uuid $$;
    UPDATE certificates SET certificate_id = aged(certificate_id), issuer_certificate_id = aged(issuer_certificate_id),
        renewal_of_certificate_id = aged(renewal_of_certificate_id), renewed_by_certificate_id = aged(renewed_by_certificate_id);
    UPDATE certificate_authorities SET certificate_id = aged(certificate_id);
    ALTER TABLE authority_certificates DISABLE TRIGGER USER;
    UPDATE authority_certificates SET certificate_id = aged(certificate_id);
    UPDATE private_keys SET certificate_id = aged(certificate_id);
    UPDATE certificate_requests SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute',
        renewal_of_certificate_id = aged(renewal_of_certificate_id);
    UPDATE certificate_revocations SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute'";
const AGE_CORE: &str = "
    CREATE OR REPLACE FUNCTION aged(id uuid) RETURNS uuid LANGUAGE sql AS $$ SELECT overlay(id::text placing '0190' from 1 for 4)::uuid $$;
    UPDATE certificate_metadata SET certificate_id = aged(certificate_id), id = aged(id), updated_at = updated_at - interval '1 minute',
        renewal_of_certificate_id = aged(renewal_of_certificate_id), renewed_by_certificate_id = aged(renewed_by_certificate_id);
    UPDATE workflow_instances SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute';
    UPDATE notifications SET related_certificate_id = aged(related_certificate_id), created_at = created_at - interval '1 minute'";

pub(crate) async fn aged(house: &House) {
    house.tamper_with_secure(AGE).await;
    house.tamper_with_core(AGE_CORE).await;
}

pub(crate) async fn findings(house: &House, kind: &str) -> Vec<Finding> {
    let administrator = house.administrator().await;
    let all = house.core.list_findings(&administrator, None, FIRST).await.unwrap().items;
    all.into_iter().filter(|finding| finding.kind == kind).collect()
}

#[tokio::test]
async fn databases_that_agree_give_an_empty_report() {
    let house = House::open().await;
    let service = house.service().await;
    for number in 0..3 {
        house.issue(&service, &format!("host{number}")).await;
    }
    aged(&house).await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.open, report.repaired, report.alarms, report.resolved), (0, 0, 0, 0));
    assert!(report.compared >= 3);
}

#[tokio::test]
async fn a_certificate_missing_in_the_inventory_is_put_back_if_core_ordered_it() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    house.issue(&service, "rogue").await;
    aged(&house).await;
    house
        .tamper_with_core(
            "DELETE FROM certificate_metadata;
             UPDATE workflow_instances SET operation_id = gen_random_uuid()
             WHERE context -> 'certificate' -> 'sans' ->> 0 = 'dns:rogue.example.com'",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    // The rogue's request is one that nobody ordered, and its operation is without request.
    assert_eq!((report.repaired, report.alarms), (1, 3));
    assert_eq!(house.count_in_core("SELECT count(*) FROM certificate_metadata").await, 1);
    let found = findings(&house, "certificate_without_metadata").await;
    assert_eq!(found.len(), 2);
    // Nobody is told of a repair as of a new certificate.
    let told = "SELECT count(*) FROM notifications WHERE kind = 'certificate.issued'";
    assert_eq!(house.count_in_core(told).await, 2);
    let again = house.core.compare_databases().await.unwrap();
    assert_eq!((again.repaired, again.alarms), (0, 3));
}

#[tokio::test]
async fn metadata_without_a_certificate_is_an_alarm_until_it_is_gone() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    aged(&house).await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata SET certificate_id = '01900000-0000-7000-8000-00000000cdef'",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    // The certificate itself now lacks its metadata, and has one right answer.
    assert_eq!((report.repaired, report.alarms), (1, 1));
    assert_eq!(findings(&house, "metadata_without_certificate").await[0].status, "alarm");
    house
        .tamper_with_core(
            "DELETE FROM certificate_metadata WHERE certificate_id = '01900000-0000-7000-8000-00000000cdef'",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.alarms, report.resolved), (0, 1));
}

#[tokio::test]
async fn a_status_that_differs_is_set_to_what_secure_says() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    aged(&house).await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata
             SET status = 'on_hold', revocation_reason = 'certificateHold', revoked_at = now()",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.repaired, report.alarms), (1, 0));
    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    assert_eq!(listed.items[0].status, CertificateStatus::Active);
    assert_eq!((listed.items[0].revoked_at, listed.items[0].revocation_reason.as_deref()), (None, None));
    let audited = "SELECT count(*) FROM audit_log WHERE action = 'certificate.repair'
         AND before_state ->> 'status' = 'on_hold' AND after_state ->> 'status' = 'active'";
    assert_eq!(house.count_in_core(audited).await, 1);
}

#[tokio::test]
async fn a_repaired_revocation_has_the_date_and_reason_of_secure() {
    let house = House::open().await;
    let service = house.service().await;
    for name in ["known", "missing"] {
        let id = house.issue(&service, name).await.record.certificate_id;
        let new =
            NewRevocation { reason: RevocationReason::KeyCompromise, invalidity_date: None, comment: None };
        house.core.revoke_certificate(&service, id, new, WAIT).await.unwrap();
    }
    aged(&house).await;
    house
        .tamper_with_core(
            "CREATE TABLE revocation AS SELECT certificate_id, revoked_at, revocation_reason FROM certificate_metadata;
             UPDATE certificate_metadata SET status = 'active', revoked_at = NULL, revocation_reason = NULL;
             DELETE FROM certificate_metadata WHERE sans = '{dns:missing.example.com}'",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.repaired, report.alarms), (2, 0));
    let as_before = "SELECT count(*) FROM certificate_metadata
         JOIN revocation USING (certificate_id, revoked_at, revocation_reason) WHERE status = 'revoked'";
    assert_eq!(house.count_in_core(as_before).await, 2);
}

#[tokio::test]
async fn a_revocation_is_never_taken_back() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    aged(&house).await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata
             SET status = 'revoked', revocation_reason = 'keyCompromise', revoked_at = now()",
        )
        .await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.repaired, report.alarms), (0, 1));
    let kept = "SELECT count(*) FROM certificate_metadata WHERE status = 'revoked'";
    assert_eq!(house.count_in_core(kept).await, 1);
}

#[tokio::test]
async fn a_hold_and_its_end_that_nobody_ordered_are_two_findings() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    let hold =
        NewRevocation { reason: RevocationReason::CertificateHold, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, id, hold, WAIT).await.unwrap();
    house.core.release_certificate(&service, id, None, WAIT).await.unwrap();
    aged(&house).await;
    house
        .tamper_with_secure(
            "SET session_replication_role = replica;
             UPDATE certificate_revocations SET operation_id = gen_random_uuid(), released_operation_id = gen_random_uuid()",
        )
        .await;
    for _ in 0..2 {
        let report = house.core.compare_databases().await.unwrap();
        assert_eq!((report.alarms, report.resolved), (4, 0));
    }
    assert_eq!(findings(&house, "revocation_without_instance").await.len(), 2);
    assert_eq!(findings(&house, "instance_without_revocation").await.len(), 2);
}

#[tokio::test]
async fn what_nobody_approved_is_taken_over_with_an_alarm_until_it_is_revoked() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "sound").await;
    house.issue(&service, "rogue").await;
    // As if Secure had issued it while the request was rejected in Core.
    house
        .tamper_with_core(
            "DELETE FROM certificate_metadata WHERE sans = '{dns:rogue.example.com}';
             DELETE FROM notifications;
             UPDATE workflow_instances SET status = 'rejected', certificate_id = NULL
                 WHERE context -> 'certificate' -> 'sans' ->> 0 = 'dns:rogue.example.com'",
        )
        .await;
    house.follow().await;
    let audited = "SELECT count(*) FROM audit_log a JOIN certificate_metadata m ON m.certificate_id = a.object_id
         WHERE a.action = 'certificate.issue' AND a.detail = 'issued without approval: the request was rejected'";
    assert_eq!(house.count_in_core(audited).await, 1);
    for _ in 0..2 {
        let report = house.core.compare_databases().await.unwrap();
        assert_eq!((report.open, report.repaired, report.alarms, report.resolved), (0, 0, 1, 0));
    }
    let found = findings(&house, "issued_without_approval").await;
    assert_eq!((found.len(), found[0].side.as_str(), found[0].status.as_str()), (1, "secure", "alarm"));
    let new = NewRevocation { reason: RevocationReason::KeyCompromise, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, found[0].object_id.into(), new, WAIT).await.unwrap();
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.alarms, report.resolved), (0, 1));
}

#[tokio::test]
async fn one_run_at_a_time_whichever_process_it_is_in() {
    let house = House::open().await;
    let pool = house.databases.core.superuser().await;
    let mut other = pool.acquire().await.unwrap();
    let lock = "SELECT pg_advisory_lock(hashtextextended('clm.integrity', 0))";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    assert_eq!(refused(house.core.compare_databases().await), ErrorCode::Conflict);
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *other).await.unwrap();
    for _ in 0..2 {
        house.core.compare_databases().await.unwrap();
    }
}

#[tokio::test]
async fn references_to_what_is_gone_are_reported_on_either_side() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    aged(&house).await;
    house
        .tamper_with_secure(
            "UPDATE certificates SET owner_user_id = gen_random_uuid(), policy_id = gen_random_uuid()
             WHERE category = 'leaf'",
        )
        .await;
    house.tamper_with_core("UPDATE users SET deleted_at = now() WHERE username = 'robot'").await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.open, report.repaired, report.alarms), (2, 1, 1));
    assert_eq!(findings(&house, "owner_missing").await[0].side, "both");
    assert_eq!(findings(&house, "policy_missing").await[0].side, "secure");
    // What is found again is where it is now.
    house.tamper_with_core("UPDATE users SET deleted_at = NULL").await;
    house
        .tamper_with_secure(
            "UPDATE certificates SET owner_user_id = gen_random_uuid() WHERE category = 'leaf'",
        )
        .await;
    house.core.compare_databases().await.unwrap();
    assert_eq!(findings(&house, "owner_missing").await[0].side, "secure");
}

#[tokio::test]
async fn an_operation_that_does_not_end_is_reported() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    house
        .tamper_with_core(
            "UPDATE workflow_instances SET status = 'executing', completed_at = NULL, updated_at = updated_at - interval '1 hour'",
        )
        .await;
    house.core.compare_databases().await.unwrap();
    assert_eq!(findings(&house, "operation_stuck").await.len(), 1);
    // However many there are, each stays reported until it ends.
    house
        .tamper_with_core(
            "INSERT INTO workflow_instances (organization_id, operation_id, instance_type, requester_user_id, status,
                 created_at, updated_at)
             SELECT organization_id, gen_random_uuid(), instance_type, requester_user_id, status, created_at, updated_at
             FROM workflow_instances, generate_series(1, 1100)",
        )
        .await;
    for _ in 0..2 {
        let report = house.core.compare_databases().await.unwrap();
        assert_eq!((report.open, report.resolved), (1_101, 0));
    }
}
