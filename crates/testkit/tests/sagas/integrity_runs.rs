use clm_core::integrity_runs::{IntegrityRun, RunState};
use clm_core::roles::APPROVER;
use clm_types::ErrorCode;
use uuid::Uuid;

use crate::house::{House, WAIT, refused};

async fn ended(house: &House, id: Uuid) -> IntegrityRun {
    let ended = async {
        loop {
            let run = house.core.show_integrity_run(&house.administrator().await, id).await.unwrap();
            if run.state != RunState::Running {
                return run;
            }
        }
    };
    tokio::time::timeout(WAIT, ended).await.unwrap()
}

/// The run after another one, whose lock ends with its connection: a moment after the run.
async fn next(house: &House) -> IntegrityRun {
    let administrator = house.administrator().await;
    let begun = async {
        loop {
            match house.core.start_integrity_run(&administrator).await {
                Err(error) if error.code() == Some(ErrorCode::Conflict) => tokio::task::yield_now().await,
                begun => return begun.unwrap(),
            }
        }
    };
    tokio::time::timeout(WAIT, begun).await.unwrap()
}

#[tokio::test]
async fn a_run_goes_on_behind_the_call_and_says_how_it_ended() {
    let mut house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "www").await;
    let administrator = house.administrator().await;
    let begun = house.core.start_integrity_run(&administrator).await.unwrap();
    assert_eq!(begun.state, RunState::Running);
    let run = ended(&house, begun.id).await;
    assert!(
        matches!(run.state, RunState::Completed(at, counts) if at >= run.started_at && counts.compared > 0)
    );

    house.take_secure_away().await;
    let begun = next(&house).await;
    let RunState::Failed(_, detail) = ended(&house, begun.id).await.state else { panic!("must fail") };
    assert!(detail.starts_with("unavailable"), "{detail}");
}

#[tokio::test]
async fn runs_are_ordered_one_at_a_time_by_those_who_may_do_so_everywhere() {
    let house = House::open().await;
    let administrator = house.administrator().await;
    let approver = house.hire("bob", APPROVER).await;
    assert_eq!(refused(house.core.start_integrity_run(&approver).await), ErrorCode::PermissionDenied);
    let unknown = house.core.show_integrity_run(&administrator, Uuid::nil()).await;
    assert_eq!(refused(unknown), ErrorCode::NotFound);

    let pool = house.databases.core.superuser().await;
    let mut other = pool.acquire().await.unwrap();
    let lock = "SELECT pg_advisory_lock(hashtextextended('clm.integrity', 0))";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    assert_eq!(refused(house.core.start_integrity_run(&administrator).await), ErrorCode::Conflict);
}

#[tokio::test]
async fn a_run_whose_process_is_gone_is_interrupted() {
    let house = House::open().await;
    house
        .tamper_with_core(
            "INSERT INTO audit_log (occurred_at, actor_type, action, object_type, object_id, outcome, created_at)
             VALUES (now() - interval '1 minute', 'user', 'integrity.start', 'integrity_run',
                     '01980000-0000-7000-8000-000000000000', 'allowed', now())",
        )
        .await;
    let id = "01980000-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(ended(&house, id).await.state, RunState::Interrupted);
}
