use chrono::TimeDelta;
use clm_core::roles::{APPROVER, AUDITOR, NewAssignment, REQUESTER};
use clm_core::tokens::{Token, TokenKind};
use clm_types::{Entropy, ErrorCode, OrganizationId, Permission, UserId};
use uuid::Uuid;

use crate::office::{Office, assignment, new_key, refused};

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_none_of_ours_are_refused() {
    let office = Office::open().await;
    let stranger = Token::generate(TokenKind::Personal, &Entropy::system());
    for token in ["", "clm_pat_", "Bearer x", stranger.expose()] {
        assert_eq!(refused(office.enter(token).await), ErrorCode::Unauthenticated, "{token}");
    }
    let bootstrap = Token::generate(TokenKind::Bootstrap, &Entropy::system());
    assert_eq!(refused(office.enter(bootstrap.expose()).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_the_right_beginning_and_a_wrong_secret_is_refused() {
    let office = Office::open().await;
    let forged = Token::generate(TokenKind::Personal, &Entropy::system());
    sqlx::query("UPDATE api_keys SET key_prefix = $1")
        .bind(forged.lookup_prefix())
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(refused(office.enter(forged.expose()).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_at_once() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let user = office.hire(&ctx, "ann", REQUESTER).await;
    let (key, token) =
        office.core.create_api_key(&ctx, &new_key(Some(UserId(user.id)), &["request:read"])).await.unwrap();
    office.enter(token.expose()).await.unwrap();
    office.core.revoke_api_key(&ctx, key.id.into()).await.unwrap();
    assert_eq!(refused(office.enter(token.expose()).await), ErrorCode::Unauthenticated);
    assert_eq!(refused(office.core.revoke_api_key(&ctx, key.id.into()).await), ErrorCode::PreconditionFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_and_a_key_of_a_disabled_user_are_refused() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let user = office.hire(&ctx, "ann", REQUESTER).await;
    let key = office.key_for(&ctx, &user, &["request:read"]).await;
    office.enter(&key).await.unwrap();
    office.core.disable_user(&ctx, UserId(user.id), user.version).await.unwrap();
    assert_eq!(refused(office.enter(&key).await), ErrorCode::UserNotActive);
    office.core.enable_user(&ctx, UserId(user.id), user.version + 1).await.unwrap();
    office.enter(&key).await.unwrap();
    office.core.clock.advance(TimeDelta::days(90));
    assert_eq!(refused(office.enter(&key).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_holds_within_its_window_only() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let user = office.hire(&ctx, "ann", REQUESTER).await;
    let window = NewAssignment {
        valid_from: Some(ctx.now + TimeDelta::minutes(10)),
        valid_until: Some(ctx.now + TimeDelta::minutes(20)),
        ..assignment(UserId(user.id), APPROVER)
    };
    office.core.assign_role(&ctx, &window).await.unwrap();
    let key = office.key_for(&ctx, &user, &["request:approve", "request:read"]).await;
    let may_approve = async || office.enter(&key).await.unwrap().require(Permission::RequestApprove).is_ok();
    assert!(!may_approve().await);
    office.core.clock.advance(TimeDelta::minutes(10));
    office.core.forget_everything();
    assert!(may_approve().await);
    // The end is kept even by what is believed for a while.
    office.core.clock.advance(TimeDelta::minutes(10));
    assert!(!may_approve().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_taken_away_is_gone_at_once() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let user = office.core.create_user(&ctx, &crate::office::new_user("ann")).await.unwrap();
    let given = office.core.assign_role(&ctx, &assignment(UserId(user.id), AUDITOR)).await.unwrap();
    let key = office.key_for(&ctx, &user, &["*"]).await;
    let entered = office.enter(&key).await.unwrap();
    entered.require(Permission::AuditRead).unwrap();
    assert_eq!(entered.actor.role_ids, [AUDITOR]);
    office.core.revoke_assignment(&ctx, given.id, None, None).await.unwrap();
    assert!(office.enter(&key).await.unwrap().require(Permission::AuditRead).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_is_not_found_unless_one_belongs_to_it() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let user = office.hire(&ctx, "ann", REQUESTER).await;
    let key = office.key_for(&ctx, &user, &["request:read"]).await;
    for id in [other, OrganizationId(Uuid::nil())] {
        let attempt = office.core.authenticate(&key, Some(id), Uuid::nil(), None).await;
        assert_eq!(refused(attempt), ErrorCode::OrganizationNotFound);
    }
    let inside = office.as_administrator_of(other).await;
    assert_eq!(inside.organization_id, other);
    let nowhere = office.core.authenticate(
        &office.administrator_key,
        Some(OrganizationId(Uuid::nil())),
        Uuid::nil(),
        None,
    );
    assert_eq!(refused(nowhere.await), ErrorCode::OrganizationNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_works_in_a_suspended_organization() {
    let office = Office::open().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let user = office.hire(&inside, "ann", REQUESTER).await;
    let key = office.key_for(&inside, &user, &["request:read"]).await;
    office.enter(&key).await.unwrap();
    let ctx = office.as_administrator().await;
    let version = office.core.show_organization(&ctx, other).await.unwrap().version;
    office.core.suspend_organization(&ctx, other, version).await.unwrap();
    assert_eq!(refused(office.enter(&key).await), ErrorCode::OrganizationNotActive);
    office.core.resume_organization(&ctx, other, version + 1).await.unwrap();
    office.enter(&key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_bound_to_its_networks() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let mut new = new_key(None, &[]);
    new.allowed_addresses = vec!["192.0.2.0/24".to_owned(), "2001:db8::1".to_owned()];
    let (_, token) = office.core.create_api_key(&ctx, &new).await.unwrap();
    for (address, allowed) in [("192.0.2.7", true), ("2001:db8::1", true), ("198.51.100.1", false)] {
        let entered =
            office.core.authenticate(token.expose(), None, Uuid::nil(), Some(address.parse().unwrap())).await;
        assert_eq!(entered.is_ok(), allowed, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_somebody_may_is_told_as_it_is_decided() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let user = office.hire(&ctx, "ann", REQUESTER).await;
    let later = NewAssignment {
        valid_from: Some(ctx.now + TimeDelta::days(1)),
        ..assignment(UserId(user.id), APPROVER)
    };
    office.core.assign_role(&ctx, &later).await.unwrap();
    let can =
        async |permission| office.core.explain_access(&ctx, UserId(user.id), permission, None).await.unwrap();
    assert!(can(Permission::RequestCreate).await.allowed);
    let refused_now = can(Permission::RequestApprove).await;
    assert!(!refused_now.allowed);
    assert!(refused_now.reasons.iter().any(|reason| reason.text.contains("from ")), "{refused_now:?}");
    // What is told is what a key of all permissions may.
    let entered = office.enter(&office.key_for(&ctx, &user, &["*"]).await).await.unwrap();
    for permission in Permission::ALL {
        assert_eq!(can(*permission).await.allowed, entered.require(*permission).is_ok(), "{permission}");
    }
    let nothing =
        office.core.explain_access(&entered, office.administrator, Permission::UserRead, None).await;
    assert_eq!(refused(nothing), ErrorCode::PermissionDenied);
    let unknown = Some(Uuid::nil());
    let nowhere =
        office.core.explain_access(&ctx, UserId(user.id), Permission::RequestApprove, unknown).await;
    assert_eq!(refused(nowhere), ErrorCode::NotFound);
    let odd = office.core.explain_access(&ctx, UserId(user.id), Permission::UserRead, unknown).await;
    assert_eq!(refused(odd), ErrorCode::InvalidRequest);
    let disabled = office.core.disable_user(&ctx, UserId(user.id), user.version).await.unwrap();
    assert!(!can(Permission::RequestCreate).await.allowed);
    office.core.enable_user(&ctx, UserId(user.id), disabled.version).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_has_the_permissions_of_its_parents() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let role = clm_core::roles::NewRole {
        code: "lead".to_owned(),
        name: "Lead".to_owned(),
        description: String::new(),
        parent_role_id: Some(APPROVER),
        permissions: vec!["audit:read".to_owned()],
    };
    let role = office.core.create_role(&ctx, &role).await.unwrap();
    let user = office.hire(&ctx, "ann", role.id.into()).await;
    let key = office.key_for(&ctx, &user, &["*"]).await;
    let entered = office.enter(&key).await.unwrap();
    entered.require(Permission::AuditRead).unwrap();
    entered.require(Permission::RequestApprove).unwrap();
    assert!(entered.require(Permission::PolicyWrite).is_err());
}
