use clm_core::certificates::CertificateQuery;
use clm_core::revocations::NewRevocation;
use clm_types::{CertificateStatus, RevocationReason};

use crate::house::{FIRST, House, WAIT};
use crate::integrity::aged;

const END_ALL: &str = "UPDATE certificate_metadata SET not_before = now() - interval '1 day', not_after = now() - interval '1 second'";
const END_ALL_IN_SECURE: &str = "SET session_replication_role = replica;
    UPDATE certificates SET not_before = now() - interval '1 day', not_after = now() - interval '1 second' WHERE category = 'leaf'";

/// An active one, one on hold and a revoked one, all ended since.
async fn with_ended() -> House {
    let house = House::open().await;
    let service = house.service().await;
    let reasons = [None, Some(RevocationReason::CertificateHold), Some(RevocationReason::KeyCompromise)];
    for (name, reason) in ["active", "held", "revoked"].into_iter().zip(reasons) {
        let id = house.issue(&service, name).await.record.certificate_id;
        if let Some(reason) = reason {
            let new = NewRevocation { reason, invalidity_date: None, comment: None };
            house.core.revoke_certificate(&service, id, new, WAIT).await.unwrap();
        }
    }
    aged(&house).await;
    house.tamper_with_core(END_ALL).await;
    house.tamper_with_secure(END_ALL_IN_SECURE).await;
    house
}

#[tokio::test]
async fn what_has_ended_is_shown_and_written_down_as_expired() {
    let house = with_ended().await;
    let administrator = house.administrator().await;
    let count = async |status| {
        let query = CertificateQuery { status: Some(status), ..CertificateQuery::default() };
        let listed = house.core.list_certificates(&administrator, &query, FIRST).await.unwrap();
        assert!(listed.items.iter().all(|it| it.status == status));
        listed.items.len()
    };
    for _ in 0..2 {
        assert_eq!(count(CertificateStatus::Expired).await, 2);
        assert_eq!(count(CertificateStatus::OnHold).await, 0);
        assert_eq!(count(CertificateStatus::Active).await, 0);
        assert_eq!(count(CertificateStatus::Revoked).await, 1);
        // Before and after it is written down.
        house.core.expire_certificates().await.unwrap();
    }
    let audited =
        "SELECT count(*) FROM audit_log a JOIN certificate_metadata m ON m.certificate_id = a.object_id
         WHERE a.action = 'certificate.expire' AND a.after_state ->> 'status' = m.status
           AND a.before_state ->> 'status' = CASE WHEN m.revoked_at IS NULL THEN 'active' ELSE 'on_hold' END";
    assert_eq!(house.count_in_core(audited).await, 2);
    assert_eq!(house.core.expire_certificates().await.unwrap(), 0);
}

#[tokio::test]
async fn secure_marks_them_too_and_forgets_no_revocation() {
    let house = with_ended().await;
    assert_eq!(house.secure.expire_certificates().await.unwrap(), 2);
    assert_eq!(house.secure.expire_certificates().await.unwrap(), 0);
    let kept = "SELECT count(*) FROM certificates WHERE category = 'leaf'
         AND (status, coalesce(revocation_reason, '')) IN (('expired', ''), ('expired', 'certificateHold'), ('revoked', 'keyCompromise'))
         AND (revoked_at IS NULL) = (revocation_reason IS NULL)";
    assert_eq!(house.count_in_secure(kept).await, 3);
    let told = "SELECT count(*) FROM secure_audit_log a JOIN events e ON e.operation_id = a.operation_id
         WHERE a.action = 'certificate.expire' AND e.kind = 'certificate.expired' AND e.certificate_id = a.object_id";
    assert_eq!(house.count_in_secure(told).await, 2);
    assert!(house.secure.verify_audit(|_| {}).await.unwrap().is_ok());
    house.follow().await;
    // Each side writes it down in its own time: no difference before, nor after.
    for _ in 0..2 {
        let report = house.core.compare_databases().await.unwrap();
        assert_eq!((report.open, report.repaired, report.alarms), (0, 0, 0));
        house.core.expire_certificates().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_marked_as_expired_too_early_is_an_alarm_and_can_be_revoked() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    house.issue(&service, "held").await;
    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    let held = listed.items.iter().find(|it| it.sans == ["dns:held.example.com"]).unwrap().id;
    let revoke = async |id, reason| {
        let new = NewRevocation { reason, invalidity_date: None, comment: None };
        house.core.revoke_certificate(&service, id, new, WAIT).await.unwrap();
    };
    revoke(held, RevocationReason::CertificateHold).await;
    aged(&house).await;
    house.tamper_with_secure("UPDATE certificates SET status = 'expired' WHERE category = 'leaf'").await;
    house.tamper_with_core("UPDATE certificate_metadata SET status = 'expired'").await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.open, report.repaired, report.alarms), (0, 0, 2));
    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    for certificate in &listed.items {
        assert_ne!(certificate.status, CertificateStatus::Expired);
        revoke(certificate.id, RevocationReason::KeyCompromise).await;
    }
    let revoked =
        "SELECT count(*) FROM certificates WHERE status = 'revoked' AND revocation_reason = 'keyCompromise'";
    assert_eq!(house.count_in_secure(revoked).await, 2);
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.alarms, report.resolved), (0, 2));
}

#[tokio::test]
async fn an_ended_hold_that_the_inventory_lost_comes_back_with_its_date() {
    let house = with_ended().await;
    house.secure.expire_certificates().await.unwrap();
    house.tamper_with_core("DELETE FROM certificate_metadata WHERE sans = '{dns:held.example.com}'").await;
    let report = house.core.compare_databases().await.unwrap();
    assert_eq!((report.open, report.repaired, report.alarms), (0, 1, 0));
    let back = "SELECT count(*) FROM certificate_metadata
         WHERE status = 'expired' AND revoked_at IS NOT NULL AND revocation_reason = 'certificateHold'";
    assert_eq!(house.count_in_core(back).await, 1);
}
