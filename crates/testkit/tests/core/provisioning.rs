use clm_core::groups::GroupFilter;
use clm_core::provisioned_groups::ProvisionedGroupChange;
use clm_core::provisioned_users::{
    NewProvisionedUser, ProvisionedUser, ProvisionedUserChange, ProvisionedUserFilter,
};
use clm_core::provisioning::Window;
use clm_core::roles::{ADMINISTRATOR, APPROVER, NewRole, REQUESTER};
use clm_core::users::User;
use clm_core::{Core, CoreError, Ctx};
use clm_types::{ErrorCode, GroupId, OrganizationId, UserId};
use uuid::Uuid;

use crate::groups::{group, joining, named};
use crate::office::{FIRST, Office, assignment, new_key, new_user, refused};
use crate::sign_in::{PASSWORD, secret, visitor};

const ALL: Window = Window { start: 1, count: 200 };

fn role(code: &str, permissions: &[&str]) -> NewRole {
    NewRole {
        code: code.to_owned(),
        name: code.to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: permissions.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn person(name: &str) -> NewProvisionedUser {
    NewProvisionedUser {
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        display_name: name.to_owned(),
        external_id: Some(format!("external-{name}")),
        active: true,
    }
}

fn active(active: bool) -> ProvisionedUserChange {
    ProvisionedUserChange { active: Some(active), ..ProvisionedUserChange::default() }
}

/// A provisioning client of the organization of `ctx`, whose user may ask for certificates, and its user.
pub(crate) async fn client(office: &Office, ctx: &Ctx, name: &str) -> (Ctx, User) {
    let provisioner = role(&format!("{name}-role"), &["user:provision"]);
    let provisioner = office.core.create_role(ctx, &provisioner).await.unwrap();
    let user = office.hire(ctx, name, provisioner.id.into()).await;
    office.core.assign_role(ctx, &assignment(UserId(user.id), REQUESTER)).await.unwrap();
    let key = office.key_for(ctx, &user, &["user:provision"]).await;
    (office.enter(&key).await.unwrap(), user)
}

async fn names(core: &Core, client: &Ctx, filter: &ProvisionedUserFilter) -> Vec<String> {
    let found = core.list_provisioned_users(client, filter, ALL).await.unwrap();
    assert_eq!(usize::try_from(found.total).unwrap(), found.items.len());
    let mut names: Vec<_> = found.items.into_iter().map(|user| user.username).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_loses_sessions_keys_roles_and_groups_at_once() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (client, _) = client(&office, &ctx, "idp").await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let id = UserId(ann.id);
    let web = group(core, &ctx, "Web", REQUESTER).await;
    core.change_group_members(&ctx, GroupId(web.id), &joining(&[id])).await.unwrap();
    let key = office.key_for(&ctx, &ann, &["request:read"]).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    let link = core.create_link(&ctx, id).await.unwrap();
    for credential in [key.as_str(), session.token.expose()] {
        office.enter(credential).await.unwrap();
    }
    let changed = core.change_provisioned_user(&client, id, None, &active(false)).await.unwrap();
    assert!(!changed.active);
    for credential in [key.as_str(), session.token.expose()] {
        assert_eq!(refused(office.enter(credential).await), ErrorCode::Unauthenticated);
    }
    let used = core.use_link(link.token.expose(), &secret(PASSWORD), &visitor()).await;
    assert_eq!(refused(used), ErrorCode::LinkInvalid);
    let roles = core.list_assignments(&ctx, Some(id), FIRST).await.unwrap().items;
    assert!(roles.len() == 2 && roles.iter().all(|one| one.revoked_at.is_some()));
    assert!(core.list_group_members(&ctx, GroupId(web.id), FIRST).await.unwrap().items.is_empty());
    // Still there for the client; back again without anything.
    let back = core.change_provisioned_user(&client, id, Some(changed.version), &active(true)).await.unwrap();
    assert!(back.active);
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    assert!(office.enter(session.token.expose()).await.unwrap().actor.permissions.is_empty());
    assert_eq!(refused(office.enter(&key).await), ErrorCode::Unauthenticated);
    core.delete_provisioned_user(&client, id, None).await.unwrap();
    assert_eq!(refused(core.show_provisioned_user(&client, id).await), ErrorCode::UserNotFound);
    assert_eq!(refused(office.enter(session.token.expose()).await), ErrorCode::Unauthenticated);
}

/// Ann, who belongs to two organizations; clients of both.
async fn shared() -> (Office, OrganizationId, Ctx, Ctx, UserId) {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let other = office.new_organization("other").await;
    let theirs = office.as_administrator_of(other).await;
    office.core.invite_member(&theirs, "ann").await.unwrap();
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    let inside = office.enter(opened.token.expose()).await.unwrap();
    office.core.accept_membership(&inside, other).await.unwrap();
    let (ours, _) = client(&office, &ctx, "ours").await;
    let (their, _) = client(&office, &theirs, "theirs").await;
    (office, other, ours, their, UserId(ann.id))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_belongs_elsewhere_too_loses_only_what_is_of_this_organization() {
    let (office, other, ours, theirs, ann) = shared().await;
    let core = &office.core;
    let home = office.as_administrator().await;
    let user = core.show_user(&home, ann).await.unwrap();
    let key = office.key_for(&home, &user, &["request:read"]).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    let email =
        ProvisionedUserChange { email: Some("x@example.com".to_owned()), ..ProvisionedUserChange::default() };
    for client in [&ours, &theirs] {
        let attempt = core.change_provisioned_user(client, ann, None, &email).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    }
    core.change_provisioned_user(&theirs, ann, None, &active(false)).await.unwrap();
    office.enter(&key).await.unwrap();
    office.enter(session.token.expose()).await.unwrap();
    let inside = core.authenticate(session.token.expose(), Some(other), Uuid::nil(), None).await;
    assert_eq!(refused(inside), ErrorCode::OrganizationNotFound);
    assert!(core.show_provisioned_user(&ours, ann).await.unwrap().active);
    core.delete_provisioned_user(&theirs, ann, None).await.unwrap();
    assert_eq!(refused(core.show_provisioned_user(&theirs, ann).await), ErrorCode::UserNotFound);
    assert!(core.show_provisioned_user(&ours, ann).await.unwrap().active);
    assert_eq!(core.show_user(&home, ann).await.unwrap().status, "active");
    office.enter(&key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_suspended_elsewhere_is_ended_here_all_the_same() {
    let (office, other, ours, _, ann) = shared().await;
    let core = &office.core;
    let home = office.as_administrator().await;
    let user = core.show_user(&home, ann).await.unwrap();
    let key = office.key_for(&home, &user, &["request:read"]).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    core.suspend_member(&office.as_administrator_of(other).await, ann).await.unwrap();
    for _ in 0..2 {
        core.delete_provisioned_user(&ours, ann, None).await.unwrap();
        assert!(!core.show_provisioned_user(&ours, ann).await.unwrap().active);
    }
    assert!(office.enter(&key).await.is_err() && office.enter(session.token.expose()).await.is_err());
    let roles = core.list_assignments(&home, Some(ann), FIRST).await.unwrap().items;
    assert!(!roles.is_empty() && roles.iter().all(|one| one.revoked_at.is_some()));
    // When she is back there, she is none of ours any more.
    core.resume_member(&office.as_administrator_of(other).await, ann).await.unwrap();
    core.delete_provisioned_user(&ours, ann, None).await.unwrap();
    assert_eq!(refused(core.show_provisioned_user(&ours, ann).await), ErrorCode::UserNotFound);
}

/// Refusals, one like another.
fn told<T>(result: Result<T, CoreError>) -> (ErrorCode, String, Option<String>) {
    match result {
        Err(CoreError::Refused(refusal)) => (refusal.code, refusal.detail, refusal.field),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("must be refused"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_organizations_neither_see_nor_touch_each_other_s_users_and_groups() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let theirs = office.as_administrator_of(office.new_organization("other").await).await;
    let (ours, _) = client(&office, &ctx, "ours").await;
    let (their, _) = client(&office, &theirs, "theirs").await;
    let ann = core.create_provisioned_user(&ours, &person("ann")).await.unwrap();
    let web = core.create_provisioned_group(&ours, &named("Web"), &joining(&[UserId(ann.id)])).await.unwrap();
    let (ann, web, nobody) = (UserId(ann.id), GroupId(web.group.id), Uuid::nil());
    let like =
        |told: (ErrorCode, String, Option<String>), id: String| (told.0, told.1.replace(&id, "?"), told.2);
    let pairs = [
        (
            told(core.show_provisioned_user(&their, ann).await),
            told(core.show_provisioned_user(&their, UserId(nobody)).await),
        ),
        (
            told(core.change_provisioned_user(&their, ann, None, &active(false)).await),
            told(core.change_provisioned_user(&their, UserId(nobody), None, &active(false)).await),
        ),
        (
            told(core.delete_provisioned_user(&their, ann, None).await),
            told(core.delete_provisioned_user(&their, UserId(nobody), None).await),
        ),
        (
            told(core.create_provisioned_group(&their, &named("Web"), &joining(&[ann])).await),
            told(core.create_provisioned_group(&their, &named("Web"), &joining(&[UserId(nobody)])).await),
        ),
    ];
    for (there, nowhere) in pairs {
        assert_eq!(like(there, ann.to_string()), like(nowhere, nobody.to_string()));
    }
    assert_eq!(refused(core.show_provisioned_group(&their, web, true).await), ErrorCode::GroupNotFound);
    let change =
        ProvisionedGroupChange { display_name: Some("Mine".to_owned()), ..ProvisionedGroupChange::default() };
    let attempt = core.change_provisioned_group(&their, web, None, &change).await;
    assert_eq!(refused(attempt), ErrorCode::GroupNotFound);
    assert_eq!(refused(core.delete_provisioned_group(&their, web, None).await), ErrorCode::GroupNotFound);
    // A name or address that is taken is refused alike, wherever it is.
    let mut taken = Vec::new();
    for client in [&ours, &their] {
        taken.push(told(core.create_provisioned_user(client, &person("ann")).await));
        let address = NewProvisionedUser { email: "ANN@example.com".to_owned(), ..person("ann2") };
        taken.push(told(core.create_provisioned_user(client, &address).await));
    }
    taken.dedup();
    assert_eq!((taken.len(), taken[0].0), (1, ErrorCode::AlreadyExists), "{taken:?}");
    // What a client calls somebody is its own.
    let bob = NewProvisionedUser { external_id: Some("external-ann".to_owned()), ..person("bob") };
    assert_eq!(refused(core.create_provisioned_user(&ours, &bob).await), ErrorCode::AlreadyExists);
    core.create_provisioned_user(&their, &bob).await.unwrap();
    let found = core.list_provisioned_groups(&their, &GroupFilter::default(), ALL, true).await.unwrap();
    assert_eq!((found.total, found.items.len()), (0, 0));
    assert_eq!(names(core, &their, &ProvisionedUserFilter::default()).await, ["bob", "theirs"]);
    let by = ProvisionedUserFilter { username: Some("ann".to_owned()), ..ProvisionedUserFilter::default() };
    assert_eq!(names(core, &their, &by).await, [""; 0]);
    assert_eq!(names(core, &ours, &by).await, ["ann"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reaches_nobody_who_holds_more_than_its_user() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (client, itself) = client(&office, &ctx, "idp").await;
    let boss = UserId(office.hire(&ctx, "boss", ADMINISTRATOR).await.id);
    for user in [boss, office.administrator, UserId(itself.id)] {
        let attempt = core.change_provisioned_user(&client, user, None, &active(false)).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
        assert_eq!(
            refused(core.delete_provisioned_user(&client, user, None).await),
            ErrorCode::PermissionDenied
        );
    }
    // Nor does one that holds as much end who would keep a role everywhere.
    let (second, user) = self::client(&office, &ctx, "strong").await;
    let everywhere = clm_core::roles::NewAssignment {
        everywhere: true,
        valid_until: Some(ctx.now + chrono::TimeDelta::days(1)),
        ..assignment(UserId(user.id), ADMINISTRATOR)
    };
    core.assign_role(&ctx, &everywhere).await.unwrap();
    let deputy = UserId(office.hire(&ctx, "deputy", REQUESTER).await.id);
    let everywhere = clm_core::roles::NewAssignment { everywhere: true, ..assignment(deputy, REQUESTER) };
    core.assign_role(&ctx, &everywhere).await.unwrap();
    for user in [office.administrator, deputy] {
        let attempt = core.change_provisioned_user(&second, user, None, &active(false)).await;
        assert_eq!(refused(attempt), ErrorCode::Conflict);
        let attempt = core.delete_provisioned_user(&second, user, None).await;
        assert_eq!(refused(attempt), ErrorCode::Conflict);
        assert!(core.show_provisioned_user(&second, user).await.unwrap().active);
        let held = core.list_assignments(&ctx, Some(user), FIRST).await.unwrap().items;
        assert!(held.iter().all(|one| one.revoked_at.is_none()));
    }
    core.change_provisioned_user(&second, boss, None, &active(false)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hands_out_no_role_that_its_user_does_not_hold() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (client, _) = client(&office, &ctx, "idp").await;
    let mallory = UserId(core.create_provisioned_user(&client, &person("mallory")).await.unwrap().id);
    let requesters = GroupId(group(core, &ctx, "Requesters", REQUESTER).await.id);
    let approvers = GroupId(group(core, &ctx, "Approvers", APPROVER).await.id);
    let join = ProvisionedGroupChange { members: joining(&[mallory]), ..ProvisionedGroupChange::default() };
    core.change_provisioned_group(&client, requesters, None, &join).await.unwrap();
    let held = core.list_assignments(&ctx, Some(mallory), FIRST).await.unwrap().items;
    assert_eq!(held.len(), 1);
    let attempt = core.change_provisioned_group(&client, approvers, None, &join).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    assert_eq!(
        refused(core.delete_provisioned_group(&client, approvers, None).await),
        ErrorCode::PermissionDenied
    );
    // Nor does it move the name by which others say who belongs to it.
    let named_so = ProvisionedGroupChange {
        display_name: Some("Others".to_owned()),
        ..ProvisionedGroupChange::default()
    };
    let called_so = ProvisionedGroupChange {
        external_id: Some(Some("others".to_owned())),
        ..ProvisionedGroupChange::default()
    };
    for change in [&named_so, &called_so] {
        let attempt = core.change_provisioned_group(&client, approvers, None, change).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied, "{change:?}");
        core.change_provisioned_group(&client, requesters, None, change).await.unwrap();
    }
    // Nor does it give roles, by whatever way.
    assert_eq!(
        refused(core.give_group_role(&client, requesters, APPROVER).await),
        ErrorCode::PermissionDenied
    );
    let attempt = core.change_group_members(&client, requesters, &joining(&[mallory])).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    assert_eq!(
        refused(core.assign_role(&client, &assignment(mallory, REQUESTER)).await),
        ErrorCode::PermissionDenied
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_a_client_is_made_by_those_who_could_give_what_it_gives() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (_, idp) = client(&office, &ctx, "idp").await;
    let keys = ["user:provision", "api_key:write", "api_key:read", "user:read", "role:assign"];
    let clerk = core.create_role(&ctx, &role("clerk", &keys)).await.unwrap();
    let clerk = office.hire(&ctx, "clerk", clerk.id.into()).await;
    let own = office.key_for(&ctx, &clerk, &["*"]).await;
    let inside = office.enter(&own).await.unwrap();
    let key = new_key(Some(UserId(idp.id)), &["user:provision"]);
    assert_eq!(refused(core.create_api_key(&inside, &key).await), ErrorCode::PermissionDenied);
    core.assign_role(&ctx, &assignment(UserId(clerk.id), REQUESTER)).await.unwrap();
    let inside = office.enter(&own).await.unwrap();
    core.create_api_key(&inside, &key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_do_not_provision() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let provisioner = core.create_role(&ctx, &role("provisioner", &["user:provision"])).await.unwrap();
    office.welcome(&ctx, "ann", provisioner.id.into()).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    let inside = office.enter(session.token.expose()).await.unwrap();
    let attempt = core.list_provisioned_users(&inside, &ProvisionedUserFilter::default(), ALL).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
}

async fn page(core: &Core, client: &Ctx, start: u32, count: u32) -> Vec<ProvisionedUser> {
    let (all, window) = (ProvisionedUserFilter::default(), Window { start, count });
    let found = core.list_provisioned_users(client, &all, window).await.unwrap();
    assert_eq!(found.total, 8);
    found.items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page_or_entered_in_its_midst() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (client, _) = client(&office, &ctx, "idp").await;
    for number in 0..6 {
        core.create_provisioned_user(&client, &person(&format!("user-{number}"))).await.unwrap();
    }
    let whole: Vec<_> = page(core, &client, 1, 200).await.into_iter().map(|user| user.id).collect();
    assert_eq!(whole.len(), 8);
    // With bookmarks, and where there is none.
    for starts in [[1, 4, 7], [7, 4, 1]] {
        for start in starts {
            let ids: Vec<_> = page(core, &client, start, 3).await.into_iter().map(|user| user.id).collect();
            let from = usize::try_from(start).unwrap() - 1;
            assert_eq!(ids, whole[from..(from + 3).min(8)]);
        }
    }
    assert!(page(core, &client, 9, 3).await.is_empty() && page(core, &client, 1, 0).await.is_empty());
    let far = Window { start: 10_001, count: 1 };
    let attempt = core.list_provisioned_users(&client, &ProvisionedUserFilter::default(), far).await;
    assert_eq!(told(attempt).2.as_deref(), Some("/startIndex"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_group_change_in_the_version_that_was_read_and_a_name_never() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (client, _) = client(&office, &ctx, "idp").await;
    let ann = core.create_provisioned_user(&client, &person("ann")).await.unwrap();
    let id = UserId(ann.id);
    let change =
        ProvisionedUserChange { display_name: Some("Ann".to_owned()), ..ProvisionedUserChange::default() };
    let changed = core.change_provisioned_user(&client, id, Some(ann.version), &change).await.unwrap();
    assert!(changed.version > ann.version);
    let late = core.change_provisioned_user(&client, id, Some(ann.version), &active(false)).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
    let late = core.delete_provisioned_user(&client, id, Some(ann.version)).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
    let renamed =
        ProvisionedUserChange { username: Some("anna".to_owned()), ..ProvisionedUserChange::default() };
    let attempt = told(core.change_provisioned_user(&client, id, None, &renamed).await);
    assert_eq!((attempt.0, attempt.2.as_deref()), (ErrorCode::InvalidRequest, Some("/userName")));
    let web = core.create_provisioned_group(&client, &named("Web"), &joining(&[])).await.unwrap().group;
    let join = ProvisionedGroupChange { members: joining(&[id]), ..ProvisionedGroupChange::default() };
    let changed =
        core.change_provisioned_group(&client, GroupId(web.id), Some(web.version), &join).await.unwrap();
    assert_eq!(changed.members, [id]);
    let late = core.delete_provisioned_group(&client, GroupId(web.id), Some(web.version)).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
    // The name of somebody who was deleted stays taken; what the client called them does not.
    core.delete_provisioned_user(&client, id, None).await.unwrap();
    assert_eq!(
        refused(core.create_provisioned_user(&client, &person("ann")).await),
        ErrorCode::AlreadyExists
    );
    let next = NewProvisionedUser { username: "ann2".to_owned(), ..person("ann") };
    core.create_provisioned_user(&client, &next).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_s_ban_is_not_lifted_by_a_client() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let (client, _) = client(&office, &ctx, "idp").await;
    let ann = core.create_user(&ctx, &new_user("ann")).await.unwrap();
    core.disable_user(&ctx, UserId(ann.id), ann.version).await.unwrap();
    let after = core.change_provisioned_user(&client, UserId(ann.id), None, &active(true)).await.unwrap();
    assert!(!after.active);
}
