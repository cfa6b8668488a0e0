use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core::password_resets::Forgetful;
use clm_core::provisioned_users::ProvisionedUserChange;
use clm_core::roles::{ADMINISTRATOR, APPROVER, NewRole, REQUESTER, RoleChange};
use clm_core::users::{NewUser, UserChange};
use clm_core::{CoreError, Ctx};
use clm_types::{ErrorCode, RoleId, UserId};

use crate::mail_room::{MailRoom, Mailed, URL};
use crate::office::{Office, new_user, refused};
use crate::provisioning::client;
use crate::sign_in::{PASSWORD, secret, visitor};

const OTHER: &str = "seven green umbrellas";

impl MailRoom {
    async fn forget(&self, name: &str) -> Result<(), CoreError> {
        let asked = self.office.core.begin_password_reset(Forgetful::Username(name.to_owned()), visitor())?;
        asked.await.unwrap();
        Ok(())
    }

    /// The messages with this subject, oldest first.
    async fn about(&mut self, subject: &str) -> Vec<Mailed> {
        self.mails().await.into_iter().filter(|mail| mail.subject == subject).collect()
    }

    async fn use_link(&self, token: &str, password: &str) -> Result<(), CoreError> {
        self.office.core.use_link(token, &secret(password), &visitor()).await
    }

    /// Until so many messages tell of locks: they are written while nobody waits.
    async fn wait_for_locks(&self, number: usize) {
        let told = async {
            while self.texts("SELECT id::text FROM email_messages WHERE kind = 'user.lock'").await.len()
                < number
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), told).await.expect("locks are told of");
    }

    async fn resets(&mut self) -> Vec<String> {
        self.about("Your new password").await.iter().filter_map(Mailed::token).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_forgot_a_password_sets_another_by_the_link_that_was_sent() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    room.office.welcome(&ctx, "ann", REQUESTER).await;
    let session = room.office.sign_in("ann", PASSWORD).await.unwrap();
    let asked = Forgetful::Email("ANN@example.com".to_owned());
    room.office.core.begin_password_reset(asked, visitor()).unwrap().await.unwrap();
    let [link] = room.resets().await.try_into().unwrap();
    room.office.enter(session.token.expose()).await.unwrap();
    assert_eq!(refused(room.use_link(&link, "password1234").await), ErrorCode::PasswordTooWeak);
    room.use_link(&link, OTHER).await.unwrap();
    assert_eq!(refused(room.use_link(&link, OTHER).await), ErrorCode::LinkInvalid, "once");
    assert_eq!(refused(room.office.enter(session.token.expose()).await), ErrorCode::Unauthenticated);
    assert_eq!(refused(room.office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    room.office.sign_in("ann", OTHER).await.unwrap();
    let told = room.about("Your password was changed").await;
    assert_eq!(told.last().unwrap().to, "ann@example.com");
    assert!(told.last().unwrap().text.contains("192.0.2.7"));
    let audited =
        room.texts("SELECT outcome || ': ' || detail FROM audit_log WHERE action = 'password.ask'").await;
    assert_eq!(audited, ["allowed: a link was sent"]);
    // Half an hour, and no longer.
    room.forget("ann").await.unwrap();
    let late = room.resets().await.pop().unwrap();
    room.office.core.clock.advance(TimeDelta::minutes(30));
    assert_eq!(refused(room.use_link(&late, PASSWORD).await), ErrorCode::LinkInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_and_no_link_is_stored_or_sent_in_the_clear() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    room.office.welcome(&ctx, "ann", REQUESTER).await;
    room.mails().await;
    room.forget("ann").await.unwrap();
    let waiting = everything(&room.office).await;
    assert!(!waiting.contains("clm_otl_") && !waiting.contains(&hex::encode("clm_otl_")));
    let [link] = room.resets().await.try_into().unwrap();
    room.use_link(&link, OTHER).await.unwrap();
    room.office.sign_in("ann", OTHER).await.unwrap();
    let stored = everything(&room.office).await;
    assert!(stored.contains("ann@example.com"), "the rows are read at all");
    for password in [PASSWORD, OTHER, &link] {
        assert!(!stored.contains(password) && !stored.contains(&hex::encode(password)), "{password}");
    }
    let mails = room.mails().await;
    assert!(
        mails.len() >= 3
            && mails.iter().all(|mail| !mail.text.contains(OTHER) && !mail.text.contains(PASSWORD))
    );
}

/// All rows of all tables, as text.
async fn everything(office: &Office) -> String {
    let pool = office.database.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'clm'::regnamespace AND relkind = 'r'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let query = sqlx::AssertSqlSafe(format!("SELECT t::text FROM clm.\"{table}\" t"));
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&pool).await.unwrap();
        all += &rows.join("\n");
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_active_user_with_a_password_who_decides_nothing_gets_a_link() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let gone = room.office.welcome(&ctx, "gone", REQUESTER).await;
    room.office.core.disable_user(&ctx, UserId(gone.id), gone.version).await.unwrap();
    let deleted = room.office.welcome(&ctx, "deleted", REQUESTER).await;
    room.office.core.delete_user(&ctx, UserId(deleted.id), deleted.version).await.unwrap();
    room.office.core.create_user(&ctx, &NewUser { invited: true, ..new_user("invited") }).await.unwrap();
    room.office.core.create_user(&ctx, &new_user("without")).await.unwrap();
    room.office.welcome(&ctx, "approver", APPROVER).await;
    room.office.welcome(&ctx, "boss", ADMINISTRATOR).await;
    let before = room.mails().await.len();
    for name in ["nobody", "gone", "deleted", "invited", "without"] {
        room.forget(name).await.unwrap();
    }
    assert_eq!(room.mails().await.len(), before);
    for name in ["approver", "boss"] {
        room.forget(name).await.unwrap();
    }
    let told = room.about("No new password by e-mail").await;
    // Written at one moment, and sent in no order.
    assert_eq!(
        told.iter().map(|mail| mail.to.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(["approver@example.com", "boss@example.com"])
    );
    assert!(room.resets().await.is_empty());
    let links = room.texts("SELECT id::text FROM one_time_links WHERE made_by IS NULL").await;
    assert!(links.is_empty());
    let audited = room
        .texts("SELECT a::text FROM audit_log a WHERE action = 'password.ask' AND outcome = 'refused'")
        .await;
    assert_eq!(audited.len(), 7);
    // What was typed instead of a name may be a password.
    assert!(audited.iter().all(|row| !row.contains("nobody")), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_sent_few_links_and_nobody_outside_ends_one_of_an_administrator() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let ann = room.office.welcome(&ctx, "ann", REQUESTER).await;
    room.mails().await;
    for _ in 0..3 {
        room.forget("ann").await.unwrap();
    }
    assert_eq!(room.resets().await.len(), 1, "one waits at a time");
    for _ in 0..4 {
        room.forget("ann").await.unwrap();
        room.mails().await;
    }
    let links = room.resets().await;
    assert_eq!(links.len(), 3, "three in an hour");
    assert_eq!(refused(room.use_link(&links[0], OTHER).await), ErrorCode::LinkInvalid, "a newer one ends it");
    // Many who ask at once.
    room.office.core.clock.advance(TimeDelta::hours(1) + TimeDelta::seconds(1));
    let ctx = room.office.as_administrator().await;
    let made = room.office.core.create_link(&ctx, UserId(ann.id)).await.unwrap();
    futures::future::join_all((0..8).map(|_| room.forget("ann"))).await;
    assert_eq!(room.resets().await.len(), 4);
    room.use_link(made.token.expose(), OTHER).await.unwrap();
    let last = room.resets().await.pop().unwrap();
    assert_eq!(
        refused(room.use_link(&last, PASSWORD).await),
        ErrorCode::LinkInvalid,
        "another password ends it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_ends_the_link_that_went_to_the_old_one_which_is_told() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let ann = room.office.welcome(&ctx, "ann", REQUESTER).await;
    room.forget("ann").await.unwrap();
    let [link] = room.resets().await.try_into().unwrap();
    let change = UserChange { email: "ann@elsewhere.example".to_owned(), display_name: "Ann".to_owned() };
    room.office.core.update_user(&ctx, UserId(ann.id), ann.version, &change).await.unwrap();
    assert_eq!(refused(room.use_link(&link, OTHER).await), ErrorCode::LinkInvalid);
    let [told] = room.about("Your e-mail address was changed").await.try_into().unwrap();
    assert_eq!(told.to, "ann@example.com");
    assert!(!told.text.contains("elsewhere"));
    room.forget("ann").await.unwrap();
    assert_eq!(room.mails().await.last().unwrap().to, "ann@elsewhere.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_ends_links_of_administrators_too_whoever_changes_it() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let (client, _) = client(&room.office, &ctx, "idp").await;
    let ann =
        room.office.core.create_user(&ctx, &NewUser { invited: true, ..new_user("ann") }).await.unwrap();
    let bob = room.office.welcome(&ctx, "bob", REQUESTER).await;
    room.office.core.send_link(&ctx, UserId(ann.id)).await.unwrap();
    room.office.core.send_link(&ctx, UserId(bob.id)).await.unwrap();
    let invitation = room.about("You are invited").await.pop().unwrap().token().unwrap();
    let [reset] = room.resets().await.try_into().unwrap();
    let change = UserChange { email: "ann@elsewhere.example".to_owned(), display_name: "Ann".to_owned() };
    room.office.core.update_user(&ctx, UserId(ann.id), ann.version, &change).await.unwrap();
    let change = ProvisionedUserChange {
        email: Some("bob@elsewhere.example".to_owned()),
        ..ProvisionedUserChange::default()
    };
    room.office.core.change_provisioned_user(&client, UserId(bob.id), None, &change).await.unwrap();
    for link in [invitation, reset] {
        assert_eq!(refused(room.use_link(&link, OTHER).await), ErrorCode::LinkInvalid);
    }
    let told: Vec<_> = room.about("Your e-mail address was changed").await;
    assert_eq!(
        told.iter().map(|mail| mail.to.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(["ann@example.com", "bob@example.com"])
    );
    // Another name to show ends none.
    let link = room.office.core.create_link(&ctx, UserId(bob.id)).await.unwrap();
    let bob = room.office.core.show_user(&ctx, UserId(bob.id)).await.unwrap();
    let change = UserChange { email: bob.email, display_name: "Bob".to_owned() };
    room.office.core.update_user(&ctx, UserId(bob.id), bob.version, &change).await.unwrap();
    room.use_link(link.token.expose(), OTHER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_decides_by_now_sets_no_password_by_a_link_that_was_asked_for() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let clerk = NewRole {
        code: "clerk".to_owned(),
        name: "Clerk".to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: vec!["request:read".to_owned()],
    };
    let clerk = room.office.core.create_role(&ctx, &clerk).await.unwrap();
    let ann = room.office.welcome(&ctx, "ann", RoleId(clerk.id)).await;
    room.forget("ann").await.unwrap();
    let [link] = room.resets().await.try_into().unwrap();
    // The role becomes another: nobody assigns anything to her.
    let change = RoleChange {
        name: "Clerk".to_owned(),
        description: String::new(),
        permissions: vec!["request:read".to_owned(), "request:approve".to_owned()],
    };
    room.office.core.update_role(&ctx, RoleId(clerk.id), clerk.version, &change).await.unwrap();
    assert_eq!(refused(room.use_link(&link, OTHER).await), ErrorCode::LinkInvalid);
    room.office.sign_in("ann", PASSWORD).await.unwrap();
    // An administrator of the installation may still make one.
    let made = room.office.core.create_link(&ctx, UserId(ann.id)).await.unwrap();
    room.use_link(made.token.expose(), OTHER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_questions_is_answered_alike_and_holds_nobody_up() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    room.office.welcome(&ctx, "ann", REQUESTER).await;
    room.mails().await;
    // Somebody has her row, so that whatever waits for it waits long.
    let pool = room.office.database.superuser().await;
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM users WHERE username = 'ann' FOR UPDATE").execute(&mut *held).await.unwrap();
    for name in ["ann", "nobody"] {
        let asked: Vec<_> = (0..400)
            .map(|_| room.office.core.begin_password_reset(Forgetful::Username(name.to_owned()), visitor()))
            .collect();
        assert!(asked.iter().all(Result::is_ok), "{name}");
        // Others are served meanwhile.
        room.office.core.show_user(&ctx, room.office.administrator).await.unwrap();
        room.office.core.create_user(&ctx, &new_user(&format!("newcomer-{name}"))).await.unwrap();
        let ended = futures::future::join_all(asked.into_iter().map(Result::unwrap));
        let ended =
            tokio::time::timeout(Duration::from_secs(60), ended).await.expect("nobody waits for her row");
        assert!(ended.iter().all(Result::is_ok), "{name}");
    }
    held.rollback().await.unwrap();
    assert!(room.resets().await.is_empty());
    room.forget("ann").await.unwrap();
    assert_eq!(room.resets().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_an_administrator_goes_by_e_mail_and_changes_are_told() {
    let mut room = MailRoom::open().await;
    let ctx: Ctx = room.office.as_administrator().await;
    let ann =
        room.office.core.create_user(&ctx, &NewUser { invited: true, ..new_user("ann") }).await.unwrap();
    let terms = room.office.core.send_link(&ctx, UserId(ann.id)).await.unwrap();
    assert_eq!(terms.purpose, "invitation");
    let [invitation] = room.about("You are invited").await.try_into().unwrap();
    assert_eq!(invitation.to, "ann@example.com");
    room.use_link(&invitation.token().unwrap(), PASSWORD).await.unwrap();
    let enrolled = room.office.enrol("ann").await;
    room.office.core.remove_factors(&ctx, UserId(ann.id)).await.unwrap();
    drop(enrolled);
    assert_eq!(room.about("A second factor was added").await.len(), 1);
    assert_eq!(room.about("A second factor was removed").await.len(), 1);
    for _ in 0..5 {
        assert_eq!(refused(room.office.sign_in("ann", OTHER).await), ErrorCode::SignInFailed);
    }
    room.wait_for_locks(2).await;
    let mut told: Vec<String> =
        room.about("A user was locked after failed sign-ins").await.into_iter().map(|mail| mail.to).collect();
    told.sort_unstable();
    assert_eq!(told, ["ann@example.com", "root@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_hear_of_each_lock_though_many_are_locked() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let names: Vec<_> = (0..12).map(|number| format!("user-{number}")).collect();
    for name in &names {
        room.office.core.create_user(&ctx, &new_user(name)).await.unwrap();
        for _ in 0..5 {
            assert_eq!(refused(room.office.sign_in(name, OTHER).await), ErrorCode::SignInFailed);
        }
    }
    room.wait_for_locks(24).await;
    let mut mails = room.about("A user was locked after failed sign-ins").await;
    for mail in &mut mails {
        // Soft line ends (quoted-printable).
        mail.text = mail.text.replace("=\r\n", "");
    }
    for name in &names {
        let of = |to: &str| {
            let told = format!("the user {name} of {URL} was locked");
            mails.iter().filter(|mail| mail.to == to && mail.text.contains(&told)).count()
        };
        assert_eq!((of("root@example.com"), of(&format!("{name}@example.com"))), (1, 1), "{name}");
    }
    assert!(mails.iter().all(|mail| mail.text.contains("192.0.2.7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_written_is_counted() {
    let mut room = MailRoom::open().await;
    let ctx = room.office.as_administrator().await;
    let ann = room.office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    for _ in 0..10 {
        room.office.core.send_link(&ctx, UserId(ann.id)).await.unwrap();
    }
    assert_eq!(refused(room.office.core.send_link(&ctx, UserId(ann.id)).await), ErrorCode::RateLimited);
    assert_eq!(room.send().await.suppressed, 1);
    assert_eq!(room.send().await.suppressed, 0);
    assert_eq!(room.resets().await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_e_mail_is_sent_nobody_is_promised_any() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let asked = office.core.begin_password_reset(Forgetful::Username("ann".to_owned()), visitor());
    assert_eq!(refused(asked), ErrorCode::MailNotConfigured);
    assert_eq!(refused(office.core.send_link(&ctx, UserId(ann.id)).await), ErrorCode::MailNotConfigured);
    let pool = office.database.superuser().await;
    let written: i64 =
        sqlx::query_scalar("SELECT count(*) FROM email_messages").fetch_one(&pool).await.unwrap();
    assert_eq!(written, 0);
}
