use chrono::TimeDelta;
use clm_core::audit::AuditQuery;
use clm_core::page::PageRequest;
use clm_core::roles::REQUESTER;
use clm_types::{ErrorCode, OperationId};
use uuid::Uuid;

use crate::office::{FIRST, Office, new_user, refused};

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_object_action_actor_and_time() {
    let office = Office::open().await;
    office.core.clock.advance(TimeDelta::seconds(10));
    let ctx = office.as_administrator().await;
    let ann = office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let base = AuditQuery { since: Some(ctx.now), ..AuditQuery::default() };
    let count = async |query: AuditQuery<'_>| {
        office.core.list_audit_entries(&ctx, query, FIRST).await.unwrap().items.len()
    };
    assert_eq!(count(base).await, 1);
    assert_eq!(count(AuditQuery { object_id: Some(ann.id), ..AuditQuery::default() }).await, 1);
    assert_eq!(count(AuditQuery { action: Some("user.create"), ..base }).await, 1);
    assert_eq!(count(AuditQuery { action: Some("user.update"), ..base }).await, 0);
    let own = AuditQuery { actor_user_id: Some(office.administrator), ..AuditQuery::default() };
    assert_eq!(count(own).await, 1);
    assert_eq!(count(AuditQuery { until: Some(ctx.now), ..own }).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_everything_once() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let all = office.core.list_audit_entries(&ctx, AuditQuery::default(), FIRST).await.unwrap();
    assert!(all.items.len() > 5 && all.next.is_none());
    let mut request = PageRequest { before: None, limit: 2 };
    let mut seen = Vec::new();
    loop {
        let page = office.core.list_audit_entries(&ctx, AuditQuery::default(), request).await.unwrap();
        seen.extend(page.items.into_iter().map(|entry| entry.id));
        match page.next {
            Some(_) => request.before = page.next,
            None => break,
        }
    }
    assert_eq!(seen, all.items.iter().map(|entry| entry.id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_another_organization_are_not_seen() {
    let office = Office::open().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let entries = office.core.list_audit_entries(&inside, AuditQuery::default(), FIRST).await.unwrap();
    assert!(!entries.items.is_empty());
    assert!(entries.items.iter().all(|entry| entry.organization_id == Some(other.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_needs_the_permission_and_tracing_needs_secure() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let attempt = office.core.list_audit_entries(&inside, AuditQuery::default(), FIRST).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let operation = OperationId(Uuid::nil());
    assert_eq!(refused(office.core.trace_operation(&inside, operation).await), ErrorCode::PermissionDenied);
    assert_eq!(refused(office.core.trace_operation(&ctx, operation).await), ErrorCode::Unavailable);
}
