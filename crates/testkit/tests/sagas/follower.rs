use clm_core::revocations::NewRevocation;
use clm_types::{CertificateStatus, RevocationReason, WorkflowStatus};

use crate::house::{House, WAIT};

/// As if the process had died after Secure had answered.
const FORGET: &str = "DELETE FROM certificate_metadata; DELETE FROM notifications;
    UPDATE workflow_instances SET status = 'executing', certificate_id = NULL, completed_at = NULL
    WHERE instance_type <> 'revocation'";

#[tokio::test]
async fn what_secure_did_is_reflected_without_its_saga() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    house.tamper_with_core(FORGET).await;
    house.follow().await;
    let certificate = house.core.show_certificate(&service, id).await.unwrap();
    assert_eq!(certificate.status, CertificateStatus::Active);
    let request = house.core.show_request(&service, certificate.request_id.unwrap()).await.unwrap();
    assert_eq!(request.status, WorkflowStatus::Completed);
}

#[tokio::test]
async fn saga_follower_and_another_process_at_once_tell_the_owner_once() {
    let house = House::open().await;
    let service = house.service().await;
    for number in 0..20 {
        house.issue(&service, &format!("host{number}")).await;
    }
    house.tamper_with_core(FORGET).await;
    house
        .tamper_with_core(
            "INSERT INTO jobs (kind, operation_id, organization_id, status, run_at, created_at, updated_at)
             SELECT 'issue', operation_id, organization_id, 'queued', created_at, created_at, created_at FROM workflow_instances",
        )
        .await;
    let (second, third) = (house.second_core().await, house.second_core().await);
    let follow = async {
        house.follow().await;
    };
    tokio::join!(follow, house.settle_with(&second), async { while third.follow().await.unwrap() > 0 {} });
    house.settle().await;
    assert_eq!(house.count_in_core("SELECT count(*) FROM certificate_metadata").await, 20);
    assert_eq!(
        house.count_in_core("SELECT count(*) FROM notifications WHERE kind = 'certificate.issued'").await,
        20
    );
    let open = "SELECT count(*) FROM workflow_instances WHERE status <> 'completed'";
    assert_eq!(house.count_in_core(open).await, 0);
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn a_late_saga_does_not_undo_what_came_after() {
    let house = House::open().await;
    let service = house.service().await;
    let id = house.issue(&service, "www").await.record.certificate_id;
    for reason in [RevocationReason::CertificateHold, RevocationReason::KeyCompromise] {
        let new = NewRevocation { reason, invalidity_date: None, comment: None };
        house.core.revoke_certificate(&service, id, new, WAIT).await.unwrap();
    }
    // The hold's saga comes back to life.
    house
        .tamper_with_core(
            "UPDATE workflow_instances SET status = 'executing', completed_at = NULL
             WHERE id = (SELECT id FROM workflow_instances WHERE instance_type = 'revocation' ORDER BY id LIMIT 1);
             INSERT INTO jobs (kind, operation_id, organization_id, status, run_at, created_at, updated_at)
             SELECT 'revoke', operation_id, organization_id, 'queued', created_at, created_at, created_at
             FROM workflow_instances WHERE status = 'executing'",
        )
        .await;
    house.settle().await;
    let certificate = house.core.show_certificate(&service, id).await.unwrap();
    assert_eq!(certificate.status, CertificateStatus::Revoked);
    assert_eq!(certificate.revocation_reason.as_deref(), Some("keyCompromise"));
    assert_eq!(
        house.count_in_core("SELECT count(*) FROM workflow_instances WHERE status <> 'completed'").await,
        0
    );
}

#[tokio::test]
async fn a_copy_reflects_nothing_while_another_one_does() {
    let house = House::open().await;
    house.follow().await;
    house.issue(&house.service().await, "www").await;
    let pool = house.databases.core.superuser().await;
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM follower_positions FOR UPDATE").execute(&mut *other).await.unwrap();
    assert_eq!(house.core.follow().await.unwrap(), 0);
    other.rollback().await.unwrap();
    assert!(house.core.follow().await.unwrap() > 0);
}
