//! The bounds of roles: lines of parents, times, and the last administrator.

use chrono::TimeDelta;
use clm_core::provisioned_users::ProvisionedUserChange;
use clm_core::roles::{ADMINISTRATOR, MOST_GENERATIONS, NewAssignment, NewRole, REQUESTER, RoleChange};
use clm_testkit::TestDatabase;
use clm_types::{ErrorCode, Permission, RoleId, UserId};
use uuid::Uuid;

use crate::office::{FIRST, Office, assignment, refused};

fn role(code: &str, parent: Option<RoleId>, permissions: &[&str]) -> NewRole {
    NewRole {
        code: code.to_owned(),
        name: code.to_owned(),
        description: String::new(),
        parent_role_id: parent,
        permissions: permissions.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// What a statement of this role of the database ends with, if not with success.
async fn run(database: &TestDatabase, as_role: &str, statement: &str) -> Option<String> {
    let pool = database.pool(as_role).await;
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&pool).await;
    done.err().map(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_roles_has_an_end() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let mut parent = None;
    for number in 0..MOST_GENERATIONS {
        let made = office.core.create_role(&ctx, &role(&format!("r{number}"), parent, &[])).await.unwrap();
        parent = Some(RoleId(made.id));
    }
    let last = office.core.create_role(&ctx, &role("last", parent, &[])).await;
    assert_eq!(refused(last), ErrorCode::InvalidRequest);
    // What the topmost one grants reaches whoever holds the lowest.
    let top = office.core.list_roles(&ctx, FIRST).await.unwrap().items;
    let top = top.into_iter().find(|role| role.role_code == "r0").unwrap();
    let permissions = vec!["audit:read".to_owned()];
    let change = RoleChange { name: "Top".to_owned(), description: String::new(), permissions };
    office.core.update_role(&ctx, top.id.into(), top.version, &change).await.unwrap();
    let ann = office.hire(&ctx, "ann", parent.unwrap()).await;
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    office.enter(&key).await.unwrap().require(Permission::AuditRead).unwrap();
}

/// A parent is chosen once, among roles that exist: so there is no circle, whoever comes at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn no_service_can_turn_a_line_of_roles_into_a_circle() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let mut line = Vec::new();
    for number in 0..3 {
        let parent = line.last().copied().map(RoleId);
        let new = role(&format!("r{number}"), parent, &["request:read"]);
        line.push(office.core.create_role(&ctx, &new).await.unwrap().id);
    }
    let set = |child: Uuid, parent: Uuid| {
        format!(
            "SET clm.org_id = '{}'; UPDATE clm.roles SET parent_role_id = '{parent}' WHERE id = '{child}'",
            ctx.organization_id
        )
    };
    for (child, parent) in [(line[0], line[0]), (line[0], line[1]), (line[0], line[2])] {
        for user in ["clm_core_app", "clm_core_system"] {
            assert_eq!(run(&office.database, user, &set(child, parent)).await.as_deref(), Some("42501"));
        }
    }
    let itself = run(&office.database, "postgres", &set(line[0], line[0])).await;
    assert_eq!(itself.as_deref(), Some("23514"));
    // Even one that somebody plants makes nobody wait for ever, and grants nothing that is not in it.
    let ann = office.hire(&ctx, "ann", line[2].into()).await;
    assert_eq!(run(&office.database, "postgres", &set(line[0], line[2])).await, None);
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    let inside = office.enter(&key).await.unwrap();
    inside.require(Permission::RequestRead).unwrap();
    assert!(inside.require(Permission::AuditRead).is_err());
    office.core.assign_role(&ctx, &assignment(office.administrator, line[1].into())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_holds_from_its_first_moment_until_before_its_last() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let id = UserId(ann.id);
    let auditor = role("auditor2", None, &["audit:read"]);
    let auditor = office.core.create_role(&ctx, &auditor).await.unwrap();
    let (from, until) = (ctx.now + TimeDelta::hours(1), ctx.now + TimeDelta::hours(2));
    let window = NewAssignment {
        valid_from: Some(from),
        valid_until: Some(until),
        ..assignment(id, auditor.id.into())
    };
    let given = office.core.assign_role(&ctx, &window).await.unwrap();
    let instant = TimeDelta::microseconds(1);
    let at = async |time: clm_types::Time, holds: bool| {
        office.core.clock.advance(time - office.core.clock.now());
        // A key of its own each time: what is held is remembered for a moment.
        let ctx = office.as_administrator().await;
        let key = office.key_for(&ctx, &ann, &["audit:read"]).await;
        let inside = office.enter(&key).await.unwrap();
        assert_eq!(inside.require(Permission::AuditRead).is_ok(), holds, "{time}");
        let told = office.core.explain_access(&ctx, id, Permission::AuditRead, None).await.unwrap();
        assert_eq!(told.allowed, holds, "{time}: {told:?}");
    };
    at(from - instant, false).await;
    at(from, true).await;
    at(until - instant, true).await;
    at(until, false).await;
    // Neither bounds that do not bound.
    let ctx = office.as_administrator().await;
    office.core.revoke_assignment(&ctx, given.id, None, None).await.unwrap();
    for (from, until) in [(Some(ctx.now), ctx.now), (None, ctx.now), (Some(ctx.now + instant), ctx.now)] {
        let empty = NewAssignment { valid_from: from, valid_until: Some(until), ..window.clone() };
        assert_eq!(refused(office.core.assign_role(&ctx, &empty).await), ErrorCode::InvalidRequest);
    }
    let brief = NewAssignment { valid_from: None, valid_until: Some(ctx.now + instant), ..window };
    let brief = office.core.assign_role(&ctx, &brief).await.unwrap();
    at(ctx.now, true).await;
    office.core.revoke_assignment(&ctx, brief.id, None, None).await.unwrap();
    at(ctx.now, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_stays_whichever_way_somebody_goes() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let root = core.show_user(&ctx, office.administrator).await.unwrap();
    // One of the organization alone, one for a while, one who is gone: none of them counts.
    let local = UserId(office.hire(&ctx, "local", ADMINISTRATOR).await.id);
    let brief = UserId(office.hire(&ctx, "brief", REQUESTER).await.id);
    let everywhere = |id| NewAssignment { everywhere: true, ..assignment(id, ADMINISTRATOR) };
    let until = Some(ctx.now + TimeDelta::days(1));
    core.assign_role(&ctx, &NewAssignment { valid_until: until, ..everywhere(brief) }).await.unwrap();
    let gone = office.hire(&ctx, "gone", REQUESTER).await;
    core.assign_role(&ctx, &everywhere(UserId(gone.id))).await.unwrap();
    core.disable_user(&ctx, UserId(gone.id), gone.version).await.unwrap();

    let attempt = core.delete_user(&ctx, office.administrator, root.version).await;
    assert_eq!(refused(attempt), ErrorCode::Conflict);
    assert_eq!(
        refused(core.disable_user(&ctx, office.administrator, root.version).await),
        ErrorCode::Conflict
    );
    let own = core.list_assignments(&ctx, Some(office.administrator), FIRST).await.unwrap().items;
    for one in own.iter().filter(|one| one.organization_id.is_none()) {
        assert_eq!(refused(core.revoke_assignment(&ctx, one.id, None, None).await), ErrorCode::Conflict);
    }
    // An end cannot be set afterwards, nor beside what there is.
    let ending = NewAssignment { valid_until: until, ..everywhere(office.administrator) };
    assert_eq!(refused(core.assign_role(&ctx, &ending).await), ErrorCode::AlreadyExists);
    let nothing =
        RoleChange { name: "Nothing".to_owned(), description: String::new(), permissions: Vec::new() };
    assert_eq!(
        refused(core.update_role(&ctx, ADMINISTRATOR, 1, &nothing).await),
        ErrorCode::PermissionDenied
    );
    assert_eq!(refused(core.leave_organization(&ctx, office.organization_id).await), ErrorCode::Conflict);
    assert_eq!(refused(core.remove_member(&ctx, office.administrator).await), ErrorCode::Conflict);

    // Out of the organization, by somebody who may do everything in it: still in the installation.
    let user = core.show_user(&ctx, local).await.unwrap();
    let local = office.enter(&office.key_for(&ctx, &user, &["*"]).await).await.unwrap();
    let attempt = core.disable_user(&local, office.administrator, root.version).await;
    assert!(matches!(refused(attempt), ErrorCode::PermissionDenied | ErrorCode::Conflict));
    for attempt in [
        core.suspend_member(&local, office.administrator).await,
        core.remove_member(&local, office.administrator).await,
    ] {
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    }
    office.as_administrator().await.require_global(Permission::RoleAssign).unwrap();
    // Who suspends the own membership names the organization, and is in again.
    core.suspend_member(&ctx, office.administrator).await.unwrap();
    let again = office.as_administrator_of(office.organization_id).await;
    core.resume_member(&again, office.administrator).await.unwrap();

    // A provisioning client reaches neither its own user nor the last administrator.
    let key = office.key_for(&ctx, &root, &["user:provision"]).await;
    let client = office.enter(&key).await.unwrap();
    let off = ProvisionedUserChange { active: Some(false), ..ProvisionedUserChange::default() };
    let attempt = core.change_provisioned_user(&client, office.administrator, None, &off).await;
    assert!(matches!(refused(attempt), ErrorCode::PermissionDenied | ErrorCode::UserNotFound));
    let attempt = core.delete_provisioned_user(&client, office.administrator, None).await;
    assert!(matches!(refused(attempt), ErrorCode::PermissionDenied | ErrorCode::UserNotFound));
    office.as_administrator().await.require_global(Permission::RoleAssign).unwrap();
}

/// In all ways at once, of which each alone would be fine.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_administrators_one_stays_however_they_go_at_once() {
    for way in ["disable", "delete", "both"] {
        let office = Office::open().await;
        let (core, ctx) = (&office.core, office.as_administrator().await);
        let ann = office.hire(&ctx, "ann", REQUESTER).await;
        let everywhere = NewAssignment { everywhere: true, ..assignment(UserId(ann.id), ADMINISTRATOR) };
        core.assign_role(&ctx, &everywhere).await.unwrap();
        let root = core.show_user(&ctx, office.administrator).await.unwrap();
        let ann = core.show_user(&ctx, UserId(ann.id)).await.unwrap();
        let end = async |user: &clm_core::users::User, deletes: bool| {
            let (id, version) = (UserId(user.id), user.version);
            if deletes {
                core.delete_user(&ctx, id, version).await
            } else {
                core.disable_user(&ctx, id, version).await.map(|_| ())
            }
        };
        let (a, b) = tokio::join!(end(&root, way == "delete"), end(&ann, way != "disable"));
        assert!(a.is_ok() != b.is_ok(), "{way}: {a:?} {b:?}");
        let lost = if a.is_ok() { b } else { a };
        assert_eq!(refused(lost), ErrorCode::Conflict, "{way}");
    }
}

/// With the organization that an administrator belongs to, the installation is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_organization_does_not_keep_the_administrators_out_of_the_others() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let home = office.core.show_organization(&ctx, office.organization_id).await.unwrap();
    let itself = office.core.suspend_organization(&ctx, office.organization_id, home.version).await;
    assert_eq!(refused(itself), ErrorCode::Conflict);
    let there = office.as_administrator_of(other).await;
    office.core.suspend_organization(&there, office.organization_id, home.version).await.unwrap();
    let there = office.as_administrator_of(other).await;
    let home = office.core.show_organization(&there, office.organization_id).await.unwrap();
    office.core.resume_organization(&there, office.organization_id, home.version).await.unwrap();
    office.as_administrator().await.require_global(Permission::RoleAssign).unwrap();
}
