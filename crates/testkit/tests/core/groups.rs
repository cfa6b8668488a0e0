use clm_core::group_members::MemberChange;
use clm_core::groups::{Group, GroupNames};
use clm_core::roles::{ADMINISTRATOR, APPROVER, NewRole, REQUESTER};
use clm_core::users::User;
use clm_core::{Core, Ctx};
use clm_types::{ErrorCode, GroupId, Permission, RoleId, UserId};

use crate::office::{FIRST, Office, assignment, new_user, refused};
use crate::sign_in::{PASSWORD, secret, visitor};

pub(crate) fn named(name: &str) -> GroupNames {
    GroupNames { display_name: name.to_owned(), external_id: None }
}

pub(crate) fn joining(users: &[UserId]) -> MemberChange {
    MemberChange { added: users.iter().copied().collect(), ..MemberChange::default() }
}

fn leaving(users: &[UserId]) -> MemberChange {
    MemberChange { removed: users.iter().copied().collect(), ..MemberChange::default() }
}

/// A group with a role.
pub(crate) async fn group(core: &Core, ctx: &Ctx, name: &str, role: RoleId) -> Group {
    let group = core.create_group(ctx, &named(name)).await.unwrap();
    core.give_group_role(ctx, GroupId(group.id), role).await.unwrap();
    group
}

/// The roles that a user holds, each with whether it is by a group.
async fn held(core: &Core, ctx: &Ctx, user: &User) -> Vec<(RoleId, bool)> {
    let all = core.list_assignments(ctx, Some(UserId(user.id)), FIRST).await.unwrap().items;
    let open = all.into_iter().filter(|one| one.revoked_at.is_none());
    let mut held: Vec<_> = open.map(|one| (RoleId(one.role_id), one.group_id.is_some())).collect();
    held.sort();
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn members_hold_the_roles_of_their_groups_for_as_long_as_they_belong_to_them() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let ann = core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let bob = core.create_user(&ctx, &new_user("bob")).await.unwrap();
    let web = group(core, &ctx, "Web", REQUESTER).await;
    let id = GroupId(web.id);
    core.change_group_members(&ctx, id, &joining(&[UserId(ann.id), UserId(bob.id)])).await.unwrap();
    core.change_group_members(&ctx, id, &joining(&[UserId(ann.id)])).await.unwrap();
    assert_eq!(held(core, &ctx, &ann).await, [(REQUESTER, true)]);
    let told = core.list_assignments(&ctx, Some(UserId(ann.id)), FIRST).await.unwrap().items.remove(0);
    assert_eq!(told.assignment_reason.as_deref(), Some("a member of the group Web"));
    // What it makes is what every question about permissions reads, at once.
    let key = office.key_for(&ctx, &ann, &["request:create"]).await;
    office.enter(&key).await.unwrap().require(Permission::RequestCreate).unwrap();
    core.give_group_role(&ctx, id, APPROVER).await.unwrap();
    assert_eq!(held(core, &ctx, &bob).await, [(REQUESTER, true), (APPROVER, true)]);
    core.take_group_role(&ctx, id, REQUESTER).await.unwrap();
    assert_eq!(held(core, &ctx, &ann).await, [(APPROVER, true)]);
    assert!(office.enter(&key).await.unwrap().require(Permission::RequestCreate).is_err());
    core.change_group_members(&ctx, id, &leaving(&[UserId(ann.id)])).await.unwrap();
    assert_eq!(held(core, &ctx, &ann).await, []);
    let web = core.show_group(&ctx, id).await.unwrap();
    core.delete_group(&ctx, id, web.version).await.unwrap();
    assert_eq!(held(core, &ctx, &bob).await, []);
    assert_eq!(refused(core.show_group(&ctx, id).await), ErrorCode::GroupNotFound);
    // The name is free again, and the new group has nothing of the old one.
    let again = core.create_group(&ctx, &named("web")).await.unwrap();
    assert!(core.list_group_members(&ctx, GroupId(again.id), FIRST).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_by_hand_or_by_another_group_stays() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let groups = [group(core, &ctx, "One", REQUESTER).await, group(core, &ctx, "Two", REQUESTER).await];
    for group in &groups {
        core.change_group_members(&ctx, GroupId(group.id), &joining(&[UserId(ann.id)])).await.unwrap();
    }
    let thrice = [(REQUESTER, false), (REQUESTER, true), (REQUESTER, true)];
    assert_eq!(held(core, &ctx, &ann).await, thrice);
    core.change_group_members(&ctx, GroupId(groups[0].id), &leaving(&[UserId(ann.id)])).await.unwrap();
    assert_eq!(held(core, &ctx, &ann).await, thrice[..2]);
    // What a group gives is not taken by hand: it would come back.
    let all = core.list_assignments(&ctx, Some(UserId(ann.id)), FIRST).await.unwrap().items;
    let by_group = all.iter().find(|one| one.group_id.is_some() && one.revoked_at.is_none()).unwrap();
    assert_eq!(refused(core.revoke_assignment(&ctx, by_group.id, None, None).await), ErrorCode::Conflict);
    let by_hand = all.iter().find(|one| one.group_id.is_none()).unwrap();
    core.revoke_assignment(&ctx, by_hand.id, None, None).await.unwrap();
    assert_eq!(held(core, &ctx, &ann).await, [(REQUESTER, true)]);
    core.assign_role(&ctx, &assignment(UserId(ann.id), REQUESTER)).await.unwrap();
    core.change_group_members(&ctx, GroupId(groups[1].id), &leaving(&[UserId(ann.id)])).await.unwrap();
    assert_eq!(held(core, &ctx, &ann).await, [(REQUESTER, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_out_or_takes_away_by_a_group_what_they_do_not_hold() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let permissions = ["group:write", "role:assign", "user:read", "request:read"];
    let clerk = NewRole {
        code: "clerk".to_owned(),
        name: "Clerk".to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: permissions.map(str::to_owned).to_vec(),
    };
    let clerk = core.create_role(&ctx, &clerk).await.unwrap();
    let clerk = office.hire(&ctx, "clerk", clerk.id.into()).await;
    let inside = office.enter(&office.key_for(&ctx, &clerk, &["*"]).await).await.unwrap();
    let own = core.create_group(&inside, &named("Own")).await.unwrap();
    let attempt = core.give_group_role(&inside, GroupId(own.id), ADMINISTRATOR).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let bosses = group(core, &ctx, "Bosses", ADMINISTRATOR).await;
    let id = GroupId(bosses.id);
    let boss = core.create_user(&ctx, &new_user("boss")).await.unwrap();
    core.change_group_members(&ctx, id, &joining(&[UserId(boss.id)])).await.unwrap();
    for change in [joining(&[UserId(clerk.id)]), leaving(&[UserId(boss.id)])] {
        assert_eq!(
            refused(core.change_group_members(&inside, id, &change).await),
            ErrorCode::PermissionDenied
        );
    }
    let version = core.show_group(&ctx, id).await.unwrap().version;
    assert_eq!(refused(core.delete_group(&inside, id, version).await), ErrorCode::PermissionDenied);
    assert_eq!(refused(core.take_group_role(&inside, id, ADMINISTRATOR).await), ErrorCode::PermissionDenied);
    // Others say by its name or external id who belongs to it.
    let names = [named("Others"), GroupNames { external_id: Some("others".to_owned()), ..named("Bosses") }];
    for names in &names {
        let attempt = core.update_group(&inside, id, version, names).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied, "{names:?}");
    }
    core.change_group_members(&inside, GroupId(own.id), &joining(&[UserId(boss.id)])).await.unwrap();
    let version = core.show_group(&ctx, GroupId(own.id)).await.unwrap().version;
    core.update_group(&inside, GroupId(own.id), version, &named("Others")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_of_one_organization_and_has_its_members_only() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let theirs = office.as_administrator_of(office.new_organization("other").await).await;
    let stranger = core.create_user(&theirs, &new_user("stranger")).await.unwrap();
    let web = group(core, &ctx, "Web", REQUESTER).await;
    let id = GroupId(web.id);
    for member in [UserId(stranger.id), UserId(uuid::Uuid::nil())] {
        assert_eq!(
            refused(core.change_group_members(&ctx, id, &joining(&[member])).await),
            ErrorCode::UserNotFound
        );
    }
    assert_eq!(refused(core.show_group(&theirs, id).await), ErrorCode::GroupNotFound);
    assert_eq!(refused(core.give_group_role(&theirs, id, REQUESTER).await), ErrorCode::GroupNotFound);
    assert_eq!(refused(core.delete_group(&theirs, id, 1).await), ErrorCode::GroupNotFound);
    core.create_group(&theirs, &named("Web")).await.unwrap();
    assert_eq!(refused(core.create_group(&ctx, &named("WEB")).await), ErrorCode::AlreadyExists);
    let late = core.update_group(&ctx, id, 7, &named("Web 2")).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
    let renamed = core.update_group(&ctx, id, 1, &named("Web 2")).await.unwrap();
    assert_eq!((renamed.display_name.as_str(), renamed.version), ("Web 2", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_made_for_somebody_who_may_less_end_with_a_group_s_roles() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let ann = core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let link = core.create_link(&ctx, UserId(ann.id)).await.unwrap();
    let web = group(core, &ctx, "Web", REQUESTER).await;
    core.change_group_members(&ctx, GroupId(web.id), &joining(&[UserId(ann.id)])).await.unwrap();
    let used = core.use_link(link.token.expose(), &secret(PASSWORD), &visitor()).await;
    assert_eq!(refused(used), ErrorCode::LinkInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_organization_leaves_its_groups() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let ann = core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let web = group(core, &ctx, "Web", REQUESTER).await;
    let id = GroupId(web.id);
    core.change_group_members(&ctx, id, &joining(&[UserId(ann.id)])).await.unwrap();
    let before = core.show_group(&ctx, id).await.unwrap().version;
    let ann = core.show_user(&ctx, UserId(ann.id)).await.unwrap();
    core.delete_user(&ctx, UserId(ann.id), ann.version).await.unwrap();
    assert!(core.list_group_members(&ctx, id, FIRST).await.unwrap().items.is_empty());
    assert_eq!(core.show_group(&ctx, id).await.unwrap().version, before + 1);
    assert_eq!(held(core, &ctx, &ann).await, []);
}
