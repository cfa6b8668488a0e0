use chrono::TimeDelta;
use clm_core::actor::MissingFactor;
use clm_core::roles::{ADMINISTRATOR, APPROVER, NewRole, REQUESTER};
use clm_core::sign_in::{SignedIn, Visitor};
use clm_core::users::{NewUser, User};
use clm_core::{CoreError, Ctx};
use clm_types::{ErrorCode, UserId};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::office::{Office, OfficeKind, new_key, new_user, refused};

pub(crate) const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "seven green umbrellas";

pub(crate) fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

pub(crate) fn visitor() -> Visitor {
    Visitor {
        request_id: Uuid::nil(),
        address: Some("192.0.2.7".parse().unwrap()),
        user_agent: Some("a browser".to_owned()),
    }
}

impl Office {
    /// A user with a role and a password, invited and come.
    pub(crate) async fn welcome(&self, ctx: &Ctx, name: &str, role: clm_types::RoleId) -> User {
        let invited = NewUser { invited: true, ..new_user(name) };
        let user = self.core.create_user(ctx, &invited).await.unwrap();
        let assignment = crate::office::assignment(UserId(user.id), role);
        self.core.assign_role(ctx, &assignment).await.unwrap();
        let link = self.core.create_link(ctx, UserId(user.id)).await.unwrap();
        assert_eq!(link.terms.purpose, "invitation");
        self.core.use_link(link.token.expose(), &secret(PASSWORD), &visitor()).await.unwrap();
        self.core.show_user(ctx, UserId(user.id)).await.unwrap()
    }

    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> Result<SignedIn, CoreError> {
        self.core.sign_in(name, secret(password), &visitor()).await
    }
}

async fn texts(office: &Office, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(&office.database.superuser().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_user_sets_a_password_once_and_signs_in() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.core.create_user(&ctx, &NewUser { invited: true, ..new_user("ann") }).await.unwrap();
    assert_eq!(ann.status, "invited");
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    let first = office.core.create_link(&ctx, UserId(ann.id)).await.unwrap();
    let link = office.core.create_link(&ctx, UserId(ann.id)).await.unwrap();
    let set =
        async |token: &str, password: &str| office.core.use_link(token, &secret(password), &visitor()).await;
    // A newer link ends the one before; a refused password leaves the link as it is.
    assert_eq!(refused(set(first.token.expose(), PASSWORD).await), ErrorCode::LinkInvalid);
    assert_eq!(refused(set(link.token.expose(), "password1234").await), ErrorCode::PasswordTooWeak);
    assert_eq!(refused(set(link.token.expose(), "ann@example.com").await), ErrorCode::PasswordTooWeak);
    set(link.token.expose(), PASSWORD).await.unwrap();
    assert_eq!(refused(set(link.token.expose(), OTHER).await), ErrorCode::LinkInvalid);
    assert_eq!(refused(set("clm_otl_", OTHER).await), ErrorCode::LinkInvalid);
    for name in ["ann", "ANN"] {
        let opened = office.sign_in(name, PASSWORD).await.unwrap();
        assert_eq!(opened.missing, None);
        let entered = office.enter(opened.token.expose()).await.unwrap();
        assert_eq!(entered.actor.user_id, Some(UserId(ann.id)));
        assert_eq!(entered.actor.audit_type(), "user");
    }
    // As the specification's query reads it: argon2id, with its salt in a column of its own.
    let stored: (String, String) =
        sqlx::query_as("SELECT password_hash, password_salt FROM users WHERE username = 'ann'")
            .fetch_one(&office.database.superuser().await)
            .await
            .unwrap();
    assert!(stored.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && stored.0.contains(&stored.1));
    let late = office.core.create_link(&ctx, UserId(ann.id)).await.unwrap();
    assert_eq!(late.terms.purpose, "password_reset");
    office.core.clock.advance(TimeDelta::hours(1));
    assert_eq!(refused(set(late.token.expose(), OTHER).await), ErrorCode::LinkInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_looks_the_same() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let gone = office.welcome(&ctx, "gone", REQUESTER).await;
    office.core.disable_user(&ctx, UserId(gone.id), gone.version).await.unwrap();
    let deleted = office.welcome(&ctx, "deleted", REQUESTER).await;
    office.core.delete_user(&ctx, UserId(deleted.id), deleted.version).await.unwrap();
    let mut answers = Vec::new();
    let attempts =
        [("nobody", PASSWORD), ("ann", OTHER), ("gone", PASSWORD), ("deleted", PASSWORD), ("root", PASSWORD)];
    for (name, password) in attempts {
        let Err(CoreError::Refused(refusal)) = office.sign_in(name, password).await else {
            panic!("{name} must be refused");
        };
        answers.push(refusal);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let audited = texts(&office, "SELECT outcome FROM audit_log WHERE action = 'session.open'").await;
    assert_eq!(audited, ["refused"; 5]);
    // What was typed instead of a name may be a password.
    let told = texts(&office, "SELECT a::text FROM audit_log a WHERE action = 'session.open'").await;
    assert!(told.iter().all(|row| !row.contains("nobody")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failures_in_five_minutes_lock_and_administrators_hear_of_it() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let fail = async || assert_eq!(refused(office.sign_in("ann", OTHER).await), ErrorCode::SignInFailed);
    // Four, and a fifth when the first is long over.
    for seconds in [0, 10, 10, 10, 290] {
        office.core.clock.advance(TimeDelta::seconds(seconds));
        fail().await;
    }
    office.sign_in("ann", PASSWORD).await.unwrap();
    for _ in 0..5 {
        fail().await;
    }
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    let shown = office.core.show_user(&ctx, UserId(ann.id)).await.unwrap();
    assert_eq!(shown.locked_until, Some(office.core.clock.now() + TimeDelta::minutes(15)));
    let told = async {
        while texts(&office, "SELECT kind FROM notifications").await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.unwrap();
    let priorities = texts(&office, "SELECT priority FROM notifications WHERE kind = 'user.lock'").await;
    assert_eq!(priorities, ["high"; 2], "the user and the administrator of the installation");
    // Attempts while it is locked do not make the lock longer.
    office.core.clock.advance(TimeDelta::minutes(14));
    fail().await;
    office.core.clock.advance(TimeDelta::minutes(1));
    office.sign_in("ann", PASSWORD).await.unwrap();
    for _ in 0..5 {
        fail().await;
    }
    let again = office.core.unlock_user(&ctx, UserId(ann.id)).await.unwrap();
    assert_eq!(again.locked_until, None);
    office.sign_in("ann", PASSWORD).await.unwrap();
    assert_eq!(refused(office.core.unlock_user(&ctx, UserId(ann.id)).await), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_other_sessions_and_is_none_of_the_last() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let (mine, other) =
        (office.sign_in("ann", PASSWORD).await.unwrap(), office.sign_in("ann", PASSWORD).await.unwrap());
    let me = office.enter(mine.token.expose()).await.unwrap();
    office.enter(other.token.expose()).await.unwrap();
    let change = async |current: Option<&str>, new: &str| {
        office.core.change_password(&me, current.map(secret), &secret(new)).await
    };
    assert_eq!(refused(change(None, OTHER).await), ErrorCode::SignInFailed);
    assert_eq!(refused(change(Some(OTHER), OTHER).await), ErrorCode::SignInFailed);
    assert_eq!(refused(change(Some(PASSWORD), PASSWORD).await), ErrorCode::PasswordTooWeak);
    change(Some(PASSWORD), OTHER).await.unwrap();
    assert_eq!(refused(office.enter(other.token.expose()).await), ErrorCode::Unauthenticated);
    office.enter(mine.token.expose()).await.unwrap();
    assert_eq!(refused(change(Some(OTHER), PASSWORD).await), ErrorCode::PasswordTooWeak);
    for number in 1..=5 {
        let (old, new) = (number - 1, number);
        let name = |number| {
            if number == 0 {
                OTHER.to_owned()
            } else {
                format!("{number} brown foxes over {number} lazy dogs")
            }
        };
        change(Some(&name(old)), &name(new)).await.unwrap();
    }
    change(Some("5 brown foxes over 5 lazy dogs"), PASSWORD).await.unwrap();
    assert_eq!(refused(office.sign_in("ann", OTHER).await), ErrorCode::SignInFailed);
    office.sign_in("ann", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_one_gets_a_link_for_somebody_who_may_do_more_or_decides() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let clerk = NewRole {
        code: "clerk".to_owned(),
        name: "Clerk".to_owned(),
        description: String::new(),
        parent_role_id: Some(APPROVER),
        permissions: vec!["user:write".to_owned(), "user:read".to_owned()],
    };
    let clerk = office.core.create_role(&ctx, &clerk).await.unwrap();
    office.welcome(&ctx, "clerk", clerk.id.into()).await;
    let [boss, approver, requester] =
        [("boss", ADMINISTRATOR), ("approver", APPROVER), ("requester", REQUESTER)]
            .map(|(name, role)| office.hire(&ctx, name, role));
    let (boss, approver, requester) = (boss.await, approver.await, requester.await);
    let inside = office.enter(office.sign_in("clerk", PASSWORD).await.unwrap().token.expose()).await.unwrap();
    for user in [&boss, &approver, &requester] {
        let attempt = office.core.create_link(&inside, UserId(user.id)).await;
        assert_eq!(refused(attempt), ErrorCode::PermissionDenied, "{}", user.username);
        assert!(office.core.create_link(&ctx, UserId(user.id)).await.is_ok());
    }
    let elsewhere = office.new_organization("other").await;
    let stranger = office.hire(&office.as_administrator_of(elsewhere).await, "stranger", REQUESTER).await;
    assert_eq!(refused(office.core.create_link(&inside, UserId(stranger.id)).await), ErrorCode::UserNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_loses_everything_at_once_and_stays_for_the_audit() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    let key = office.key_for(&ctx, &ann, &["request:read"]).await;
    office.enter(session.token.expose()).await.unwrap();
    office.enter(&key).await.unwrap();
    assert_eq!(
        refused(office.core.delete_user(&ctx, UserId(ann.id), 99).await),
        ErrorCode::PreconditionFailed
    );
    office.core.delete_user(&ctx, UserId(ann.id), ann.version).await.unwrap();
    for token in [session.token.expose(), &key] {
        assert_eq!(refused(office.enter(token).await), ErrorCode::Unauthenticated);
    }
    assert_eq!(refused(office.core.show_user(&ctx, UserId(ann.id)).await), ErrorCode::UserNotFound);
    let left = "SELECT count(*)::text FROM user_roles r JOIN users u ON u.id = r.user_id
                WHERE u.username = 'ann' AND r.revoked_at IS NULL";
    assert_eq!(texts(&office, left).await, ["0"]);
    let again = office.core.create_user(&ctx, &new_user("ann")).await;
    assert_eq!(refused(again), ErrorCode::AlreadyExists, "the name is never given to another user");
    let root = office.core.show_user(&ctx, office.administrator).await.unwrap();
    let last = office.core.delete_user(&ctx, office.administrator, root.version).await;
    assert_eq!(refused(last), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_may_ask_its_members_for_a_second_factor() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    assert_eq!(office.sign_in("ann", PASSWORD).await.unwrap().missing, None);
    sqlx::query(r#"UPDATE organizations SET settings = '{"sign_in": {"second_factor": "required"}}'"#)
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    assert_eq!(opened.missing, Some(MissingFactor::Enrolment));
    let inside = office.enter(opened.token.expose()).await.unwrap();
    assert!(inside.actor.permissions.is_empty());
    assert_eq!(
        refused(inside.require_whole_session().map_err(CoreError::from)),
        ErrorCode::SecondFactorRequired
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_ask_everybody_for_a_second_factor() {
    let office = Office::open_as(OfficeKind { second_factor_required: true, ..OfficeKind::default() }).await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    assert_eq!(opened.missing, Some(MissingFactor::Enrolment));
    let inside = office.enter(opened.token.expose()).await.unwrap();
    assert!(inside.actor.permissions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_does_is_audited_with_it() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    let me = office.enter(opened.token.expose()).await.unwrap();
    office.core.change_password(&me, Some(secret(PASSWORD)), &secret(OTHER)).await.unwrap();
    let entries: Vec<(String, Option<Uuid>, Option<Value>)> = sqlx::query_as(
        "SELECT action, session_id, after_state FROM audit_log WHERE session_id IS NOT NULL ORDER BY id",
    )
    .fetch_all(&office.database.superuser().await)
    .await
    .unwrap();
    let mut actions: Vec<&str> = entries.iter().map(|(action, ..)| action.as_str()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["session.open", "user.set_password"]);
    assert!(entries.iter().all(|(_, session, _)| *session == Some(opened.session.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_key_does_not_outgrow_its_limits_by_a_link() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let mut new = new_key(None, &[]);
    new.allowed_addresses = vec!["192.0.2.0/24".to_owned()];
    let (_, token) = office.core.create_api_key(&ctx, &new).await.unwrap();
    let address = Some("192.0.2.9".parse().unwrap());
    let limited = office.core.authenticate(token.expose(), None, Uuid::nil(), address).await.unwrap();
    for user in [office.administrator, UserId(ann.id)] {
        assert_eq!(refused(office.core.create_link(&limited, user).await), ErrorCode::PermissionDenied);
        assert_eq!(refused(office.core.remove_factors(&limited, user).await), ErrorCode::PermissionDenied);
    }
    let attempt = office.core.change_password(&limited, None, &secret(PASSWORD)).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    assert_eq!(refused(office.core.revoke_sessions(&limited, None).await), ErrorCode::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_deciding_key_for_somebody_who_can_sign_in() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", APPROVER).await;
    let attempt =
        office.core.create_api_key(&ctx, &new_key(Some(UserId(ann.id)), &["request:approve"])).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    let bob = office.hire(&ctx, "bob", APPROVER).await;
    office.core.create_api_key(&ctx, &new_key(Some(UserId(bob.id)), &["request:approve"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_with_its_maker_and_with_new_rights() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let maker = office.welcome(&ctx, "maker", ADMINISTRATOR).await;
    let user = async |name: &str| {
        office.core.create_user(&ctx, &NewUser { invited: true, ..new_user(name) }).await.unwrap()
    };
    let set = async |token: &str| office.core.use_link(token, &secret(PASSWORD), &visitor()).await;
    // As the maker would in a session with a fresh factor.
    let inside = Ctx {
        actor: clm_core::Actor { user_id: Some(UserId(maker.id)), ..ctx.actor.clone() },
        ..ctx.clone()
    };
    let ann = user("ann").await;
    let link = office.core.create_link(&inside, UserId(ann.id)).await.unwrap();
    office.core.disable_user(&ctx, UserId(maker.id), maker.version).await.unwrap();
    assert_eq!(refused(set(link.token.expose()).await), ErrorCode::LinkInvalid);
    let bob = user("bob").await;
    let link = office.core.create_link(&ctx, UserId(bob.id)).await.unwrap();
    office.core.assign_role(&ctx, &crate::office::assignment(UserId(bob.id), APPROVER)).await.unwrap();
    assert_eq!(refused(set(link.token.expose()).await), ErrorCode::LinkInvalid);
    let carol = user("carol").await;
    let link = office.core.create_link(&ctx, UserId(carol.id)).await.unwrap();
    let disabled = office.core.disable_user(&ctx, UserId(carol.id), carol.version).await.unwrap();
    office.core.enable_user(&ctx, UserId(carol.id), disabled.version).await.unwrap();
    assert_eq!(refused(set(link.token.expose()).await), ErrorCode::LinkInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_passwords_cost_no_less_than_those_that_are_stored() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let costs = "SELECT substring(password_hash FROM 't=[0-9]+') FROM users WHERE password_hash IS NOT NULL";
    assert_eq!(texts(&office, costs).await, ["t=2"]);
    // As a process with more time stores them.
    let dearer = "$argon2id$v=19$m=19456,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$";
    let updated =
        sqlx::query("UPDATE users SET password_hash = $1 || repeat('A', 43) WHERE username = 'ann'")
            .bind(dearer)
            .execute(&office.database.superuser().await)
            .await
            .unwrap();
    assert_eq!(updated.rows_affected(), 1);
    office.core.raise_password_cost().await.unwrap();
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    office.welcome(&ctx, "bob", REQUESTER).await;
    sqlx::query("UPDATE users SET password_hash = NULL WHERE username = 'ann'")
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(texts(&office, costs).await, ["t=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_lower_cost_is_hashed_anew_at_the_next_sign_in() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    office.welcome(&ctx, "bob", REQUESTER).await;
    let dearer = "UPDATE users SET password_hash = '$argon2id$v=19$m=19456,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$'
                  || repeat('A', 43) WHERE username = 'bob'";
    sqlx::query(dearer).execute(&office.database.superuser().await).await.unwrap();
    office.core.raise_password_cost().await.unwrap();
    // At once: the one that comes second finds another hash of the same password.
    let opened = futures::future::join_all((0..4).map(|_| office.sign_in("ann", PASSWORD))).await;
    assert!(opened.iter().all(Result::is_ok));
    let cost = "SELECT substring(password_hash FROM 't=[0-9]+') FROM users WHERE username = 'ann'";
    assert_eq!(texts(&office, cost).await, ["t=3"]);
    office.sign_in("ann", PASSWORD).await.unwrap();
}
