use chrono::TimeDelta;
use clm_core::audit::AuditQuery;
use clm_core::policies::PolicyQuery;
use clm_types::{ErrorCode, Permission};
use uuid::Uuid;

use crate::office::{FIRST, Office, empty, new_installation, refused};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_may_do_everything_and_finds_working_policies() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    assert_eq!(ctx.organization_id, office.organization_id);
    for permission in Permission::ALL {
        ctx.require_global(*permission).unwrap();
    }
    let policies = office.core.list_policies(&ctx, &PolicyQuery::default(), FIRST).await.unwrap();
    let mut codes: Vec<_> = policies.items.iter().map(|policy| policy.policy_code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["tls-client", "tls-server", "tls-server-client"]);
    assert!(policies.items.iter().all(|policy| policy.workflow_id.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_token_works_once_and_only_in_time() {
    let (core, _database) = empty().await;
    let late = core.create_bootstrap_token(TimeDelta::minutes(1)).await.unwrap();
    core.clock.advance(TimeDelta::minutes(1));
    let new = new_installation("root");
    let attempt = core.bootstrap(late.expose(), &new, Uuid::nil(), None).await;
    assert_eq!(refused(attempt), ErrorCode::BootstrapTokenInvalid);

    let token = core.create_bootstrap_token(TimeDelta::minutes(1)).await.unwrap();
    let spare = core.create_bootstrap_token(TimeDelta::minutes(1)).await.unwrap();
    core.bootstrap(token.expose(), &new, Uuid::nil(), None).await.unwrap();
    let again = core.bootstrap(token.expose(), &new, Uuid::nil(), None).await;
    assert_eq!(refused(again), ErrorCode::BootstrapTokenInvalid);
    let other = core.bootstrap(spare.expose(), &new_installation("other"), Uuid::nil(), None).await;
    assert_eq!(refused(other), ErrorCode::Conflict);
    assert_eq!(refused(core.create_bootstrap_token(TimeDelta::minutes(1)).await), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bootstraps_at_once_make_one_organization() {
    let (core, database) = empty().await;
    let first = core.create_bootstrap_token(TimeDelta::minutes(1)).await.unwrap();
    let second = core.create_bootstrap_token(TimeDelta::minutes(1)).await.unwrap();
    let (one, two) = (new_installation("one"), new_installation("two"));
    let (a, b) = tokio::join!(
        core.bootstrap(first.expose(), &one, Uuid::nil(), None),
        core.bootstrap(second.expose(), &two, Uuid::nil(), None),
    );
    assert!(a.is_ok() != b.is_ok());
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM organizations")
        .fetch_one(&database.superuser().await)
        .await
        .unwrap();
    assert_eq!(count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_the_bootstrap_is_stored_or_audited() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let entries = office.core.list_audit_entries(&ctx, AuditQuery::default(), FIRST).await.unwrap();
    let actions: Vec<_> = entries.items.iter().map(|entry| entry.action.as_str()).collect();
    for action in ["organization.create", "user.create", "role.assign", "policy.create", "api_key.create"] {
        assert!(actions.contains(&action), "{action}");
    }
    let secret = &office.administrator_key[16..];
    let found: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM audit_log WHERE audit_log::text LIKE '%' || $1 || '%')
             OR EXISTS (SELECT FROM api_keys WHERE api_keys::text LIKE '%' || $1 || '%')",
    )
    .bind(secret)
    .fetch_one(&office.database.superuser().await)
    .await
    .unwrap();
    assert!(!found);
}
