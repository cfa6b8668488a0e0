use chrono::TimeDelta;
use clm_core::roles::{APPROVER, REQUESTER};
use clm_core::workflows::{WorkflowDraft, WorkflowQuery};
use clm_types::{ErrorCode, StepStatus, WorkflowKind, WorkflowStatus};
use serde_json::json;

use crate::house::{FIRST, House, WAIT, refused};

#[tokio::test]
async fn an_approver_approves_and_the_certificate_is_issued() {
    let house = House::open().await;
    let (bob, ann) = (house.hire("bob", APPROVER).await, house.hire("ann", REQUESTER).await);
    let request = house.ask(&ann, "www").await;
    let waiting = house.core.list_pending_approvals(&bob, FIRST).await.unwrap();
    assert_eq!(waiting.items.len(), 1);
    assert_eq!(waiting.items[0].instance_id, request.id.0);
    let told = house.core.list_notifications(&bob, true, FIRST).await.unwrap();
    assert_eq!(told.items[0].kind, "approval.wanted");

    let approved = house.core.approve_request(&bob, request.id, Some("fine"), WAIT).await.unwrap();
    assert_eq!(approved.status, WorkflowStatus::Completed);
    assert_eq!(approved.steps[0].status, StepStatus::Approved);
    assert_eq!(approved.steps[0].decisions[0].comment.as_deref(), Some("fine"));
    let certificate = house.core.show_certificate(&ann, approved.certificate_id.unwrap()).await.unwrap();
    assert_eq!(certificate.common_name, None);
    assert_eq!(certificate.sans, ["dns:www.example.com"]);
    assert!(house.core.list_pending_approvals(&bob, FIRST).await.unwrap().items.is_empty());
    // Secure has the approval in the mandate that it stored with the result.
    let approvals =
        "SELECT jsonb_array_length(mandate -> 'approvals')::bigint FROM operations WHERE kind = 'issue'";
    assert_eq!(house.count_in_secure(approvals).await, 1);
}

#[tokio::test]
async fn nobody_decides_on_a_request_of_their_own_nor_without_being_an_approver() {
    let house = House::open().await;
    let administrator = house.administrator().await;
    let (ann, bob) = (house.hire("ann", REQUESTER).await, house.hire("bob", APPROVER).await);
    let own = house.ask(&administrator, "www").await;
    let decided = house.core.approve_request(&administrator, own.id, None, WAIT).await;
    assert_eq!(refused(decided), ErrorCode::SelfApproval);
    let decided = house.core.approve_request(&ann, own.id, None, WAIT).await;
    assert_eq!(refused(decided), ErrorCode::PermissionDenied);
    let foreign = house.ask(&ann, "api").await;
    // May decide as such, but holds no role that this step names.
    let decided = house.core.approve_request(&administrator, foreign.id, None, WAIT).await;
    assert_eq!(refused(decided), ErrorCode::NotAnApprover);
    let elsewhere = house.elsewhere().await;
    let decided = house.core.approve_request(&elsewhere, foreign.id, None, WAIT).await;
    assert_eq!(refused(decided), ErrorCode::RequestNotFound);
    let rejected = house.core.reject_request(&bob, foreign.id, Some("no")).await.unwrap();
    assert_eq!(rejected.status, WorkflowStatus::Rejected);
    let decided = house.core.approve_request(&bob, foreign.id, None, WAIT).await;
    assert_eq!(refused(decided), ErrorCode::WorkflowNotPending);
    house.settle().await;
    let closed =
        "SELECT count(*) FROM certificate_requests WHERE status = 'rejected' AND rejection_reason = 'no'";
    assert_eq!(house.count_in_secure(closed).await, 1);
}

#[tokio::test]
async fn of_two_approvers_at_once_one_wins_and_one_certificate_is_issued() {
    let house = House::open().await;
    let ann = house.hire("ann", REQUESTER).await;
    let (bob, eve) = (house.hire("bob", APPROVER).await, house.hire("eve", APPROVER).await);
    for round in 0..5 {
        let request = house.ask(&ann, &format!("host{round}")).await;
        let (first, second) = tokio::join!(
            house.core.approve_request(&bob, request.id, None, WAIT),
            house.core.reject_request(&eve, request.id, None),
        );
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let loser = if first.is_ok() { refused(second) } else { refused(first) };
        assert_eq!(loser, ErrorCode::WorkflowNotPending);
    }
    for round in 5..10 {
        let request = house.ask(&ann, &format!("host{round}")).await;
        let (first, second) = tokio::join!(
            house.core.approve_request(&bob, request.id, None, WAIT),
            house.core.approve_request(&eve, request.id, None, WAIT),
        );
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    }
    house.settle().await;
    let issued = house.count_in_secure("SELECT count(*) FROM certificates WHERE category = 'leaf'").await;
    let completed =
        house.count_in_core("SELECT count(*) FROM workflow_instances WHERE status = 'completed'").await;
    assert!(issued >= 5);
    assert_eq!(issued, completed);
}

#[tokio::test]
async fn a_chain_of_steps_with_quorum_is_gone_through_in_order() {
    let house = House::open().await;
    let administrator = house.administrator().await;
    let workflows =
        house.core.list_workflows(&administrator, &WorkflowQuery::default(), FIRST).await.unwrap();
    let issuance = workflows.items.iter().find(|it| it.workflow_code == "issuance").unwrap();
    let draft = WorkflowDraft {
        code: "issuance".to_owned(),
        name: "Two steps".to_owned(),
        kind: WorkflowKind::Issuance,
        definition: json!({"steps": [
            {"name": "two of the team", "approver_role_id": APPROVER, "quorum": 2},
            {"name": "the boss", "approver_user_id": administrator.user_id().unwrap(), "quorum": 1, "deadline_seconds": 60},
        ]}),
        auto_approval: None,
    };
    house.core.update_workflow(&administrator, issuance.id.into(), issuance.version, &draft).await.unwrap();
    let ann = house.hire("ann", REQUESTER).await;
    let (bob, eve) = (house.hire("bob", APPROVER).await, house.hire("eve", APPROVER).await);
    let id = house.ask(&ann, "www").await.id;
    assert_eq!(
        refused(house.core.approve_request(&administrator, id, None, WAIT).await),
        ErrorCode::NotAnApprover
    );
    let once = house.core.approve_request(&bob, id, None, WAIT).await.unwrap();
    assert_eq!(once.steps[0].status, StepStatus::Pending);
    assert_eq!(refused(house.core.approve_request(&bob, id, None, WAIT).await), ErrorCode::AlreadyDecided);
    let twice = house.core.approve_request(&eve, id, None, WAIT).await.unwrap();
    assert_eq!((twice.steps[0].status, twice.steps[1].status), (StepStatus::Approved, StepStatus::Pending));
    assert!(twice.due_at.is_some_and(|due| due <= house.core.clock.now() + TimeDelta::seconds(60)));
    let told = house.core.list_notifications(&administrator, true, FIRST).await.unwrap();
    assert_eq!(told.items[0].kind, "approval.wanted");
    let done = house.core.approve_request(&administrator, id, None, WAIT).await.unwrap();
    assert_eq!(done.status, WorkflowStatus::Completed);
}

#[tokio::test]
async fn a_request_that_nobody_decides_in_time_expires() {
    let house = House::open().await;
    let (ann, bob) = (house.hire("ann", REQUESTER).await, house.hire("bob", APPROVER).await);
    let request = house.ask(&ann, "www").await;
    assert_eq!(house.core.expire_requests().await.unwrap(), 0);
    house
        .tamper_with_core(
            "UPDATE workflow_instances SET due_at = due_at - interval '30 days';
             UPDATE workflow_steps SET due_at = due_at - interval '30 days'",
        )
        .await;
    let late = house.core.approve_request(&bob, request.id, None, WAIT).await;
    assert_eq!(refused(late), ErrorCode::WorkflowNotPending);
    // A refused decision gives its lock back a moment after its answer; locked requests wait for the next round.
    while house.core.expire_requests().await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    let expired = house.core.show_request(&ann, request.id).await.unwrap();
    assert_eq!(expired.status, WorkflowStatus::Expired);
    assert_eq!(expired.steps[0].status, StepStatus::Skipped);
    house.settle().await;
    let closed = "SELECT count(*) FROM certificate_requests WHERE status = 'rejected'";
    assert_eq!(house.count_in_secure(closed).await, 1);
}
