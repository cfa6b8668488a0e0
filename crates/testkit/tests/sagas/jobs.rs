use std::time::Duration;

use clm_core::roles::{APPROVER, REQUESTER};
use clm_types::WorkflowStatus;

use crate::house::{House, generated};

#[tokio::test]
async fn what_secure_could_not_do_is_done_when_it_is_back() {
    let mut house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "first").await;
    house.take_secure_away().await;
    let waiting = house.submit(&service, generated("www")).await.unwrap();
    assert_eq!(waiting.request.status, WorkflowStatus::Executing);
    assert!(waiting.certificate.is_none());
    house.bring_secure_back().await;
    house.settle().await;
    let done = house.core.show_request(&service, waiting.request.id).await.unwrap();
    assert_eq!(done.status, WorkflowStatus::Completed);
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn a_request_decided_before_secure_heard_of_it_is_recorded_there_with_its_end() {
    let mut house = House::open().await;
    let (ann, bob) = (house.hire("ann", REQUESTER).await, house.hire("bob", APPROVER).await);
    house.core.list_authorities(&ann).await.unwrap();
    house.take_secure_away().await;
    let request = house.ask(&ann, "www").await;
    assert_eq!(request.status, WorkflowStatus::Pending);
    house.core.reject_request(&bob, request.id, Some("no")).await.unwrap();
    house.bring_secure_back().await;
    house.settle().await;
    let closed = "SELECT count(*) FROM certificate_requests WHERE status = 'rejected'";
    assert_eq!(house.count_in_secure(closed).await, 1);
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn a_job_whose_process_died_is_taken_over_and_done_once() {
    let house = House::open().await;
    let service = house.service().await;
    let submitted = house.submit(&service, generated("www")).await.unwrap();
    // As if the process had died after Secure had issued: nothing is reflected, the job is leased.
    house
        .tamper_with_core(
            "DELETE FROM certificate_metadata;
             UPDATE workflow_instances SET status = 'executing', certificate_id = NULL, completed_at = NULL;
             INSERT INTO jobs (kind, operation_id, organization_id, status, run_at, locked_by, locked_until, created_at, updated_at)
             SELECT 'issue', operation_id, organization_id, 'running', created_at, 'the dead', created_at, created_at, created_at
             FROM workflow_instances",
        )
        .await;
    let second = house.second_core().await;
    house.settle_with(&second).await;
    let done = house.core.show_request(&service, submitted.request.id).await.unwrap();
    assert_eq!(done.status, WorkflowStatus::Completed);
    assert_eq!(done.certificate_id, submitted.request.certificate_id);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM certificates WHERE category = 'leaf'").await, 1);
}

#[tokio::test]
async fn a_caller_who_does_not_wait_finds_the_certificate_later() {
    let house = House::open().await;
    let service = house.service().await;
    let submitted = house.core.submit_request(&service, generated("www"), Duration::ZERO).await.unwrap();
    assert!(submitted.certificate.is_none());
    loop {
        let request = house.core.show_request(&service, submitted.request.id).await.unwrap();
        if request.status == WorkflowStatus::Completed {
            break;
        }
        tokio::task::yield_now().await;
    }
}
