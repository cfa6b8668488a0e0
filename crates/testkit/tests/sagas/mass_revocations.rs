//! Revoking many certificates by one decision of two people.

use clm_core::Ctx;
use clm_core::mass_revocations::{NewMassRevocation, Selection};
use clm_core::page::PageRequest;
use clm_types::{
    CertificateId, CertificateStatus, ErrorCode, IssuedCertificate, MassRevocationId, RevocationReason,
    RoleId,
};
use clm_x509::ocsp::{CertId, CertStatus, OcspRequest, OcspResponse};

use crate::house::{FIRST, House, WAIT, generated, refused};

/// The built-in role that decides on requests.
const APPROVER: RoleId = RoleId(uuid::uuid!("01900000-0000-7000-8000-000000000003"));

fn of(selection: Selection) -> NewMassRevocation {
    NewMassRevocation {
        selection,
        reason: RevocationReason::KeyCompromise,
        invalidity_date: None,
        comment: Some("the host was broken into".to_owned()),
    }
}

fn named(ids: &[CertificateId]) -> NewMassRevocation {
    of(Selection { certificate_ids: Some(ids.to_vec()), ..Selection::default() })
}

async fn issue(house: &House, ctx: &Ctx, many: usize) -> Vec<CertificateId> {
    let mut ids = Vec::new();
    for number in 0..many {
        ids.push(house.issue(ctx, &format!("www{number}")).await.record.certificate_id);
    }
    ids
}

/// Carries out everything that is approved.
async fn run(house: &House) {
    while house.core.revoke_next_batches().await.unwrap() {}
}

async fn approved(house: &House, ctx: &Ctx, new: &NewMassRevocation) -> MassRevocationId {
    let approver = house.hire("bob", APPROVER).await;
    let id = house.core.create_mass_revocation(ctx, new).await.unwrap().id.into();
    house.core.approve_mass_revocation(&approver, id).await.unwrap();
    id
}

async fn status(house: &House, ctx: &Ctx, id: CertificateId) -> CertificateStatus {
    house.core.show_certificate(ctx, id).await.unwrap().status
}

#[tokio::test]
async fn what_was_planned_is_revoked_once_another_person_approves() {
    let house = House::open().await;
    let (service, approver) = (house.service().await, house.hire("carol", APPROVER).await);
    let ids = issue(&house, &service, 5).await;
    let new = named(&ids[..4]);
    let impact = house.core.plan_mass_revocation(&service, &new).await.unwrap();
    assert_eq!((impact.certificates, impact.authorities.len(), impact.owners.len()), (4, 1, 1));
    assert_eq!(
        house.count_in_core("SELECT count(*) FROM mass_revocations").await,
        0,
        "a plan writes nothing"
    );
    let created = house.core.create_mass_revocation(&service, &new).await.unwrap();
    let id = created.id.into();
    run(&house).await;
    assert_eq!(status(&house, &service, ids[0]).await, CertificateStatus::Active, "nobody approved it");
    let own = house.core.approve_mass_revocation(&service, id).await;
    assert!(matches!(refused(own), ErrorCode::SelfApproval | ErrorCode::PermissionDenied));
    house.core.approve_mass_revocation(&approver, id).await.unwrap();
    let again = house.core.approve_mass_revocation(&approver, id).await;
    assert_eq!(refused(again), ErrorCode::WorkflowNotPending);
    run(&house).await;
    let done = house.core.show_mass_revocation(&service, id).await.unwrap();
    assert_eq!((done.status.as_str(), done.revoked_count, done.refused_count), ("completed", 4, 0));
    for (number, id) in ids.iter().enumerate() {
        let wanted = if number < 4 { CertificateStatus::Revoked } else { CertificateStatus::Active };
        assert_eq!(status(&house, &service, *id).await, wanted);
    }
    // Each is in both audit logs under its own operation, and the follower has nothing to add.
    house.follow().await;
    for query in [
        "SELECT count(*) FROM mass_revocation_items i JOIN audit_log a ON a.operation_id = i.operation_id
         WHERE a.action = 'certificate.revoked'",
        "SELECT count(*) FROM audit_log WHERE action = 'certificate.revoked'",
    ] {
        assert_eq!(house.count_in_core(query).await, 4, "{query}");
    }
    let recorded = "SELECT count(*) FROM certificate_revocations r JOIN secure_audit_log a ON a.operation_id = r.operation_id
                    WHERE a.action = 'certificate.revoke' AND r.comment = 'the host was broken into'";
    assert_eq!(house.count_in_secure(recorded).await, 4);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM blocked_keys").await, 4);
    let told = "SELECT count(*) FROM notifications WHERE title = 'Certificates were revoked'";
    assert_eq!(house.count_in_core(told).await, 1, "one message for all of an owner's");
    assert!(house.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_batch_whose_end_was_lost_has_one_effect() {
    let house = House::open().await;
    let service = house.service().await;
    let ids = issue(&house, &service, 3).await;
    let id = approved(&house, &service, &named(&ids)).await;
    run(&house).await;
    // As if Core had died before it wrote down what Secure did.
    house.tamper_with_core("UPDATE mass_revocation_items SET status = 'waiting'").await;
    house.tamper_with_core("UPDATE mass_revocations SET status = 'running', revoked_count = 0").await;
    house
        .tamper_with_core(
            "UPDATE certificate_metadata SET status = 'active', revoked_at = NULL, revocation_reason = NULL",
        )
        .await;
    run(&house).await;
    let done = house.core.show_mass_revocation(&service, id).await.unwrap();
    assert_eq!((done.status.as_str(), done.revoked_count, done.refused_count), ("completed", 3, 0));
    assert_eq!(status(&house, &service, ids[0]).await, CertificateStatus::Revoked);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM certificate_revocations").await, 3);
    let events = "SELECT count(*) FROM events WHERE kind = 'certificate.revoked'";
    assert_eq!(house.count_in_secure(events).await, 3);
}

#[tokio::test]
async fn what_cannot_be_revoked_any_more_is_told_and_holds_nothing_up() {
    let house = House::open().await;
    let service = house.service().await;
    let ids = issue(&house, &service, 3).await;
    let hold = clm_core::revocations::NewRevocation {
        reason: RevocationReason::CertificateHold,
        invalidity_date: None,
        comment: None,
    };
    house.core.revoke_certificate(&service, ids[1], hold.clone(), WAIT).await.unwrap();
    let id = approved(&house, &service, &named(&ids)).await;
    let gone = clm_core::revocations::NewRevocation { reason: RevocationReason::Superseded, ..hold };
    house.core.revoke_certificate(&service, ids[0], gone, WAIT).await.unwrap();
    run(&house).await;
    let done = house.core.show_mass_revocation(&service, id).await.unwrap();
    assert_eq!((done.status.as_str(), done.revoked_count, done.refused_count), ("completed", 2, 1));
    let items =
        house.core.list_mass_revocation_items(&service, id, Some("refused"), FIRST).await.unwrap().items;
    assert_eq!((items[0].certificate_id, items.len()), (ids[0].0, 1));
    assert_eq!(items[0].failure_code.as_deref(), Some("certificate_already_revoked"));
    assert_eq!(status(&house, &service, ids[1]).await, CertificateStatus::Revoked, "a hold becomes final");
    let ended = "SELECT count(*) FROM certificate_revocations WHERE hold_released_at IS NOT NULL AND ocsp_status = 'revoked'";
    assert_eq!(house.count_in_secure(ended).await, 1);
}

#[tokio::test]
async fn certificates_of_one_key_are_found_and_revoked_together() {
    let house = House::open().await;
    let service = house.service().await;
    let first = house.issue(&service, "www").await;
    let id = first.record.certificate_id;
    // Renewed with the same key, and another one.
    let renewal = clm_core::renewals::NewRenewal::default();
    let renewed = house.core.renew_certificate(&service, id, renewal, WAIT).await.unwrap();
    let renewed: IssuedCertificate = renewed.certificate.unwrap();
    let other = house.issue(&service, "other").await.record.certificate_id;
    let new = of(Selection { same_key_as: Some(id), ..Selection::default() });
    assert_eq!(house.core.plan_mass_revocation(&service, &new).await.unwrap().certificates, 2);
    approved(&house, &service, &new).await;
    run(&house).await;
    for (id, wanted) in [
        (id, CertificateStatus::Revoked),
        (renewed.record.certificate_id, CertificateStatus::Revoked),
        (other, CertificateStatus::Active),
    ] {
        assert_eq!(status(&house, &service, id).await, wanted);
    }
    assert_eq!(
        refused(house.core.plan_mass_revocation(&service, &of(Selection::default())).await),
        ErrorCode::InvalidRequest
    );
    let nothing = house.core.create_mass_revocation(&service, &new).await;
    assert_eq!(refused(nothing), ErrorCode::NothingSelected);
}

#[tokio::test]
async fn every_criterion_selects() {
    let house = House::open().await;
    let service = house.service().await;
    let issued = house.issue(&service, "www").await;
    let mut tagged = generated("tagged");
    tagged.labels.tags.insert("team".to_owned(), "web".to_owned());
    house.submit(&service, tagged).await.unwrap();
    let record = &issued.record;
    let (start, authority) = (record.not_before, record.authority_id);
    let hour = chrono::TimeDelta::hours(1);
    let base = Selection::default;
    for (selection, wanted) in [
        (Selection { everything: true, ..base() }, 2),
        (Selection { authority_id: Some(authority), ..base() }, 2),
        (Selection { profile: Some("tls-server".into()), ..base() }, 2),
        (Selection { profile: Some("tls-client".into()), ..base() }, 0),
        (Selection { owner_user_id: record.owner_user_id, ..base() }, 2),
        (Selection { owner_user_id: Some(uuid::Uuid::nil().into()), ..base() }, 0),
        (Selection { issued_after: Some(start - hour), ..base() }, 2),
        (Selection { issued_after: Some(start + hour), ..base() }, 0),
        (Selection { issued_before: Some(start - hour), ..base() }, 0),
        (Selection { expires_before: Some(record.not_after + hour), ..base() }, 2),
        (Selection { expires_before: Some(start + hour), ..base() }, 0),
        (Selection { san: Some("tagged.example.com".into()), ..base() }, 1),
        (Selection { tag: Some("team=web".into()), ..base() }, 1),
        (Selection { tag: Some("team".into()), ..base() }, 1),
        (Selection { tag: Some("team=db".into()), ..base() }, 0),
        (Selection { text: Some(record.serial_number[..8].into()), ..base() }, 1),
    ] {
        let asked = format!("{selection:?}");
        let impact = house.core.plan_mass_revocation(&service, &of(selection)).await.unwrap();
        assert_eq!(impact.certificates, wanted, "{asked}");
    }
}

#[tokio::test]
async fn one_that_is_cancelled_stops_and_another_organization_sees_none_of_it() {
    let house = House::open().await;
    let service = house.service().await;
    let ids = issue(&house, &service, 2).await;
    let id = approved(&house, &service, &named(&ids)).await;
    let elsewhere = house.elsewhere().await;
    assert_eq!(refused(house.core.show_mass_revocation(&elsewhere, id).await), ErrorCode::NotFound);
    assert_eq!(refused(house.core.cancel_mass_revocation(&elsewhere, id).await), ErrorCode::NotFound);
    let first = PageRequest { before: None, limit: 10 };
    assert_eq!(house.core.list_mass_revocations(&elsewhere, first).await.unwrap().items.len(), 0);
    assert_eq!(house.core.list_mass_revocations(&service, first).await.unwrap().items.len(), 1);
    let all_of_it = of(Selection { everything: true, ..Selection::default() });
    assert_eq!(house.core.plan_mass_revocation(&elsewhere, &all_of_it).await.unwrap().certificates, 0);
    house.core.cancel_mass_revocation(&service, id).await.unwrap();
    run(&house).await;
    assert_eq!(status(&house, &service, ids[0]).await, CertificateStatus::Active);
    assert_eq!(refused(house.core.cancel_mass_revocation(&service, id).await), ErrorCode::WorkflowNotPending);
}

#[tokio::test]
async fn a_batch_that_was_on_its_way_when_it_was_cancelled_is_written_down_and_no_other_follows() {
    let house = House::open().await;
    let service = house.service().await;
    let ids = issue(&house, &service, 2).await;
    for secure_was_first in [true, false] {
        let new = named(&ids[usize::from(!secure_was_first)..][..1]);
        let approver = house.hire(if secure_was_first { "dora" } else { "emil" }, APPROVER).await;
        let created = house.core.create_mass_revocation(&service, &new).await.unwrap().id.into();
        house.core.approve_mass_revocation(&approver, created).await.unwrap();
        if secure_was_first {
            run(&house).await;
            house.tamper_with_core("UPDATE mass_revocation_items SET status = 'waiting'").await;
            house
                .tamper_with_core("UPDATE certificate_metadata SET status = 'active', revoked_at = NULL, revocation_reason = NULL")
                .await;
            house.tamper_with_core("UPDATE mass_revocations SET status = 'running', revoked_count = 0").await;
        }
        house.core.cancel_mass_revocation(&service, created).await.unwrap();
        house
            .tamper_with_core("UPDATE mass_revocations SET locked_until = now() WHERE status = 'cancelled'")
            .await;
        run(&house).await;
        let ended = house.core.show_mass_revocation(&service, created).await.unwrap();
        assert_eq!((ended.status.as_str(), ended.revoked_count), ("cancelled", i64::from(secure_was_first)));
    }
    assert_eq!(status(&house, &service, ids[0]).await, CertificateStatus::Revoked);
    assert_eq!(status(&house, &service, ids[1]).await, CertificateStatus::Active);
    assert_eq!(
        house.count_in_core("SELECT count(*) FROM mass_revocations WHERE locked_until IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn a_kept_ocsp_answer_is_forgotten() {
    let house = House::open().await;
    let service = house.service().await;
    let issued = house.issue(&service, "www").await;
    let id = issued.record.certificate_id;
    let der = house.core.authority_certificate(issued.record.authority_id).await.unwrap();
    let issuer =
        clm_x509::IssuerInfo::from_certificate(&clm_x509::Certificate::parse(&der).unwrap()).unwrap();
    let request = OcspRequest {
        cert_ids: vec![CertId::new(&issuer, &issued.record.serial_number.parse().unwrap())],
        nonce: None,
    };
    let request = request.to_der();
    let ask = || async {
        let reply = house.core.ocsp(issued.record.authority_id, &request).await.unwrap();
        OcspResponse::parse(&reply.der).unwrap().responses[0].status
    };
    assert_eq!(ask().await, CertStatus::Good);
    approved(&house, &service, &named(&[id])).await;
    run(&house).await;
    assert!(matches!(ask().await, CertStatus::Revoked { .. }));
}

#[tokio::test]
async fn an_error_of_secure_is_tried_again_before_it_ends_anything() {
    let house = House::open().await;
    let service = house.service().await;
    let ids = issue(&house, &service, 2).await;
    let id = approved(&house, &service, &named(&ids)).await;
    house
        .tamper_with_secure(
            "CREATE FUNCTION clm.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'for now'; END $$;
             CREATE TRIGGER fail BEFORE INSERT ON clm.certificate_revocations FOR EACH ROW EXECUTE FUNCTION clm.fail()",
        )
        .await;
    for _ in 0..3 {
        assert!(house.core.revoke_next_batches().await.is_err());
    }
    let shown = house.core.show_mass_revocation(&service, id).await.unwrap();
    assert_eq!(shown.status, "running");
    house.tamper_with_secure("DROP TRIGGER fail ON clm.certificate_revocations").await;
    run(&house).await;
    let done = house.core.show_mass_revocation(&service, id).await.unwrap();
    assert_eq!((done.status.as_str(), done.revoked_count), ("completed", 2));
}
