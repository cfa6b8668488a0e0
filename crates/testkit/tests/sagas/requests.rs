use clm_core::AskedOperation;
use clm_core::audit::AuditQuery;
use clm_core::certificates::CertificateQuery;
use clm_core::policies::PolicyQuery;
use clm_core::request_context::Labels;
use clm_core::requests::{NewRequest, RequestQuery};
use clm_core::revocations::NewRevocation;
use clm_core::roles::REQUESTER;
use clm_types::{
    CertificateStatus, ErrorCode, KeySource, OperationId, PolicyId, Refusal, RequestId, RevocationReason,
    UserId, WorkflowStatus,
};
use clm_x509::Certificate;
use uuid::Uuid;

use crate::house::{FIRST, House, WAIT, generated, refused};

#[tokio::test]
async fn what_nobody_need_approve_is_issued_at_once_and_stands_in_both_databases() {
    let house = House::open().await;
    let service = house.service().await;
    let labels = Labels {
        tags: [("team".to_owned(), "web".to_owned())].into(),
        environment: Some("production".to_owned()),
        ..Labels::default()
    };
    let submitted = house.submit(&service, NewRequest { labels, ..generated("www") }).await.unwrap();
    let issued = submitted.certificate.unwrap();
    assert_eq!(submitted.request.status, WorkflowStatus::Completed);
    assert_eq!(submitted.request.certificate_id, Some(issued.record.certificate_id));

    let stored = house.core.show_request(&service, submitted.request.id).await.unwrap();
    assert_eq!(stored.status, WorkflowStatus::Completed);
    assert_eq!(stored.version, submitted.request.version);
    assert!(stored.approval_reason.unwrap().contains("auto-approval condition 1"));

    let listed = house.core.list_certificates(&service, &CertificateQuery::default(), FIRST).await.unwrap();
    let [certificate] = listed.items.as_slice() else { panic!("one certificate") };
    assert_eq!(certificate.id, issued.record.certificate_id);
    assert_eq!(certificate.status, CertificateStatus::Active);
    assert_eq!(certificate.key_source.as_deref(), Some(KeySource::Generated.as_str()));
    assert_eq!(certificate.labels.tags.get("team").map(String::as_str), Some("web"));
    assert_eq!(certificate.labels.environment.as_deref(), Some("production"));
    assert_eq!(certificate.owner.as_deref(), Some("robot"));
    let parsed = Certificate::parse_pem(&issued.pem).unwrap();
    assert_eq!(parsed.serial().to_string(), certificate.serial_number);
    assert_eq!(hex::encode(parsed.fingerprint()), certificate.fingerprint_sha256);

    let told = house.core.list_notifications(&house.administrator().await, false, FIRST).await.unwrap();
    assert!(told.items.is_empty(), "only the owner is told");
    assert_eq!(
        house.count_in_core("SELECT count(*) FROM notifications WHERE kind = 'certificate.issued'").await,
        1
    );
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
    let audited = "SELECT count(*) FROM audit_log WHERE operation_id IS NOT NULL";
    assert_eq!(house.count_in_core(audited).await, 2);
    let keys =
        "SELECT count(*) FROM private_keys JOIN certificates USING (certificate_id) WHERE category = 'leaf'";
    assert_eq!(house.count_in_secure(keys).await, 1);
}

#[tokio::test]
async fn owner_and_requester_are_both_told_when_they_are_two() {
    let house = House::open().await;
    let service = house.service().await;
    let ann = house.hire("ann", REQUESTER).await;
    let new = NewRequest { owner_user_id: ann.actor.user_id, ..generated("www") };
    let id = house.submit(&service, new).await.unwrap().certificate.unwrap().record.certificate_id;
    let because =
        NewRevocation { reason: RevocationReason::Superseded, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, id, because, WAIT).await.unwrap();
    let told = house.core.list_notifications(&ann, false, FIRST).await.unwrap().items;
    let kinds: Vec<&str> = told.iter().map(|message| message.kind.as_str()).collect();
    assert_eq!(kinds, ["certificate.revoke", "certificate.issued"]);
    let to_the_robot = "SELECT count(*) FROM notifications n JOIN users u ON u.id = n.user_id
         WHERE u.username = 'robot' AND kind IN ('certificate.issued', 'certificate.revoke')";
    assert_eq!(house.count_in_core(to_the_robot).await, 2);
    assert_eq!(house.count_in_core("SELECT count(*) FROM notifications").await, 4);
}

#[tokio::test]
async fn a_refused_change_is_put_on_record_afterwards() {
    let house = House::open().await;
    let ann = house.hire("ann", REQUESTER).await;
    let refusal = Refusal::new(ErrorCode::NameNotAllowed, "no such name");
    house.core.note_refusal(&ann, ("request.create", "request"), None, &refusal);
    assert_eq!(house.core.write_refusals().await.unwrap(), 1);
    assert_eq!(house.core.write_refusals().await.unwrap(), 0);
    let administrator = house.administrator().await;
    let listed = house.core.list_audit_entries(&administrator, AuditQuery::default(), FIRST).await.unwrap();
    let entry = listed.items.into_iter().find(|entry| entry.outcome == "refused").unwrap();
    assert_eq!(
        (entry.action.as_str(), entry.actor_user_id),
        ("request.create", ann.actor.user_id.map(Into::into))
    );
    assert_eq!(entry.detail.as_deref(), Some("name_not_allowed: no such name"));
}

#[tokio::test]
async fn references_that_lead_nowhere_are_refused_before_anything_is_written() {
    let house = House::open().await;
    let service = house.service().await;
    let nobody = UserId(Uuid::now_v7());
    let ask = |change: fn(&mut NewRequest)| {
        let mut new = generated("www");
        change(&mut new);
        house.submit(&service, new)
    };
    let unknown_owner = NewRequest { owner_user_id: Some(nobody), ..generated("www") };
    assert_eq!(refused(house.submit(&service, unknown_owner).await), ErrorCode::UserNotFound);
    let elsewhere = house.elsewhere().await;
    let foreign_policy = house.core.list_policies(&elsewhere, &PolicyQuery::default(), FIRST).await.unwrap();
    let foreign_policy = PolicyId(foreign_policy.items.first().unwrap().id).to_string();
    let new = NewRequest { policy: Some(foreign_policy), ..generated("www") };
    assert_eq!(refused(house.submit(&service, new).await), ErrorCode::PolicyNotFound);
    // A user who is no member of the other organization does not exist there.
    let robot = service.user_id().unwrap();
    let new = NewRequest { owner_user_id: Some(robot), ..generated("www") };
    assert_eq!(refused(house.submit(&elsewhere, new).await), ErrorCode::UserNotFound);
    assert_eq!(refused(ask(|new| new.policy = Some("none".into())).await), ErrorCode::PolicyNotFound);
    assert_eq!(refused(ask(|new| new.profile = "none".into()).await), ErrorCode::ProfileNotFound);
    assert_eq!(refused(ask(|new| new.authority = Some("none".into())).await), ErrorCode::AuthorityNotFound);
    assert_eq!(refused(ask(|new| new.key_algorithm = None).await), ErrorCode::InvalidRequest);
    assert_eq!(refused(ask(|new| new.sans.clear()).await), ErrorCode::NameMissing);
    assert_eq!(
        refused(ask(|new| new.validity_seconds = Some(500 * 86_400)).await),
        ErrorCode::ValidityTooLong
    );
    assert_eq!(house.count_in_core("SELECT count(*) FROM workflow_instances").await, 0);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM certificate_requests").await, 0);
}

#[tokio::test]
async fn a_waiting_request_is_recorded_in_both_databases_under_one_id() {
    let house = House::open().await;
    let requester = house.hire("ann", REQUESTER).await;
    let request = house.ask(&requester, "www").await;
    assert_eq!(request.status, WorkflowStatus::Pending);
    assert_eq!(request.steps.len(), 1);
    assert!(request.due_at.is_some());
    let recorded: Uuid = sqlx::query_scalar("SELECT id FROM certificate_requests WHERE status = 'pending'")
        .fetch_one(&house.databases.secure.superuser().await)
        .await
        .unwrap();
    assert_eq!(RequestId(recorded), request.id);
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn a_request_taken_back_is_closed_in_both_databases() {
    let house = House::open().await;
    let (ann, bob) = (house.hire("ann", REQUESTER).await, house.hire("bob", REQUESTER).await);
    let request = house.ask(&ann, "www").await;
    let foreign = house.core.cancel_request(&bob, request.id, None).await;
    assert_eq!(refused(foreign), ErrorCode::PermissionDenied);
    let cancelled = house.core.cancel_request(&ann, request.id, Some("not needed")).await.unwrap();
    assert_eq!(cancelled.status, WorkflowStatus::Cancelled);
    house.settle().await;
    let closed = "SELECT count(*) FROM certificate_requests WHERE status = 'rejected'";
    assert_eq!(house.count_in_secure(closed).await, 1);
    let again = house.core.cancel_request(&ann, request.id, None).await;
    assert_eq!(refused(again), ErrorCode::WorkflowNotPending);
}

#[tokio::test]
async fn the_same_call_sent_twice_is_one_operation() {
    let house = House::open().await;
    let mut service = house.service().await;
    service.asked =
        Some(AskedOperation { operation_id: OperationId(Uuid::now_v7()), call_sha256: "ab".to_owned() });
    let first = house.submit(&service, generated("www")).await.unwrap();
    let second = house.submit(&service, generated("www")).await.unwrap();
    assert_eq!(first.request.id, second.request.id);
    assert_eq!(house.count_in_core("SELECT count(*) FROM certificate_metadata").await, 1);
    service.asked.as_mut().unwrap().call_sha256 = "cd".to_owned();
    let other = house.submit(&service, generated("other")).await;
    assert_eq!(refused(other), ErrorCode::IdempotencyKeyReused);
}

#[tokio::test]
async fn what_secure_refuses_fails_with_its_reason_and_is_closed_there() {
    let house = House::open().await;
    let service = house.service().await;
    let new = NewRequest { authority: Some("strict".to_owned()), ..generated("www") };
    let refusal = refused(house.submit(&service, new).await);
    assert_eq!(refusal, ErrorCode::MandateOutsideEnvelope);
    let listed = house.core.list_requests(&service, &RequestQuery::default(), FIRST).await.unwrap();
    let [request] = listed.items.as_slice() else { panic!("one request") };
    assert_eq!(request.status, WorkflowStatus::Failed);
    assert_eq!(request.failure.as_ref().unwrap().0, "mandate_outside_envelope");
    house.settle().await;
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
    assert_eq!(
        house.count_in_core("SELECT count(*) FROM notifications WHERE kind = 'request.failed'").await,
        1
    );
}
