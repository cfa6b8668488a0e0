use chrono::TimeDelta;
use clm_core::audit::AuditQuery;
use clm_core::roles::{ADMINISTRATOR, NewAssignment};
use clm_types::{ErrorCode, Permission, UserId};

use crate::office::{FIRST, Office, assignment, new_user, refused};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_a_key_when_the_administrators_have_ended() {
    let office = Office::open().await;
    office.core.clock.advance(TimeDelta::days(90));
    let pool = office.database.superuser().await;
    clm_pg::ensure_partitions(&pool, &["audit_log"], office.core.clock.now(), 1).await.unwrap();
    assert_eq!(refused(office.enter(&office.administrator_key).await), ErrorCode::Unauthenticated);
    let (key, token) = office.core.create_administrator_key("root").await.unwrap();
    assert_eq!(key.expires_at, Some(office.core.clock.now() + TimeDelta::days(90)));

    let ctx = office.enter(token.expose()).await.unwrap();
    assert_eq!(ctx.actor.user_id, Some(office.administrator));
    assert!(!ctx.actor.restricted);
    for permission in Permission::ALL {
        ctx.require_global(*permission).unwrap();
    }
    let query = AuditQuery { object_id: Some(key.id), ..AuditQuery::default() };
    let entries = office.core.list_audit_entries(&ctx, query, FIRST).await.unwrap().items;
    let said: Vec<_> = entries.iter().map(|one| (one.actor_type.as_str(), one.action.as_str())).collect();
    assert_eq!(said, [("operator", "api_key.create")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_active_administrator_of_all_organizations_is_let_in_again() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.core.create_user(&ctx, &new_user("nobody")).await.unwrap();
    office.hire(&ctx, "local", ADMINISTRATOR).await;
    let everywhere = |id| NewAssignment { everywhere: true, ..assignment(UserId(id), ADMINISTRATOR) };
    let gone = office.core.create_user(&ctx, &new_user("gone")).await.unwrap();
    office.core.assign_role(&ctx, &everywhere(gone.id)).await.unwrap();
    office.core.disable_user(&ctx, UserId(gone.id), gone.version).await.unwrap();
    let brief = office.core.create_user(&ctx, &new_user("brief")).await.unwrap();
    let until = Some(ctx.now + TimeDelta::days(1));
    let assigned = NewAssignment { valid_until: until, ..everywhere(brief.id) };
    office.core.assign_role(&ctx, &assigned).await.unwrap();

    office.core.create_administrator_key("brief").await.unwrap();
    office.core.clock.advance(TimeDelta::days(1));
    for name in ["nobody", "local", "gone", "brief", "ROOT", ""] {
        assert_eq!(
            refused(office.core.create_administrator_key(name).await),
            ErrorCode::UserNotFound,
            "{name}"
        );
    }
}
