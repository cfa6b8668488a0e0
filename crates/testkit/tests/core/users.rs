use clm_core::CoreError;
use clm_core::api_keys::NewApiKey;
use clm_core::roles::{ADMINISTRATOR, NewRole, REQUESTER};
use clm_core::users::UserChange;
use clm_types::{ErrorCode, UserId};
use uuid::Uuid;

use crate::office::{FIRST, Office, new_key, new_user, refused};
use crate::sign_in::PASSWORD;

fn change(email: &str) -> UserChange {
    UserChange { email: email.to_owned(), display_name: "Changed".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn usernames_and_addresses_are_taken_once() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let mut same_name = new_user("ANN");
    same_name.email = "other@example.com".to_owned();
    let mut same_address = new_user("ann2");
    same_address.email = "Ann@example.com".to_owned();
    // Nor does anybody learn which of them another organization has.
    let elsewhere = office.as_administrator_of(office.new_organization("other").await).await;
    let mut answers = Vec::new();
    for ctx in [&ctx, &elsewhere] {
        for new in [&same_name, &same_address] {
            let Err(CoreError::Refused(refusal)) = office.core.create_user(ctx, new).await else {
                panic!("must be refused");
            };
            assert_eq!(refusal.code, ErrorCode::AlreadyExists);
            answers.push(refusal);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].field, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_another_organization_are_not_found() {
    let office = Office::open().await;
    let other = office.new_organization("other").await;
    let theirs = office.hire(&office.as_administrator_of(other).await, "ann", ADMINISTRATOR).await;
    let ctx = office.as_administrator().await;
    let id = UserId(theirs.id);
    assert_eq!(refused(office.core.show_user(&ctx, id).await), ErrorCode::UserNotFound);
    assert_eq!(refused(office.core.disable_user(&ctx, id, 1).await), ErrorCode::UserNotFound);
    let names: Vec<_> = office.core.list_users(&ctx, FIRST).await.unwrap().items;
    assert!(names.iter().all(|user| user.id != theirs.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_one_organization_leaves_global_ones_alone() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", ADMINISTRATOR).await;
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let root = office.core.show_user(&inside, office.administrator).await.unwrap();
    let attempt = office.core.disable_user(&inside, office.administrator, root.version).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let attempt = office
        .core
        .update_user(&inside, office.administrator, root.version, &change("mine@example.com"))
        .await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_permissions_sees_only_themselves() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let key = office.key_for(&ctx, &ann, &["request:read"]).await;
    let inside = office.enter(&key).await.unwrap();
    office.core.show_user(&inside, UserId(ann.id)).await.unwrap();
    assert_eq!(
        refused(office.core.show_user(&inside, office.administrator).await),
        ErrorCode::PermissionDenied
    );
    assert_eq!(refused(office.core.list_users(&inside, FIRST).await), ErrorCode::PermissionDenied);
    assert_eq!(
        refused(office.core.create_user(&inside, &new_user("bob")).await),
        ErrorCode::PermissionDenied
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_changed_in_the_version_that_was_read() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let change = change("ann@example.net");
    let changed = office.core.update_user(&ctx, UserId(ann.id), ann.version, &change).await.unwrap();
    assert_eq!((changed.email.as_str(), changed.version), ("ann@example.net", 2));
    let late = office.core.update_user(&ctx, UserId(ann.id), ann.version, &change).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
    let taken = UserChange { email: "root@example.com".to_owned(), ..change };
    let taken = office.core.update_user(&ctx, UserId(ann.id), changed.version, &taken).await;
    assert_eq!(refused(taken), ErrorCode::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_has_no_more_members_than_its_licence() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    sqlx::query("UPDATE organizations SET license_max_users = 2")
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    // At once, where each of them alone would find room.
    let names = ["ann", "bob", "carol", "dave"].map(new_user);
    let hired = names.iter().map(|new| office.core.create_user(&ctx, new));
    let hired = futures::future::join_all(hired).await;
    assert_eq!(hired.iter().filter(|made| made.is_ok()).count(), 1);
    for attempt in hired.into_iter().filter(Result::is_err) {
        assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached);
    }
}

/// Who administers users and nothing else.
fn clerk() -> NewRole {
    NewRole {
        code: "clerk".to_owned(),
        name: "Clerk".to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: vec!["user:write".to_owned(), "user:read".to_owned()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_less_cannot_take_over_who_may_do_more() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let role = office.core.create_role(&ctx, &clerk()).await.unwrap();
    office.welcome(&ctx, "clerk", role.id.into()).await;
    let session = office.sign_in("clerk", PASSWORD).await.unwrap();
    let inside = office.enter(session.token.expose()).await.unwrap();
    let boss = office.hire(&ctx, "boss", ADMINISTRATOR).await;
    let mine = change("mine@example.com");
    let attempt = office.core.update_user(&inside, UserId(boss.id), boss.version, &mine).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let attempt = office.core.disable_user(&inside, UserId(boss.id), boss.version).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let newcomer = office.core.create_user(&inside, &new_user("newcomer")).await.unwrap();
    office.core.update_user(&inside, UserId(newcomer.id), newcomer.version, &mine).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limited_key_changes_an_address_not_even_its_own() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let role = office.core.create_role(&ctx, &clerk()).await.unwrap();
    let clerk = office.welcome(&ctx, "clerk", role.id.into()).await;
    let session = office.sign_in("clerk", PASSWORD).await.unwrap();
    let own = office.enter(session.token.expose()).await.unwrap();
    let scoped = new_key(None, &["user:read", "user:write"]);
    let networked = NewApiKey { allowed_addresses: vec!["192.0.2.0/24".to_owned()], ..new_key(None, &[]) };
    for new in [scoped, networked] {
        let key = office.core.create_api_key(&own, &new).await.unwrap().1;
        let address = Some("192.0.2.7".parse().unwrap());
        let inside = office.core.authenticate(key.expose(), None, Uuid::nil(), address).await.unwrap();
        for user in [&ann, &clerk] {
            let mine = change("mine@example.com");
            let attempt = office.core.update_user(&inside, UserId(user.id), user.version, &mine).await;
            assert_eq!(refused(attempt), ErrorCode::PermissionDenied, "{}", user.username);
        }
        // A name to show is another matter.
        let now = office.core.show_user(&ctx, UserId(ann.id)).await.unwrap();
        office.core.update_user(&inside, UserId(ann.id), now.version, &change(&now.email)).await.unwrap();
    }
}
