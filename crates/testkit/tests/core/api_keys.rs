use chrono::TimeDelta;
use clm_core::api_keys::NewApiKey;
use clm_core::roles::{ADMINISTRATOR, APPROVER, NewRole, REQUESTER};
use clm_types::{ErrorCode, UserId};
use uuid::Uuid;

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
    // Not even what the clerk holds: the administrator may work where the clerk may not.
    for scopes in [&[][..], &["*"], &["role:assign"], &["user:read"]] {
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
    let own = office.core.list_api_keys(&inside, (None, None), FIRST).await.unwrap();
    assert_eq!(own.items.len(), 1);
    let administrators =
        office.core.list_api_keys(&ctx, (Some(office.administrator), None), FIRST).await.unwrap();
    let foreign = administrators.items[0].id.into();
    assert_eq!(refused(office.core.show_api_key(&inside, foreign).await), ErrorCode::ApiKeyNotFound);
    assert_eq!(refused(office.core.revoke_api_key(&inside, foreign).await), ErrorCode::ApiKeyNotFound);
    let all = office.core.list_api_keys(&inside, (Some(office.administrator), None), FIRST).await;
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
    // It is noted off the request's path.
    let noted = async {
        while !used().await {
            tokio::task::yield_now().await;
        }
    };
    let noted = tokio::time::timeout(std::time::Duration::from_secs(20), noted).await;
    assert!(noted.is_ok(), "the key of {:?} was not noted", ctx.actor.user_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_with_a_key_that_they_made_for_somebody_else() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let lead = NewRole {
        code: "lead".to_owned(),
        name: "Lead".to_owned(),
        description: String::new(),
        parent_role_id: Some(APPROVER),
        permissions: vec!["api_key:write".to_owned(), "user:write".to_owned(), "role:assign".to_owned()],
    };
    let lead = office.core.create_role(&ctx, &lead).await.unwrap();
    let lead = office.hire(&ctx, "lead", lead.id.into()).await;
    let key = office.key_for(&ctx, &lead, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    let bob = office.hire(&ctx, "bob", APPROVER).await;
    let id = UserId(bob.id);
    for scopes in
        [&["request:approve"][..], &["request:read", "role:assign"], &["user:write"], &["api_key:write"]]
    {
        let attempt = office.core.create_api_key(&inside, &new_key(Some(id), scopes)).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied, "{scopes:?}");
    }
    office.core.create_api_key(&inside, &new_key(Some(id), &["request:read"])).await.unwrap();
    // What the lead holds herself, she may put into a key of her own.
    office.core.create_api_key(&inside, &new_key(None, &["request:approve"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_s_first_key_comes_from_an_administrator_and_only_while_there_is_none() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let bob = office.hire(&ctx, "bob", APPROVER).await;
    let key = new_key(Some(UserId(bob.id)), &["request:approve"]);
    let (first, _) = office.core.create_api_key(&ctx, &key).await.unwrap();
    assert_eq!(refused(office.core.create_api_key(&ctx, &key).await), ErrorCode::PermissionDenied);
    office.core.revoke_api_key(&ctx, first.id.into()).await.unwrap();
    office.core.create_api_key(&ctx, &key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_for_somebody_who_signs_in_by_passkey_or_provider() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let pool = office.database.superuser().await;
    let ways = [
        ("passkeys", "INSERT INTO passkeys (user_id, credential_id, public_key, name, authenticator_model, sign_count,
             backup_eligible, backed_up, created_at, updated_at)
         VALUES ($1, 'a', 'a', 'a', uuid_generate_v7(), 0, false, false, now(), now())"),
        ("external_identities", "INSERT INTO external_identities (user_id, provider, issuer, subject, confirmed, created_at, updated_at)
         VALUES ($1, 'a', 'https://a.example', 'a', true, now(), now())"),
    ];
    for (table, insert) in ways {
        let user = UserId(office.hire(&ctx, &table.replace('_', "-"), APPROVER).await.id);
        sqlx::query(insert).bind(user.0).execute(&pool).await.unwrap();
        let key = new_key(Some(user), &["request:approve"]);
        assert_eq!(
            refused(office.core.create_api_key(&ctx, &key).await),
            ErrorCode::PermissionDenied,
            "{table}"
        );
        let revoke = format!("UPDATE {table} SET revoked_at = now() WHERE user_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(revoke)).bind(user.0).execute(&pool).await.unwrap();
        office.core.create_api_key(&ctx, &key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_bound_to_networks_makes_none_that_is_not() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let bound = NewApiKey {
        everywhere: true,
        allowed_addresses: vec!["192.0.2.0/24".to_owned()],
        ..new_key(None, &[])
    };
    let (_, bound) = office.core.create_api_key(&ctx, &bound).await.unwrap();
    let address = Some("192.0.2.7".parse().unwrap());
    let inside = office.core.authenticate(bound.expose(), None, Uuid::nil(), address).await.unwrap();
    assert_eq!(
        refused(office.core.create_api_key(&inside, &new_key(None, &[])).await),
        ErrorCode::PermissionDenied
    );
    let (child, _) = office.core.create_api_key(&inside, &new_key(None, &["*"])).await.unwrap();
    assert_eq!(child.allowed_addresses, ["192.0.2.0/24"]);
    for (network, allowed) in [("192.0.2.128/25", true), ("0.0.0.0/0", false), ("198.51.100.1", false)] {
        let new = NewApiKey { allowed_addresses: vec![network.to_owned()], ..new_key(None, &["*"]) };
        assert_eq!(office.core.create_api_key(&inside, &new).await.is_ok(), allowed, "{network}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_early_makes_none_that_outlives_it() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let end = ctx.now + TimeDelta::days(1);
    let short = NewApiKey { everywhere: true, expires_at: Some(end), ..new_key(None, &[]) };
    let (_, short) = office.core.create_api_key(&ctx, &short).await.unwrap();
    let inside = office.enter(short.expose()).await.unwrap();
    let (child, _) = office.core.create_api_key(&inside, &new_key(None, &["*"])).await.unwrap();
    assert_eq!(child.expires_at, Some(end));
    let longer = NewApiKey { expires_at: Some(end + TimeDelta::days(1)), ..new_key(None, &["*"]) };
    assert_eq!(refused(office.core.create_api_key(&inside, &longer).await), ErrorCode::InvalidRequest);
    // The usual key of an administrator can be followed by another one.
    let next = NewApiKey { everywhere: true, ..new_key(None, &[]) };
    let next = NewApiKey { expires_at: Some(ctx.now + TimeDelta::days(365)), ..next };
    office.core.create_api_key(&ctx, &next).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_by_one_like_it_and_both_work_for_a_while() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let mut new = new_key(None, &["request:read"]);
    new.allowed_addresses = vec!["192.0.2.0/24".to_owned()];
    new.expires_at = Some(ctx.now + TimeDelta::days(30));
    let (old, token) = office.core.create_api_key(&ctx, &new).await.unwrap();
    office.core.clock.advance(TimeDelta::days(20));
    let ctx = office.as_administrator().await;
    let overlap = TimeDelta::hours(2);
    let (made, fresh) = office.core.rotate_api_key(&ctx, old.id.into(), overlap).await.unwrap();
    assert_eq!((&made.scopes, &made.allowed_addresses), (&old.scopes, &old.allowed_addresses));
    assert_eq!(made.expires_at, Some(ctx.now + TimeDelta::days(30)));
    let again = office.core.rotate_api_key(&ctx, old.id.into(), overlap).await;
    assert_eq!(refused(again), ErrorCode::PreconditionFailed, "it has a successor");
    let address = Some("192.0.2.7".parse().unwrap());
    let works = async |token: &str| office.core.authenticate(token, None, Uuid::nil(), address).await.is_ok();
    assert!(works(token.expose()).await && works(fresh.expose()).await);
    office.core.clock.advance(overlap);
    assert!(!works(token.expose()).await && works(fresh.expose()).await);
    let ctx = office.as_administrator().await;
    let again = office.core.rotate_api_key(&ctx, old.id.into(), overlap).await;
    assert_eq!(refused(again), ErrorCode::PreconditionFailed);
    let long = office.core.rotate_api_key(&ctx, made.id.into(), TimeDelta::days(8)).await;
    assert_eq!(refused(long), ErrorCode::InvalidRequest);
    // Who could not make such a key does not replace it.
    let limited = office.core.authenticate(fresh.expose(), None, Uuid::nil(), address).await.unwrap();
    let attempt = office.core.rotate_api_key(&limited, made.id.into(), overlap).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
}
