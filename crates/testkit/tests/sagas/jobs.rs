use std::sync::Arc;
use std::time::Duration;

use clm_core::Ctx;
use clm_core::requests::NewRequest;
use clm_core::roles::{APPROVER, REQUESTER};
use clm_types::WorkflowStatus;
use tokio_util::sync::CancellationToken;

use crate::house::{House, WAIT, generated};

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

/// As if every job were taken over by another process as soon as it is written.
const TAKEN_OVER: &str = "CREATE FUNCTION clm.take_over() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
         NEW.attempts := 2; NEW.locked_by := 'another'; NEW.locked_until := now() + interval '1 hour';
         RETURN NEW;
     END $$;
     CREATE TRIGGER take_over BEFORE INSERT ON clm.jobs FOR EACH ROW EXECUTE FUNCTION clm.take_over()";
const UNTOUCHED: &str = "SELECT count(*) FROM jobs WHERE status = 'running' AND attempts = 2";

#[tokio::test]
async fn who_lost_a_job_neither_fails_nor_returns_nor_ends_it() {
    let mut house = House::open().await;
    let service = house.service().await;
    let ann = house.hire("ann", REQUESTER).await;
    house.issue(&service, "first").await;
    house.core.list_authorities(&ann).await.unwrap();
    house.tamper_with_core(TAKEN_OVER).await;
    // What Secure refuses would fail the request.
    let refused = NewRequest { authority: Some("strict".to_owned()), ..generated("www") };
    let submitted = house.submit(&service, refused).await.unwrap();
    assert_eq!(submitted.request.status, WorkflowStatus::Executing);
    // What is recorded in Secure would end its job.
    house.ask(&ann, "www").await;
    assert_eq!(house.count_in_core(UNTOUCHED).await, 2);
    // What Secure cannot be asked would be given back.
    house.take_secure_away().await;
    house.submit(&service, generated("www")).await.unwrap();
    assert_eq!(house.count_in_core(UNTOUCHED).await, 3);
    assert_eq!(house.count_in_core("SELECT count(*) FROM jobs").await, 3);
}

#[tokio::test]
async fn a_job_whose_lease_cannot_be_renewed_is_dropped_before_it_ends() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "first").await;
    let pool = house.databases.core.superuser().await;
    let mut blocker = pool.begin().await.unwrap();
    // Nothing gets into the inventory, and no lease is renewed.
    sqlx::query("LOCK TABLE certificate_metadata IN EXCLUSIVE MODE").execute(&mut *blocker).await.unwrap();
    house
        .tamper_with_core(
            "CREATE FUNCTION clm.refuse_renewal() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NEW.status = 'running' THEN RAISE EXCEPTION 'no renewal' USING ERRCODE = '53000'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse_renewal BEFORE UPDATE ON clm.jobs FOR EACH ROW EXECUTE FUNCTION clm.refuse_renewal()",
        )
        .await;
    // What came before has taken its time.
    let service = Ctx { now: house.core.clock.now(), ..service };
    let submitted = house.submit(&service, generated("www")).await.unwrap();
    assert_eq!(submitted.request.status, WorkflowStatus::Executing);
    let given_back = "SELECT count(*) FROM jobs WHERE status = 'queued' AND updated_at < created_at + interval '4 seconds'";
    assert_eq!(house.count_in_core(given_back).await, 1);
    blocker.rollback().await.unwrap();
    house.tamper_with_core("DROP TRIGGER refuse_renewal ON clm.jobs").await;
    house.settle().await;
    let done = house.core.show_request(&service, submitted.request.id).await.unwrap();
    assert_eq!(done.status, WorkflowStatus::Completed);
    assert_eq!(house.count_in_secure("SELECT count(*) FROM certificates WHERE category = 'leaf'").await, 2);
}

#[tokio::test]
async fn one_job_that_hangs_holds_no_other_up() {
    let house = House::open().await;
    let service = house.service().await;
    for number in 0..20 {
        house.issue(&service, &format!("host{number}")).await;
    }
    // As if the process had died after Secure had issued them.
    house
        .tamper_with_core(
            "DELETE FROM certificate_metadata;
             UPDATE workflow_instances SET status = 'executing', certificate_id = NULL, completed_at = NULL;
             INSERT INTO jobs (kind, operation_id, organization_id, status, run_at, created_at, updated_at)
             SELECT 'issue', operation_id, organization_id, 'queued', created_at, created_at, created_at FROM workflow_instances",
        )
        .await;
    let pool = house.databases.core.superuser().await;
    let mut blocker = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM workflow_instances ORDER BY id LIMIT 1 FOR UPDATE")
        .execute(&mut *blocker)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let runner = tokio::spawn(Arc::clone(&house.core).run_jobs(stop.clone()));
    let others_done = async {
        let left = "SELECT count(*) FROM jobs";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&pool).await.unwrap() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, others_done).await.unwrap();
    blocker.rollback().await.unwrap();
    stop.cancel();
    runner.await.unwrap();
    house.settle().await;
    assert_eq!(house.count_in_core("SELECT count(*) FROM certificate_metadata").await, 20);
}
