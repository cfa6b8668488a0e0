use clm_core::api_keys::NewApiKey;
use clm_core::roles::{ADMINISTRATOR, REQUESTER};
use clm_types::{ErrorCode, UserId};

use crate::office::{FIRST, Office, new_key, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_cannot_make_a_stronger_one() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let weak = new_key(None, &["api_key:write", "request:read"]);
    let (_, weak) = office.core.create_api_key(&ctx, &weak).await.unwrap();
    let inside = office.enter(weak.expose()).await.unwrap();
    for new in [
        new_key(None, &[]),
        new_key(None, &["*"]),
        new_key(None, &["user:write"]),
        NewApiKey { everywhere: true, ..new_key(None, &["request:read"]) },
    ] {
        assert_eq!(
            refused(office.core.create_api_key(&inside, &new).await),
            ErrorCode::PermissionDenied,
            "{new:?}"
        );
    }
    office.core.create_api_key(&inside, &new_key(None, &["request:read"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_an_administrator_gives_its_maker_nothing_new() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let clerk_role = clm_core::roles::NewRole {
        code: "clerk".to_owned(),
        name: "Clerk".to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: vec!["api_key:write".to_owned(), "user:read".to_owned()],
    };
    let role = office.core.create_role(&ctx, &clerk_role).await.unwrap();
    let clerk = office.hire(&ctx, "clerk", role.id.into()).await;
    let key = office.key_for(&ctx, &clerk, &["api_key:write", "user:read"]).await;
    let inside = office.enter(&key).await.unwrap();
    for scopes in [&[][..], &["*"], &["role:assign"]] {
        let attempt = office.core.create_api_key(&inside, &new_key(Some(office.administrator), scopes)).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_and_ends_ones_own_keys_and_no_others() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let key = office.key_for(&ctx, &ann, &["request:read"]).await;
    let inside = office.enter(&key).await.unwrap();
    let own = office.core.list_api_keys(&inside, None, FIRST).await.unwrap();
    assert_eq!(own.items.len(), 1);
    let administrators = office.core.list_api_keys(&ctx, Some(office.administrator), FIRST).await.unwrap();
    let foreign = administrators.items[0].id.into();
    assert_eq!(refused(office.core.show_api_key(&inside, foreign).await), ErrorCode::ApiKeyNotFound);
    assert_eq!(refused(office.core.revoke_api_key(&inside, foreign).await), ErrorCode::ApiKeyNotFound);
    let all = office.core.list_api_keys(&inside, Some(office.administrator), FIRST).await;
    assert_eq!(refused(all), ErrorCode::PermissionDenied);
    office.core.revoke_api_key(&inside, own.items[0].id.into()).await.unwrap();
    assert_eq!(refused(office.enter(&key).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_organization_is_not_found() {
    let office = Office::open().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let ann = office.hire(&inside, "ann", ADMINISTRATOR).await;
    let (key, _) = office.core.create_api_key(&inside, &new_key(Some(UserId(ann.id)), &["*"])).await.unwrap();
    let ctx = office.as_administrator().await;
    assert_eq!(refused(office.core.show_api_key(&ctx, key.id.into()).await), ErrorCode::ApiKeyNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_key_is_noted() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let pool = office.database.superuser().await;
    let used = async || {
        sqlx::query_scalar::<_, bool>("SELECT last_used_at IS NOT NULL FROM api_keys")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    // It is noted off the request's path; the bound is generous.
    for _ in 0..1_000 {
        if used().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the key of {:?} was not noted", ctx.actor.user_id);
}
