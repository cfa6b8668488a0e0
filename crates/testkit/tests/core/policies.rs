use chrono::TimeDelta;
use clm_core::Ctx;
use clm_core::policies::{Policy, PolicyDraft, PolicyQuery};
use clm_core::roles::AUDITOR;
use clm_types::{ErrorCode, PolicyId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::office::{FIRST, Office, refused};

fn draft(code: &str, change: impl FnOnce(&mut Value)) -> PolicyDraft {
    let mut rules = json!({
        "profiles": ["tls-server"],
        "key_algorithms": ["ecdsa-p256"],
        "key_sources": ["csr"],
        "names": {"dns_suffixes": ["example.com"]},
        "max_names": 5,
        "max_validity_seconds": 86_400,
        "default_validity_seconds": 3_600,
        "workflows": {"issuance": "issuance"},
    });
    change(&mut rules);
    PolicyDraft { code: code.to_owned(), name: "Web".to_owned(), rules, compliance_frameworks: Vec::new() }
}

async fn create(office: &Office, ctx: &Ctx) -> Policy {
    office.core.create_policy(ctx, &draft("web", |_| ())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_a_new_version_in_force_at_once() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let first = create(&office, &ctx).await;
    assert_eq!(office.core.policy_in_force(&ctx, "web").await.unwrap().rules.max_names, 5);
    office.core.clock.advance(TimeDelta::seconds(1));
    let ctx = office.as_administrator().await;
    let change = draft("web", |rules| rules["max_names"] = json!(9));
    let second = office.core.update_policy(&ctx, PolicyId(first.id), first.version, &change).await.unwrap();
    assert_eq!((second.policy_version, second.supersedes_policy_id), (2, Some(first.id)));
    let in_force = office.core.policy_in_force(&ctx, "web").await.unwrap();
    assert_eq!((in_force.policy.id, in_force.rules.max_names), (second.id, 9));

    let old = office.core.policy_in_force(&ctx, &first.id.to_string()).await;
    assert_eq!(refused(old), ErrorCode::PolicyNotActive);
    let governing = office.core.governing_policy(&ctx, PolicyId(first.id)).await.unwrap().unwrap();
    assert_eq!(governing.policy.id, second.id);
    let versions = PolicyQuery { code: Some("web".to_owned()), status: None };
    let versions = office.core.list_policies(&ctx, &versions, FIRST).await.unwrap();
    let states: Vec<_> = versions.items.iter().map(|each| each.status.as_str()).collect();
    assert_eq!(states, ["active", "superseded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_of_one_version_cannot_both_win() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let first = create(&office, &ctx).await;
    let (one, two) =
        (draft("web", |r| r["max_names"] = json!(1)), draft("web", |r| r["max_names"] = json!(2)));
    let (a, b) = tokio::join!(
        office.core.update_policy(&ctx, PolicyId(first.id), first.version, &one),
        office.core.update_policy(&ctx, PolicyId(first.id), first.version, &two),
    );
    assert!(a.is_ok() != b.is_ok());
    let loser = refused(if a.is_ok() { b } else { a });
    assert!(matches!(loser, ErrorCode::PreconditionFailed | ErrorCode::PolicyNotActive), "{loser}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_policy_allows_nothing_new() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let policy = create(&office, &ctx).await;
    office.core.policy_in_force(&ctx, "web").await.unwrap();
    sqlx::query("UPDATE policies SET status = 'retired' WHERE policy_code = 'web'")
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    office.core.forget_everything();
    assert_eq!(refused(office.core.policy_in_force(&ctx, "web").await), ErrorCode::PolicyNotFound);
    assert!(office.core.governing_policy(&ctx, PolicyId(policy.id)).await.unwrap().is_none());
}

type Break = fn(&mut Value);

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_make_no_sense_are_refused() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let cases: [(Break, ErrorCode); 7] = [
        (|r| r["profiles"] = json!(["nonsense"]), ErrorCode::PolicyInvalid),
        (|r| r["unknown"] = json!(1), ErrorCode::PolicyInvalid),
        (|r| r["key_algorithms"] = json!(["rsa-1024"]), ErrorCode::PolicyInvalid),
        (|r| r["names"]["ip_ranges"] = json!(["10.0.0.0/99"]), ErrorCode::PolicyInvalid),
        (|r| r["workflows"]["issuance"] = json!("nonsense"), ErrorCode::WorkflowNotFound),
        // A workflow for something else.
        (|r| r["workflows"]["issuance"] = json!("revocation"), ErrorCode::WorkflowNotFound),
        (|r| r["requester_role_ids"] = json!([Uuid::nil()]), ErrorCode::RoleNotFound),
    ];
    for (break_it, code) in cases {
        let draft = draft("web", break_it);
        assert_eq!(refused(office.core.create_policy(&ctx, &draft).await), code, "{:?}", draft.rules);
    }
    create(&office, &ctx).await;
    let twice = office.core.create_policy(&ctx, &draft("web", |_| ())).await;
    assert_eq!(refused(twice), ErrorCode::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_another_organization_are_not_found() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let theirs = create(&office, &inside).await;
    let id = PolicyId(theirs.id);
    assert_eq!(refused(office.core.show_policy(&ctx, id).await), ErrorCode::PolicyNotFound);
    assert_eq!(refused(office.core.policy_in_force(&ctx, "web").await), ErrorCode::PolicyNotFound);
    assert_eq!(refused(office.core.policy_in_force(&ctx, &id.to_string()).await), ErrorCode::PolicyNotFound);
    let change = draft("web", |_| ());
    let attempt = office.core.update_policy(&ctx, id, theirs.version, &change).await;
    assert_eq!(refused(attempt), ErrorCode::PolicyNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_reads_cannot_write_policies() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let auditor = office.hire(&ctx, "ann", AUDITOR).await;
    let key = office.key_for(&ctx, &auditor, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let attempt = office.core.create_policy(&inside, &draft("web", |_| ())).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let policy = create(&office, &ctx).await;
    let id = PolicyId(policy.id);
    let attempt = office.core.update_policy(&inside, id, policy.version, &draft("web", |_| ())).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    office.core.show_policy(&inside, PolicyId(policy.id)).await.unwrap();
}
