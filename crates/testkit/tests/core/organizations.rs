use clm_core::organizations::{NewOrganization, OrganizationChange};
use clm_core::policies::PolicyQuery;
use clm_core::roles::ADMINISTRATOR;
use clm_types::ErrorCode;
use serde_json::json;

use crate::office::{FIRST, Office, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_organization_begins_with_policies_of_its_own() {
    let office = Office::open().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let policies = office.core.list_policies(&inside, &PolicyQuery::default(), FIRST).await.unwrap();
    assert_eq!(policies.items.len(), 3);
    assert!(policies.items.iter().all(|policy| policy.organization_id == other.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_one_organization_sees_no_other() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let ann = office.hire(&ctx, "ann", ADMINISTRATOR).await;
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let seen = office.core.list_organizations(&inside, FIRST).await.unwrap();
    assert_eq!(seen.items.len(), 1);
    assert_eq!(refused(office.core.show_organization(&inside, other).await), ErrorCode::OrganizationNotFound);
    let new = NewOrganization { code: "third".to_owned(), name: "Third".to_owned() };
    assert_eq!(refused(office.core.create_organization(&inside, &new).await), ErrorCode::PermissionDenied);
    assert_eq!(
        refused(office.core.suspend_organization(&inside, other, 1).await),
        ErrorCode::PermissionDenied
    );
    assert_eq!(office.core.list_organizations(&ctx, FIRST).await.unwrap().items.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_unique_and_changes_need_the_version_that_was_read() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let taken = NewOrganization { code: "example".to_owned(), name: "Again".to_owned() };
    assert_eq!(refused(office.core.create_organization(&ctx, &taken).await), ErrorCode::AlreadyExists);
    let own = office.core.show_organization(&ctx, ctx.organization_id).await.unwrap();
    let change = OrganizationChange {
        name: "Example GmbH".to_owned(),
        settings: json!({"api_keys": {"longest_days": 30}}),
    };
    let changed =
        office.core.update_organization(&ctx, ctx.organization_id, own.version, &change).await.unwrap();
    assert_eq!((changed.org_name.as_str(), changed.version), ("Example GmbH", 2));
    let late = office.core.update_organization(&ctx, ctx.organization_id, own.version, &change).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_the_database_cannot_hold_are_the_caller_s_mistake() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let own = office.core.show_organization(&ctx, ctx.organization_id).await.unwrap();
    for settings in [json!({"a": "b\u{0}"}), json!({"a\u{0}": 1})] {
        let change = OrganizationChange { name: "Example".to_owned(), settings };
        let attempt = office.core.update_organization(&ctx, ctx.organization_id, own.version, &change).await;
        assert_eq!(refused(attempt), ErrorCode::InvalidRequest);
    }
    let query = PolicyQuery { code: Some("a\0".to_owned()), status: None };
    assert_eq!(refused(office.core.list_policies(&ctx, &query, FIRST).await), ErrorCode::InvalidRequest);
}
