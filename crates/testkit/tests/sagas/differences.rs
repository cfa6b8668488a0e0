//! Every kind of difference between the databases, planted alone or with what follows from it.

use std::collections::BTreeSet;

use clm_core::Ctx;
use clm_core::certificates::CertificateQuery;
use clm_core::renewals::NewRenewal;
use clm_core::revocations::NewRevocation;
use clm_types::{CertificateId, RevocationReason};

use crate::house::{FIRST, House, WAIT};
use crate::integrity::aged;

/// Kind, side and status.
type Seen = (String, String, String);

/// What is not resolved, and what was ever repaired.
async fn seen(house: &House) -> BTreeSet<Seen> {
    house.core.compare_databases().await.unwrap();
    let administrator = house.administrator().await;
    let all = house.core.list_findings(&administrator, None, FIRST).await.unwrap().items;
    let lasting = all.into_iter().filter(|finding| finding.status != "resolved");
    lasting.map(|finding| (finding.kind, finding.side, finding.status)).collect()
}

fn expected(seen: &[(&str, &str, &str)]) -> BTreeSet<Seen> {
    seen.iter().map(|(kind, side, status)| ((*kind).into(), (*side).into(), (*status).into())).collect()
}

/// Certificates `www0`, `www1`, … made by a program and old enough.
async fn with_certificates(count: usize) -> (House, Ctx) {
    let house = House::open().await;
    let service = house.service().await;
    for number in 0..count {
        house.issue(&service, &format!("www{number}")).await;
    }
    aged(&house).await;
    (house, service)
}

#[tokio::test]
async fn what_was_settled_at_issuance_differs_on_neither_side() {
    let (house, _) = with_certificates(3).await;
    house
        .tamper_with_secure(
            "UPDATE certificates SET policy_id = NULL WHERE sans ->> 0 = 'dns:www0.example.com';
             UPDATE certificates SET operation_id = gen_random_uuid() WHERE sans ->> 0 = 'dns:www1.example.com';
             UPDATE certificates SET organization_id = NULL WHERE sans ->> 0 = 'dns:www2.example.com';
             UPDATE private_keys SET organization_id = NULL WHERE certificate_id =
                 (SELECT certificate_id FROM certificates WHERE sans ->> 0 = 'dns:www2.example.com')",
        )
        .await;
    let alarms = [
        ("policy_differs", "both", "alarm"),
        ("operation_differs", "both", "alarm"),
        ("certificate_without_organization", "secure", "alarm"),
    ];
    assert_eq!(seen(&house).await, expected(&alarms));
}

#[tokio::test]
async fn the_same_in_core_is_found_as_well() {
    let (house, _) = with_certificates(3).await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata SET policy_id = NULL WHERE sans[1] = 'dns:www0.example.com';
             UPDATE certificate_metadata SET operation_id = NULL WHERE sans[1] = 'dns:www1.example.com';
             INSERT INTO organizations (id, org_code, org_name, created_at, updated_at)
                 VALUES ('01900000-0000-7000-8000-0000000000aa', 'other', 'Other', now(), now());
             UPDATE certificate_metadata SET policy_id = NULL, organization_id = '01900000-0000-7000-8000-0000000000aa'
                 WHERE sans[1] = 'dns:www2.example.com'",
        )
        .await;
    let alarms = [
        ("policy_differs", "both", "alarm"),
        ("operation_differs", "both", "alarm"),
        ("organization_differs", "both", "alarm"),
    ];
    assert_eq!(seen(&house).await, expected(&alarms));
}

#[tokio::test]
async fn what_no_ceremony_explains_is_an_alarm() {
    let (house, _) = with_certificates(2).await;
    house
        .tamper_with_secure(
            "SET session_replication_role = replica;
             INSERT INTO certificates SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(),
                 'certificate_id', gen_random_uuid(), 'operation_id', gen_random_uuid(), 'serial_number',
                 '\\x0102', 'fingerprint_sha256', '\\x' || repeat('ab', 32)))).*
                 FROM certificates c WHERE category = 'authority' LIMIT 1;
             UPDATE certificates SET category = 'responder' WHERE sans ->> 0 = 'dns:www0.example.com'",
        )
        .await;
    assert_eq!(seen(&house).await, expected(&[("certificate_unexplained", "secure", "alarm")]));
    let both = "SELECT count(*) FROM integrity_findings WHERE kind = 'certificate_unexplained'";
    assert_eq!(house.count_in_core(both).await, 2);
}

#[tokio::test]
async fn keys_and_revocations_of_secure_fit_their_certificates() {
    let (house, _) = with_certificates(4).await;
    house
        .tamper_with_secure(
            "SET session_replication_role = replica;
             UPDATE private_keys SET organization_id = gen_random_uuid() WHERE certificate_id =
                 (SELECT certificate_id FROM certificates WHERE sans ->> 0 = 'dns:www0.example.com');
             UPDATE private_keys SET certificate_id = gen_random_uuid() WHERE certificate_id =
                 (SELECT certificate_id FROM certificates WHERE sans ->> 0 = 'dns:www1.example.com');
             INSERT INTO certificate_revocations (certificate_id, operation_id, authority_id, serial_number, reason_code, reason,
                 revocation_date, ocsp_status, hold_released_at, created_at, updated_at)
                 SELECT gen_random_uuid(), gen_random_uuid(), authority_id, '\\x01', 6, 'certificateHold', now(), 'revoked', now(),
                     now(), now() - interval '1 hour'
                 FROM certificates WHERE sans ->> 0 = 'dns:www2.example.com';
             INSERT INTO certificate_revocations (certificate_id, operation_id, authority_id, serial_number, reason_code, reason,
                 revocation_date, ocsp_status, created_at, updated_at)
                 SELECT certificate_id, gen_random_uuid(), authority_id, serial_number, 4, 'superseded', now(), 'revoked',
                     now(), now() - interval '1 hour'
                 FROM certificates WHERE sans ->> 0 = 'dns:www3.example.com'",
        )
        .await;
    let alarms = [
        ("private_key_differs", "secure", "alarm"),
        ("private_key_without_certificate", "secure", "alarm"),
        ("revocation_without_certificate", "secure", "alarm"),
        ("revocation_inconsistent", "secure", "alarm"),
        ("revocation_without_instance", "secure", "alarm"),
    ];
    assert_eq!(seen(&house).await, expected(&alarms));
}

#[tokio::test]
async fn requests_and_revocations_have_their_operation_and_the_other_way_round() {
    let (house, service) = with_certificates(4).await;
    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    let id = listed.items.iter().find(|it| it.sans == ["dns:www3.example.com"]).unwrap().id;
    revoke(&house, &service, id).await;
    aged(&house).await;
    house
        .tamper_with_secure(
            "SET session_replication_role = replica;
             UPDATE certificate_requests SET operation_id = gen_random_uuid() WHERE sans ->> 0 = 'dns:www0.example.com';
             UPDATE certificate_requests SET policy_id = gen_random_uuid() WHERE sans ->> 0 = 'dns:www1.example.com';
             UPDATE certificate_requests SET status = 'pending', certificate_id = NULL WHERE sans ->> 0 = 'dns:www2.example.com';
             UPDATE certificate_revocations SET operation_id = gen_random_uuid()",
        )
        .await;
    let alarms = [
        ("request_without_instance", "secure", "alarm"),
        ("instance_without_request", "core", "alarm"),
        ("request_differs", "both", "alarm"),
        ("request_status_differs", "both", "alarm"),
        ("revocation_without_instance", "secure", "alarm"),
        ("instance_without_revocation", "core", "alarm"),
    ];
    assert_eq!(seen(&house).await, expected(&alarms));
}

#[tokio::test]
async fn what_core_says_of_requests_and_revocations_is_compared_too() {
    let (house, service) = with_certificates(3).await;
    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    revoke(&house, &service, listed.items[0].id).await;
    aged(&house).await;
    house
        .tamper_with_core(
            "UPDATE workflow_instances SET context = jsonb_set(context, '{revocation,reason}', '\"keyCompromise\"')
                 WHERE instance_type = 'revocation';
             UPDATE workflow_instances SET status = 'cancelled'
                 WHERE context -> 'certificate' -> 'sans' ->> 0 = 'dns:www0.example.com';
             UPDATE workflow_instances SET certificate_id = gen_random_uuid()
                 WHERE context -> 'certificate' -> 'sans' ->> 0 = 'dns:www1.example.com'",
        )
        .await;
    let found = [
        ("request_differs", "both", "alarm"),
        ("request_status_differs", "both", "alarm"),
        ("instance_without_certificate", "core", "open"),
    ];
    assert_eq!(seen(&house).await, expected(&found));
    let both = "SELECT count(*) FROM integrity_findings WHERE kind = 'request_differs'";
    assert_eq!(house.count_in_core(both).await, 2);
}

#[tokio::test]
async fn an_operation_whose_job_is_lost_is_carried_on() {
    let house = House::open().await;
    let (service, alice) = (house.service().await, house.hire("alice", clm_core::roles::REQUESTER).await);
    house.issue(&service, "lost").await;
    house.ask(&alice, "waiting").await;
    house.ask(&alice, "taken-back").await;
    aged(&house).await;
    house
        .tamper_with_core(
            "DELETE FROM jobs;
             UPDATE workflow_instances SET status = 'executing', completed_at = NULL, certificate_id = NULL
                 WHERE status = 'completed';
             DELETE FROM certificate_metadata;
             DELETE FROM notifications;
             UPDATE workflow_instances SET status = 'cancelled'
                 WHERE context -> 'certificate' -> 'sans' ->> 0 = 'dns:taken-back.example.com';
             UPDATE workflow_instances SET updated_at = updated_at - interval '1 hour'",
        )
        .await;
    house
        .tamper_with_secure(
            "SET session_replication_role = replica;
             DELETE FROM certificate_requests WHERE sans ->> 0 <> 'dns:taken-back.example.com';
             DELETE FROM certificates WHERE category = 'leaf';
             DELETE FROM private_keys WHERE organization_id IS NOT NULL;
             DELETE FROM issuance_intents WHERE request_id IS NOT NULL;
             DELETE FROM operations",
        )
        .await;
    let found = [
        ("instance_without_request", "core", "repaired"),
        ("request_status_differs", "secure", "repaired"),
        ("operation_stuck", "core", "open"),
    ];
    assert_eq!(seen(&house).await, expected(&found));
    house.settle().await;
    let issued = "SELECT count(*) FROM certificate_metadata WHERE sans = '{dns:lost.example.com}'";
    assert_eq!(house.count_in_core(issued).await, 1);
    let states = "SELECT count(*) FROM certificate_requests WHERE (status, sans ->> 0) IN
        (('pending', 'dns:waiting.example.com'), ('rejected', 'dns:taken-back.example.com'))";
    assert_eq!(house.count_in_secure(states).await, 2);
    let audited = "SELECT count(*) FROM audit_log WHERE action = 'request.repair'";
    assert_eq!(house.count_in_core(audited).await, 3);
}

#[tokio::test]
async fn links_and_dates_are_set_to_what_secure_says() {
    let house = House::open().await;
    let service = house.service().await;
    for name in ["renewed", "revoked", "held"] {
        let id = house.issue(&service, name).await.record.certificate_id;
        match name {
            "renewed" => {
                house.core.renew_certificate(&service, id, NewRenewal::default(), WAIT).await.unwrap();
            }
            _ => revoke(&house, &service, id).await,
        }
    }
    aged(&house).await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata SET renewal_of_certificate_id = NULL;
             UPDATE certificate_metadata SET renewed_by_certificate_id = gen_random_uuid() WHERE renewed_by_certificate_id IS NOT NULL;
             UPDATE certificate_metadata SET revoked_at = now() WHERE sans = '{dns:revoked.example.com}';
             UPDATE certificate_metadata SET revocation_reason = 'keyCompromise' WHERE sans = '{dns:held.example.com}'",
        )
        .await;
    let repaired = [("renewal_differs", "core", "repaired"), ("revocation_differs", "core", "repaired")];
    assert_eq!(seen(&house).await, expected(&repaired));
    let linked = "SELECT count(*) FROM certificate_metadata old JOIN certificate_metadata new
        ON new.renewal_of_certificate_id = old.certificate_id AND old.renewed_by_certificate_id = new.certificate_id";
    assert_eq!(house.count_in_core(linked).await, 1);
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.open, report.repaired, report.alarms), (0, 0, 0));
    let audited = "SELECT count(*) FROM audit_log WHERE action = 'certificate.repair'";
    assert_eq!(house.count_in_core(audited).await, 4);
}

#[tokio::test]
async fn a_message_about_no_certificate_is_reported() {
    let (house, _) = with_certificates(1).await;
    house.tamper_with_core("UPDATE notifications SET related_certificate_id = gen_random_uuid()").await;
    assert_eq!(seen(&house).await, expected(&[("notification_without_certificate", "core", "open")]));
}

async fn revoke(house: &House, service: &Ctx, id: CertificateId) {
    let new = NewRevocation { reason: RevocationReason::Superseded, invalidity_date: None, comment: None };
    house.core.revoke_certificate(service, id, new, WAIT).await.unwrap();
}

#[tokio::test]
async fn an_id_hides_nothing_whatever_time_it_tells() {
    let (house, _) = with_certificates(2).await;
    house
        .tamper_with_core(
            "DELETE FROM notifications;
             DELETE FROM workflow_instances;
             UPDATE certificate_metadata SET certificate_id = gen_random_uuid() WHERE sans[1] = 'dns:www0.example.com';
             UPDATE certificate_metadata SET certificate_id = 'ffffffff-0000-7000-8000-000000000000'
                 WHERE sans[1] = 'dns:www1.example.com'",
        )
        .await;
    let alarms = [
        ("metadata_without_certificate", "core", "alarm"),
        ("certificate_without_metadata", "secure", "alarm"),
        ("request_without_instance", "secure", "alarm"),
    ];
    assert_eq!(seen(&house).await, expected(&alarms));
    let both = "SELECT count(*) FROM integrity_findings WHERE kind = 'metadata_without_certificate'";
    assert_eq!(house.count_in_core(both).await, 2);
}
