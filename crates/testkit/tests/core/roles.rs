use chrono::TimeDelta;
use clm_core::roles::{
    ADMINISTRATOR, APPROVER, NewAssignment, NewRole, PKI_ADMINISTRATOR, REQUESTER, RoleChange,
};
use clm_types::{ErrorCode, RoleId, UserId};
use uuid::Uuid;

use crate::office::{FIRST, Office, assignment, new_user, refused};

fn role(code: &str, permissions: &[&str]) -> NewRole {
    NewRole {
        code: code.to_owned(),
        name: code.to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: permissions.iter().map(|text| (*text).to_owned()).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_role_that_is_more_than_they_hold() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let boss = role("boss", &["role:assign", "user:read", "request:read"]);
    let boss = office.core.create_role(&ctx, &boss).await.unwrap();
    let user = office.hire(&ctx, "boss", boss.id.into()).await;
    let key = office.key_for(&ctx, &user, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let me = UserId(user.id);
    for role_id in [ADMINISTRATOR, APPROVER, PKI_ADMINISTRATOR] {
        let attempt = office.core.assign_role(&inside, &assignment(me, role_id)).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    }
    let attempt = office.core.create_role(&inside, &role("more", &["user:write"])).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let child = NewRole { parent_role_id: Some(ADMINISTRATOR), ..role("child", &[]) };
    assert_eq!(refused(office.core.create_role(&inside, &child).await), ErrorCode::PermissionDenied);
    let change =
        RoleChange { name: "Boss".to_owned(), description: String::new(), permissions: vec!["*".to_owned()] };
    let attempt = office.core.update_role(&inside, boss.id.into(), boss.version, &change).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_one_organization_gives_nothing_everywhere() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let user = office.hire(&ctx, "ann", ADMINISTRATOR).await;
    let key = office.key_for(&ctx, &user, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let everywhere = NewAssignment { everywhere: true, ..assignment(UserId(user.id), REQUESTER) };
    assert_eq!(refused(office.core.assign_role(&inside, &everywhere).await), ErrorCode::PermissionDenied);
    office.core.assign_role(&inside, &assignment(UserId(user.id), REQUESTER)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_one_organization_is_not_given_everywhere() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let own = office.core.create_role(&ctx, &role("own", &["request:read"])).await.unwrap();
    let everywhere = NewAssignment { everywhere: true, ..assignment(office.administrator, own.id.into()) };
    assert_eq!(refused(office.core.assign_role(&ctx, &everywhere).await), ErrorCode::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_cannot_be_removed() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let own = office.core.list_assignments(&ctx, Some(office.administrator), FIRST).await.unwrap();
    let last = own.items[0].id;
    assert_eq!(refused(office.core.revoke_assignment(&ctx, last, None, None).await), ErrorCode::Conflict);
    let root = office.core.show_user(&ctx, office.administrator).await.unwrap();
    let attempt = office.core.disable_user(&ctx, office.administrator, root.version).await;
    assert_eq!(refused(attempt), ErrorCode::Conflict);

    // One whose role ends does not count; one whose role lasts does.
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let ending = NewAssignment {
        everywhere: true,
        valid_until: Some(ctx.now + TimeDelta::hours(1)),
        ..assignment(UserId(ann.id), ADMINISTRATOR)
    };
    let ending = office.core.assign_role(&ctx, &ending).await.unwrap();
    assert_eq!(refused(office.core.revoke_assignment(&ctx, last, None, None).await), ErrorCode::Conflict);
    office.core.revoke_assignment(&ctx, ending.id, None, Some("for good then")).await.unwrap();
    let lasting = NewAssignment { everywhere: true, ..assignment(UserId(ann.id), ADMINISTRATOR) };
    office.core.assign_role(&ctx, &lasting).await.unwrap();
    office.core.revoke_assignment(&ctx, last, None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_cannot_remove_each_other_at_once() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let second = NewAssignment { everywhere: true, ..assignment(UserId(ann.id), ADMINISTRATOR) };
    let second = office.core.assign_role(&ctx, &second).await.unwrap();
    let first =
        office.core.list_assignments(&ctx, Some(office.administrator), FIRST).await.unwrap().items[0].id;
    let (a, b) = tokio::join!(
        office.core.revoke_assignment(&ctx, first, None, None),
        office.core.revoke_assignment(&ctx, second.id, None, None),
    );
    assert!(a.is_ok() != b.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_roles_and_those_of_others_cannot_be_changed() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let change = RoleChange { name: "x".to_owned(), description: String::new(), permissions: Vec::new() };
    let attempt = office.core.update_role(&ctx, REQUESTER, 1, &change).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);

    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let foreign = office.core.create_role(&inside, &role("theirs", &["request:read"])).await.unwrap();
    let id = RoleId(foreign.id);
    assert_eq!(refused(office.core.show_role(&ctx, id).await), ErrorCode::RoleNotFound);
    assert_eq!(refused(office.core.update_role(&ctx, id, 1, &change).await), ErrorCode::RoleNotFound);
    let attempt = office.core.assign_role(&ctx, &assignment(office.administrator, id)).await;
    assert_eq!(refused(attempt), ErrorCode::RoleNotFound);
    let codes: Vec<_> = office
        .core
        .list_roles(&ctx, FIRST)
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|role| role.role_code)
        .collect();
    assert!(codes.contains(&"requester".to_owned()) && !codes.contains(&"theirs".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_changed_in_the_version_that_was_read() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let made = office.core.create_role(&ctx, &role("mine", &["request:read"])).await.unwrap();
    let change = RoleChange {
        name: "Mine".to_owned(),
        description: String::new(),
        permissions: vec!["audit:read".to_owned()],
    };
    let changed = office.core.update_role(&ctx, made.id.into(), made.version, &change).await.unwrap();
    let stored = office.core.show_role(&ctx, made.id.into()).await.unwrap();
    assert_eq!((changed.version, stored.version), (2, 2));
    let late = office.core.update_role(&ctx, made.id.into(), made.version, &change).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_users_and_assignments_are_not_found() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let nobody = assignment(UserId(Uuid::nil()), REQUESTER);
    assert_eq!(refused(office.core.assign_role(&ctx, &nobody).await), ErrorCode::UserNotFound);
    assert_eq!(
        refused(office.core.revoke_assignment(&ctx, Uuid::nil(), None, None).await),
        ErrorCode::RoleNotFound
    );
    let again = assignment(office.administrator, REQUESTER);
    office.core.assign_role(&ctx, &again).await.unwrap();
    assert_eq!(refused(office.core.assign_role(&ctx, &again).await), ErrorCode::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_away_more_than_they_hold() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let clerk = role("clerk", &["role:assign", "user:read", "request:read"]);
    let clerk = office.core.create_role(&ctx, &clerk).await.unwrap();
    let clerk = office.hire(&ctx, "clerk", clerk.id.into()).await;
    let key = office.key_for(&ctx, &clerk, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let ann = office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let more = office.core.assign_role(&ctx, &assignment(UserId(ann.id), APPROVER)).await.unwrap();
    let attempt = office.core.revoke_assignment(&inside, more.id, None, None).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);

    let reader =
        office.core.create_role(&ctx, &role("reader", &["request:read", "audit:read"])).await.unwrap();
    let less = RoleChange {
        name: "Reader".to_owned(),
        description: String::new(),
        permissions: vec!["request:read".to_owned()],
    };
    let attempt = office.core.update_role(&inside, reader.id.into(), reader.version, &less).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let changed = office.core.update_role(&ctx, reader.id.into(), reader.version, &less).await.unwrap();
    let given = office.core.assign_role(&ctx, &assignment(UserId(ann.id), reader.id.into())).await.unwrap();
    office.core.revoke_assignment(&inside, given.id, None, None).await.unwrap();
    office.core.update_role(&inside, reader.id.into(), changed.version, &less).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_and_reasons_have_an_end_and_no_nul() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let given = office.core.list_assignments(&ctx, None, FIRST).await.unwrap().items[0].id;
    let own = office.core.create_role(&ctx, &role("own", &["request:read"])).await.unwrap();
    for text in ["a\0b".to_owned(), "a".repeat(4097)] {
        let new = NewRole { description: text.clone(), ..role("new", &[]) };
        assert_eq!(refused(office.core.create_role(&ctx, &new).await), ErrorCode::InvalidRequest);
        let change =
            RoleChange { name: "Own".to_owned(), description: text.clone(), permissions: Vec::new() };
        let attempt = office.core.update_role(&ctx, own.id.into(), own.version, &change).await;
        assert_eq!(refused(attempt), ErrorCode::InvalidRequest);
        let new =
            NewAssignment { reason: Some(text.clone()), ..assignment(office.administrator, own.id.into()) };
        assert_eq!(refused(office.core.assign_role(&ctx, &new).await), ErrorCode::InvalidRequest);
        let attempt = office.core.revoke_assignment(&ctx, given, None, Some(&text)).await;
        assert_eq!(refused(attempt), ErrorCode::InvalidRequest);
    }
}
