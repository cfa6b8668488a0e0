use clm_core::proposal::ProposedCertificate;
use clm_core::roles::{APPROVER, SERVICE};
use clm_core::workflows::{Approver, Decision, Workflow, WorkflowDraft, WorkflowQuery};
use clm_core::{Core, Ctx};
use clm_types::{AuthorityId, ErrorCode, KeyAlgorithm, KeySource, WorkflowId, WorkflowKind};
use clm_x509::{San, SubjectName};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::office::{FIRST, Office, refused};

fn draft(code: &str, definition: Value) -> WorkflowDraft {
    WorkflowDraft {
        code: code.to_owned(),
        name: "Approval".to_owned(),
        kind: WorkflowKind::Issuance,
        definition,
        auto_approval: None,
    }
}

fn proposed(ctx: &Ctx) -> ProposedCertificate {
    ProposedCertificate {
        profile: "tls-server".to_owned(),
        authority_id: AuthorityId(Uuid::nil()),
        authority_name: "issuing".to_owned(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        key_source: KeySource::Csr,
        subject: SubjectName::empty(),
        sans: vec![San::dns("www.example.com").unwrap()],
        validity_seconds: 86_400,
        requester_role_ids: ctx.actor.role_ids.clone(),
    }
}

async fn plan(core: &Core, ctx: &Ctx) -> Decision {
    let policy = core.policy_in_force(ctx, "tls-server").await.unwrap();
    core.plan_workflow(ctx, WorkflowKind::Issuance, &policy, Some(&proposed(ctx))).await.unwrap().decision
}

async fn default_issuance(office: &Office, ctx: &Ctx) -> Workflow {
    let query = WorkflowQuery { code: Some("issuance".to_owned()), ..WorkflowQuery::default() };
    office.core.list_workflows(ctx, &query, FIRST).await.unwrap().items.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_need_an_approval_and_programs_none_by_default() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let Decision::Steps { steps, .. } = plan(&office.core, &ctx).await else {
        panic!("must need approval");
    };
    assert_eq!((steps[0].approver, steps[0].quorum), (Approver::Role(APPROVER), 1));

    let program = office.hire(&ctx, "deploy", SERVICE).await;
    let key = office.key_for(&ctx, &program, &["request:create", "policy:read"]).await;
    let inside = office.enter(&key).await.unwrap();
    assert!(matches!(plan(&office.core, &inside).await, Decision::AutoApproved { .. }));

    let policy = office.core.policy_in_force(&ctx, "tls-server").await.unwrap();
    let revocation = office.core.plan_workflow(&ctx, WorkflowKind::Revocation, &policy, None).await.unwrap();
    assert!(matches!(revocation.decision, Decision::AutoApproved { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_decides_at_once_and_policies_follow_it() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    plan(&office.core, &ctx).await;
    let old = default_issuance(&office, &ctx).await;
    let change =
        draft("issuance", json!({"steps": [{"name": "Two", "approver_role_id": APPROVER, "quorum": 2}]}));
    let new = office.core.update_workflow(&ctx, WorkflowId(old.id), old.version, &change).await.unwrap();
    assert_eq!(new.workflow_version, 2);
    let Decision::Steps { steps, .. } = plan(&office.core, &ctx).await else {
        panic!("must need approval");
    };
    assert_eq!(steps[0].quorum, 2);
    let policy = office.core.policy_in_force(&ctx, "tls-server").await.unwrap();
    assert_eq!(policy.policy.workflow_id, Some(new.id));
    let late = office.core.update_workflow(&ctx, WorkflowId(old.id), old.version, &change).await;
    assert_eq!(refused(late), ErrorCode::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_that_nobody_could_decide_are_refused() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    for (step, code) in [
        (json!({"name": "a", "approver_role_id": APPROVER, "quorum": 0}), ErrorCode::PolicyInvalid),
        (json!({"name": "a", "quorum": 1}), ErrorCode::PolicyInvalid),
        (json!({"name": "a", "approver_role_id": Uuid::nil(), "quorum": 1}), ErrorCode::RoleNotFound),
        (json!({"name": "a", "approver_user_id": Uuid::nil(), "quorum": 1}), ErrorCode::UserNotFound),
    ] {
        let draft = draft("own", json!({"steps": [step]}));
        assert_eq!(refused(office.core.create_workflow(&ctx, &draft).await), code);
    }
    let user = json!({"name": "a", "approver_user_id": office.administrator, "quorum": 1});
    office.core.create_workflow(&ctx, &draft("own", json!({"steps": [user]}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn code_and_kind_of_a_workflow_stay() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let old = default_issuance(&office, &ctx).await;
    let id = WorkflowId(old.id);
    let renamed = draft("other", json!({"steps": []}));
    let attempt = office.core.update_workflow(&ctx, id, old.version, &renamed).await;
    assert_eq!(refused(attempt), ErrorCode::InvalidRequest);
    let turned = WorkflowDraft { kind: WorkflowKind::Revocation, ..draft("issuance", json!({"steps": []})) };
    let attempt = office.core.update_workflow(&ctx, id, old.version, &turned).await;
    assert_eq!(refused(attempt), ErrorCode::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_of_another_organization_are_not_found() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let theirs = default_issuance(&office, &inside).await;
    let id = WorkflowId(theirs.id);
    assert_eq!(refused(office.core.show_workflow(&ctx, id).await), ErrorCode::WorkflowNotFound);
    let change = draft("issuance", json!({"steps": []}));
    let attempt = office.core.update_workflow(&ctx, id, theirs.version, &change).await;
    assert_eq!(refused(attempt), ErrorCode::WorkflowNotFound);
}
