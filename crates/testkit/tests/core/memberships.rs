use clm_core::roles::{ADMINISTRATOR, APPROVER, NewRole, REQUESTER};
use clm_core::{Core, CoreError, Ctx};
use clm_types::{ErrorCode, GroupId, OrganizationId, Permission, UserId};
use uuid::Uuid;

use crate::groups::{group, joining};
use crate::office::{FIRST, Office, assignment, refused};
use crate::sign_in::PASSWORD;

/// Ann of one organization, and the administrator of another.
async fn neighbours() -> (Office, OrganizationId, Ctx, Ctx) {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let other = office.new_organization("other").await;
    let theirs = office.as_administrator_of(other).await;
    office.welcome(&theirs, "boss", ADMINISTRATOR).await;
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    let ann = office.enter(opened.token.expose()).await.unwrap();
    (office, other, theirs, ann)
}

fn id(ann: &Ctx) -> UserId {
    ann.actor.user_id.unwrap()
}

async fn states(core: &Core, ann: &Ctx) -> Vec<String> {
    core.list_memberships(ann).await.unwrap().into_iter().map(|one| one.status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_knows_nobody_before_they_join() {
    let (office, other, theirs, ann) = neighbours().await;
    let core = &office.core;
    core.invite_member(&theirs, "ann").await.unwrap();
    // The answer is the same, and what is seen of her too.
    core.invite_member(&theirs, "nobody-at-all").await.unwrap();
    assert_eq!(refused(core.show_user(&theirs, id(&ann)).await), ErrorCode::UserNotFound);
    let listed = core.list_users(&theirs, FIRST).await.unwrap().items;
    assert!(listed.iter().all(|user| user.username != "ann"));
    let role = assignment(id(&ann), REQUESTER);
    assert_eq!(refused(core.assign_role(&theirs, &role).await), ErrorCode::UserNotFound);
    let inside = async || {
        let opened = office.sign_in("ann", PASSWORD).await.unwrap();
        core.authenticate(opened.token.expose(), Some(other), Uuid::nil(), None).await
    };
    assert_eq!(refused(inside().await), ErrorCode::OrganizationNotFound);
    assert_eq!(states(core, &ann).await, ["active", "invited"]);
    let told = core.list_notifications(&ann, false, FIRST).await.unwrap().items;
    assert!(told.iter().any(|one| one.kind == "member.invite" && !one.body.contains(&other.to_string())));
    core.accept_membership(&ann, other).await.unwrap();
    core.assign_role(&theirs, &role).await.unwrap();
    inside().await.unwrap().require(Permission::RequestCreate).unwrap();
    assert_eq!(refused(core.accept_membership(&ann, other).await), ErrorCode::OrganizationNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_takes_nothing_from_the_organization_at_home() {
    let (office, _, theirs, ann) = neighbours().await;
    let home = office.as_administrator().await;
    office.core.invite_member(&theirs, "ann").await.unwrap();
    // Ann is still a user of her own organization alone: its administrators go on.
    let clerk = NewRole {
        code: "clerk".to_owned(),
        name: "Clerk".to_owned(),
        description: String::new(),
        parent_role_id: Some(REQUESTER),
        permissions: vec!["user:write".to_owned(), "user:read".to_owned()],
    };
    let clerk = office.core.create_role(&home, &clerk).await.unwrap();
    office.welcome(&home, "clerk", clerk.id.into()).await;
    let opened = office.sign_in("clerk", PASSWORD).await.unwrap();
    let clerk = office.enter(opened.token.expose()).await.unwrap();
    office.core.create_link(&clerk, id(&ann)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_is_suspended_and_ended_with_its_rights() {
    let (office, other, theirs, ann) = neighbours().await;
    let core = &office.core;
    core.invite_member(&theirs, "ann").await.unwrap();
    core.accept_membership(&ann, other).await.unwrap();
    core.assign_role(&theirs, &assignment(id(&ann), REQUESTER)).await.unwrap();
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    let inside = async || core.authenticate(opened.token.expose(), Some(other), Uuid::nil(), None).await;
    inside().await.unwrap();
    core.suspend_member(&theirs, id(&ann)).await.unwrap();
    assert_eq!(refused(inside().await), ErrorCode::OrganizationNotFound);
    assert_eq!(refused(core.suspend_member(&theirs, id(&ann)).await), ErrorCode::Conflict);
    // She cannot let herself in again.
    assert_eq!(refused(core.accept_membership(&ann, other).await), ErrorCode::OrganizationNotFound);
    core.resume_member(&theirs, id(&ann)).await.unwrap();
    inside().await.unwrap();
    core.prefer_organization(&ann, other).await.unwrap();
    assert_eq!(office.enter(opened.token.expose()).await.unwrap().organization_id, other);
    core.leave_organization(&ann, other).await.unwrap();
    let home = office.enter(opened.token.expose()).await.unwrap().organization_id;
    assert_eq!(home, office.organization_id);
    assert_eq!(refused(inside().await), ErrorCode::OrganizationNotFound);
    // Invited once more, she begins without roles.
    core.invite_member(&theirs, "ann").await.unwrap();
    core.accept_membership(&ann, other).await.unwrap();
    assert!(inside().await.unwrap().actor.permissions.is_empty());
    core.remove_member(&theirs, id(&ann)).await.unwrap();
    assert_eq!(states(core, &ann).await, ["active"]);
    assert_eq!(refused(core.remove_member(&theirs, id(&ann)).await), ErrorCode::UserNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_a_group_is_just_given_does_not_outlive_the_membership() {
    let (office, other, theirs, ann) = neighbours().await;
    let core = &office.core;
    core.invite_member(&theirs, "ann").await.unwrap();
    core.accept_membership(&ann, other).await.unwrap();
    let web = group(core, &theirs, "Web", REQUESTER).await;
    core.change_group_members(&theirs, GroupId(web.id), &joining(&[id(&ann)])).await.unwrap();
    let pool = office.database.superuser().await;
    // As who gives the group another role: begun before she is removed, and ended while that waits.
    let mut giving = pool.begin().await.unwrap();
    sqlx::query("SELECT id FROM groups WHERE id = $1 FOR UPDATE")
        .bind(web.id)
        .execute(&mut *giving)
        .await
        .unwrap();
    let given = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&pool).await.unwrap() {
            tokio::task::yield_now().await;
        }
        let assign = "INSERT INTO user_roles (user_id, role_id, organization_id, group_id, valid_from, created_at, updated_at)
                      VALUES ($1, $2, $3, $4, now(), now(), now())";
        let assign = sqlx::query(assign).bind(id(&ann).0).bind(APPROVER.0).bind(other.0).bind(web.id);
        assign.execute(&mut *giving).await.unwrap();
        giving.commit().await.unwrap();
    };
    let both = async { tokio::join!(core.remove_member(&theirs, id(&ann)), given) };
    let (removed, ()) = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.unwrap();
    removed.unwrap();
    let left = core.list_assignments(&theirs, Some(id(&ann)), FIRST).await.unwrap().items;
    assert!(left.len() == 2 && left.iter().all(|one| one.revoked_at.is_some()), "{left:?}");
}

/// Nor would the audit log of her own organization, where the refusal is noted as she reads it.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_does_not_learn_why_nobody_is_taken_in() {
    let (office, other, theirs, ann) = neighbours().await;
    office.core.invite_member(&theirs, "ann").await.unwrap();
    let pool = office.database.superuser().await;
    let mut told = Vec::new();
    for state in ["license_max_users = 1", "subscription_status = 'expired'", "status = 'suspended'"] {
        let whole = "license_max_users = NULL, subscription_status = 'active', status = 'active'";
        for change in [whole, state] {
            let sql = format!("UPDATE organizations SET {change} WHERE org_code = 'other'");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        }
        let attempt = office.core.accept_membership(&ann, other).await;
        let Err(CoreError::Refused(refusal)) = attempt else { panic!("{state}: {attempt:?}") };
        assert_eq!(refusal.code, ErrorCode::Conflict);
        told.push(format!("{refusal} {:?}", refusal.hint));
    }
    assert!(told.iter().all(|one| *one == told[0] && !one.contains('1')), "{told:?}");
    assert_eq!(states(&office.core, &ann).await, ["active", "invited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_a_member_stays_known_when_invited_again() {
    let (office, other, theirs, ann) = neighbours().await;
    office.core.invite_member(&theirs, "ann").await.unwrap();
    office.core.accept_membership(&ann, other).await.unwrap();
    office.core.leave_organization(&ann, other).await.unwrap();
    let config = clm_pg::PgConfig { max_connections: 1, ..office.database.config("clm_core_app") };
    let app = clm_pg::connect(&config, "test").await.unwrap();
    let enter = "SELECT set_config('clm.org_id', $1, false)";
    sqlx::query(enter).bind(other.to_string()).execute(&app).await.unwrap();
    let is_seen = async || {
        let sql = "SELECT EXISTS (SELECT FROM users WHERE username = 'ann')";
        sqlx::query_scalar::<_, bool>(sql).fetch_one(&app).await.unwrap()
    };
    assert!(is_seen().await);
    office.core.invite_member(&theirs, "ann").await.unwrap();
    assert_eq!(states(&office.core, &ann).await, ["active", "invited"]);
    assert!(is_seen().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_heeds_the_licence_and_limited_keys_leave_nothing() {
    let (office, other, theirs, ann) = neighbours().await;
    office.core.invite_member(&theirs, "ann").await.unwrap();
    sqlx::query("UPDATE organizations SET license_max_users = 1 WHERE org_code = 'other'")
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    let uninvited = office.as_administrator().await;
    let attempt = office.core.accept_membership(&uninvited, other).await;
    assert_eq!(refused(attempt), ErrorCode::OrganizationNotFound, "nor does it show how full it is");
    assert_eq!(refused(office.core.accept_membership(&ann, other).await), ErrorCode::Conflict);
    // Turned down, and the organization does not learn by whom.
    office.core.leave_organization(&ann, other).await.unwrap();
    let told: Vec<String> = sqlx::query_scalar("SELECT a::text FROM audit_log a WHERE organization_id = $1")
        .bind(Uuid::from(other))
        .fetch_all(&office.database.superuser().await)
        .await
        .unwrap();
    assert!(told.iter().all(|entry| !entry.contains(&id(&ann).to_string())));
    let home = office.as_administrator().await;
    let user = office.core.show_user(&home, id(&ann)).await.unwrap();
    let limited = office.enter(&office.key_for(&home, &user, &["request:read"]).await).await.unwrap();
    assert_eq!(refused(office.core.leave_organization(&limited, other).await), ErrorCode::PermissionDenied);
    assert_eq!(refused(office.core.list_memberships(&limited).await), ErrorCode::PermissionDenied);
    // Without any membership she could not even be deleted.
    let last = office.core.leave_organization(&ann, office.organization_id).await;
    assert_eq!(refused(last), ErrorCode::Conflict);
    let last = office.core.remove_member(&home, id(&ann)).await;
    assert_eq!(refused(last), ErrorCode::Conflict);
}
