use chrono::TimeDelta;
use clm_core::Ctx;
use clm_core::actor::MissingFactor;
use clm_core::roles::{ADMINISTRATOR, REQUESTER};
use clm_core::second_factors::Factor;
use clm_testkit::totp;
use clm_types::{ErrorCode, SessionId, UserId};

use crate::office::{FIRST, Office, refused};
use crate::sign_in::{PASSWORD, secret};

/// Somebody with one-time codes.
pub(crate) struct Enrolled {
    pub(crate) secret: String,
    recovery_codes: Vec<String>,
    pub(crate) session: Ctx,
}

impl Office {
    pub(crate) async fn session(&self, token: &str) -> Ctx {
        self.enter(token).await.unwrap()
    }

    /// Signs in with the password and sets up one-time codes.
    pub(crate) async fn enrol(&self, name: &str) -> Enrolled {
        let opened = self.sign_in(name, PASSWORD).await.unwrap();
        let inside = self.session(opened.token.expose()).await;
        let setup = self.core.set_up_totp(&inside, Some(secret(PASSWORD))).await.unwrap();
        let code = totp::code(&setup.secret, self.core.clock.now());
        let confirmed = self.core.confirm_totp(&inside, &code).await.unwrap();
        assert_eq!(refused(self.enter(opened.token.expose()).await), ErrorCode::Unauthenticated);
        self.core.clock.advance(TimeDelta::seconds(30));
        Enrolled {
            secret: setup.secret.to_string(),
            recovery_codes: confirmed.recovery_codes.unwrap().iter().map(|code| code.to_string()).collect(),
            session: self.session(confirmed.token.expose()).await,
        }
    }
}

fn code(text: &str) -> Factor {
    Factor::Totp(secret(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_may_nothing_before_the_second_factor() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "boss", ADMINISTRATOR).await;
    let opened = office.sign_in("boss", PASSWORD).await.unwrap();
    assert_eq!(opened.missing, Some(MissingFactor::Enrolment));
    let inside = office.session(opened.token.expose()).await;
    assert_eq!(refused(office.core.list_users(&inside, FIRST).await), ErrorCode::PermissionDenied);
    let enrolled = office.enrol("boss").await;
    office.core.list_users(&enrolled.session, FIRST).await.unwrap();
    enrolled.session.require_fresh_factor().unwrap();
    // The other session ended with the change; the next one asks for a code.
    assert_eq!(refused(office.enter(opened.token.expose()).await), ErrorCode::Unauthenticated);
    let next = office.sign_in("boss", PASSWORD).await.unwrap();
    assert_eq!(next.missing, Some(MissingFactor::Code));
    let partial = office.session(next.token.expose()).await;
    assert!(partial.actor.permissions.is_empty() && partial.actor.global_permissions.is_empty());
    let again = office.core.set_up_totp(&partial, Some(secret(PASSWORD))).await;
    assert_eq!(refused(again), ErrorCode::StepUpRequired);
    assert_eq!(refused(office.core.set_up_totp(&enrolled.session, None).await), ErrorCode::Conflict);
    let now = totp::code(&enrolled.secret, office.core.clock.now());
    let token = office.core.show_factor(&partial, &code(&now)).await.unwrap();
    assert_eq!(refused(office.enter(next.token.expose()).await), ErrorCode::Unauthenticated);
    let whole = office.session(token.expose()).await;
    office.core.list_users(&whole, FIRST).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_is_good_once_and_wrong_ones_lock() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    let partial =
        async || office.session(office.sign_in("ann", PASSWORD).await.unwrap().token.expose()).await;
    let now = totp::code(&enrolled.secret, office.core.clock.now());
    office.core.show_factor(&partial().await, &code(&now)).await.unwrap();
    // The same code, and that of the step before, which the clock's tolerance would take.
    let before = totp::code(&enrolled.secret, office.core.clock.now() - TimeDelta::seconds(30));
    for used in [&now, &before] {
        assert_eq!(
            refused(office.core.show_factor(&partial().await, &code(used)).await),
            ErrorCode::SignInFailed
        );
    }
    // A right password in between does not let one guess on.
    for _ in 0..3 {
        let attempt = office.core.show_factor(&partial().await, &code("abcdef")).await;
        assert_eq!(refused(attempt), ErrorCode::SignInFailed);
    }
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    office.core.clock.advance(TimeDelta::minutes(15));
    let now = totp::code(&enrolled.secret, office.core.clock.now());
    office.core.show_factor(&partial().await, &code(&now)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_with_one_code_do_not_both_win() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    let now = totp::code(&enrolled.secret, office.core.clock.now());
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let opened = office.sign_in("ann", PASSWORD).await.unwrap();
        sessions.push(office.session(opened.token.expose()).await);
    }
    let factor = code(&now);
    let shown = sessions.iter().map(|session| office.core.show_factor(session, &factor));
    let won = futures::future::join_all(shown).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_codes_stand_in_once_and_new_ones_end_the_old() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    assert_eq!(enrolled.recovery_codes.len(), 10);
    let show = async |text: &str| {
        let opened = office.sign_in("ann", PASSWORD).await.unwrap();
        let partial = office.session(opened.token.expose()).await;
        office.core.show_factor(&partial, &Factor::RecoveryCode(secret(text))).await
    };
    // As people copy it.
    let copied = enrolled.recovery_codes[0].to_uppercase().replace('-', " ");
    show(&copied).await.unwrap();
    assert_eq!(refused(show(&copied).await), ErrorCode::SignInFailed);
    let new = office.core.renew_recovery_codes(&enrolled.session).await.unwrap();
    assert_eq!(refused(show(&enrolled.recovery_codes[1]).await), ErrorCode::SignInFailed);
    show(&new[0]).await.unwrap();
    let kept: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT mfa_secret_encrypted FROM users WHERE username = 'ann'")
            .fetch_all(&office.database.superuser().await)
            .await
            .unwrap();
    let secret = totp::base32(&enrolled.secret);
    assert_eq!(secret.len(), 20);
    assert!(kept[0].len() > secret.len() && kept[0].windows(20).all(|part| part != secret), "it is sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_is_fresh_for_five_minutes() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    office.core.clock.advance(TimeDelta::minutes(5));
    let shown = office.core.list_sessions(&enrolled.session, None, FIRST).await.unwrap().items;
    assert_eq!(shown.len(), 1);
    let later = Ctx { now: office.core.clock.now(), ..enrolled.session.clone() };
    assert_eq!(later.require_fresh_factor().unwrap_err().code, ErrorCode::StepUpRequired);
    let now = totp::code(&enrolled.secret, office.core.clock.now());
    let token = office.core.show_factor(&later, &code(&now)).await.unwrap();
    office.session(token.expose()).await.require_fresh_factor().unwrap();
    // A key stands for the factor of its making.
    ctx.require_fresh_factor().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_idle_and_after_half_a_day() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let idle = office.sign_in("ann", PASSWORD).await.unwrap();
    office.core.clock.advance(TimeDelta::minutes(29));
    office.session(idle.token.expose()).await;
    let pool = office.database.superuser().await;
    let seen = async {
        let query = "SELECT count(*) FROM sessions WHERE last_seen_at > created_at";
        while sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.unwrap();
    office.core.forget_everything();
    office.core.clock.advance(TimeDelta::minutes(29));
    office.session(idle.token.expose()).await;
    office.core.clock.advance(TimeDelta::minutes(2));
    assert_eq!(refused(office.enter(idle.token.expose()).await), ErrorCode::Unauthenticated);
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    assert_eq!(opened.session.expires_at, office.core.clock.now() + TimeDelta::hours(12));
    sqlx::query("UPDATE sessions SET last_seen_at = now() + interval '1 year'").execute(&pool).await.unwrap();
    office.core.clock.advance(TimeDelta::hours(12));
    assert_eq!(refused(office.enter(opened.token.expose()).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_ended_one_by_one_or_together_and_not_by_others() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    office.welcome(&ctx, "bob", REQUESTER).await;
    let mut opened = Vec::new();
    for _ in 0..4 {
        opened.push(office.sign_in("ann", PASSWORD).await.unwrap());
    }
    let me = office.session(opened[0].token.expose()).await;
    let bob = office.session(office.sign_in("bob", PASSWORD).await.unwrap().token.expose()).await;
    let id = |index: usize| SessionId(opened[index].session.id);
    assert_eq!(refused(office.core.revoke_session(&bob, id(1)).await), ErrorCode::SessionNotFound);
    assert_eq!(
        refused(office.core.list_sessions(&bob, Some(UserId(ann.id)), FIRST).await),
        ErrorCode::PermissionDenied
    );
    office.core.revoke_session(&me, id(1)).await.unwrap();
    assert_eq!(refused(office.enter(opened[1].token.expose()).await), ErrorCode::Unauthenticated);
    office.core.revoke_session(&ctx, id(2)).await.unwrap();
    assert_eq!(refused(office.enter(opened[2].token.expose()).await), ErrorCode::Unauthenticated);
    assert_eq!(office.core.list_sessions(&me, None, FIRST).await.unwrap().items.len(), 2);
    assert_eq!(office.core.revoke_sessions(&me, None).await.unwrap(), 1);
    assert_eq!(refused(office.enter(opened[3].token.expose()).await), ErrorCode::Unauthenticated);
    office.session(opened[0].token.expose()).await;
    assert_eq!(office.core.revoke_sessions(&ctx, Some(UserId(ann.id))).await.unwrap(), 1);
    assert_eq!(refused(office.enter(opened[0].token.expose()).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_s_sessions_do_not_come_back() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    office.session(opened.token.expose()).await;
    let disabled = office.core.disable_user(&ctx, UserId(ann.id), ann.version).await.unwrap();
    assert_eq!(refused(office.enter(opened.token.expose()).await), ErrorCode::Unauthenticated);
    office.core.enable_user(&ctx, UserId(ann.id), disabled.version).await.unwrap();
    assert_eq!(refused(office.enter(opened.token.expose()).await), ErrorCode::Unauthenticated);
    office.sign_in("ann", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_factor_is_taken_away_by_an_administrator() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    let bob = office.welcome(&ctx, "bob", REQUESTER).await;
    let inside = office.session(office.sign_in("bob", PASSWORD).await.unwrap().token.expose()).await;
    assert_eq!(
        refused(office.core.remove_factors(&inside, UserId(ann.id)).await),
        ErrorCode::PermissionDenied
    );
    assert_eq!(refused(office.core.remove_factors(&ctx, UserId(bob.id)).await), ErrorCode::Conflict);
    office.core.remove_factors(&ctx, UserId(ann.id)).await.unwrap();
    assert_eq!(office.sign_in("ann", PASSWORD).await.unwrap().missing, None);
    let session = enrolled.session.actor.session.unwrap().id;
    assert_eq!(refused(office.core.revoke_session(&ctx, session).await), ErrorCode::PreconditionFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_codes_at_once_are_no_more_than_five() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    office.enrol("ann").await;
    let opened = office.sign_in("ann", PASSWORD).await.unwrap();
    let partial = office.session(opened.token.expose()).await;
    let wrong = code("000000");
    let attempts = (0..40).map(|_| office.core.show_factor(&partial, &wrong));
    for attempt in futures::future::join_all(attempts).await {
        assert_eq!(refused(attempt), ErrorCode::SignInFailed);
    }
    let counted: i32 = sqlx::query_scalar("SELECT failed_login_attempts FROM users WHERE username = 'ann'")
        .fetch_one(&office.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(counted, 5, "the user is locked after that");
    assert_eq!(refused(office.enter(opened.token.expose()).await), ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_is_not_kept_from_work_by_failures_of_others() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    for _ in 0..5 {
        assert_eq!(refused(office.sign_in("ann", "wrong horse battery").await), ErrorCode::SignInFailed);
    }
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    let now = totp::code(&enrolled.secret, office.core.clock.now());
    office.core.show_factor(&enrolled.session, &code(&now)).await.unwrap();
    // The door stays locked all the same.
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_session_gets_no_factor_without_the_password() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let found = office.session(office.sign_in("ann", PASSWORD).await.unwrap().token.expose()).await;
    let attempt = office.core.set_up_totp(&found, Some(secret("wrong horse battery"))).await;
    assert_eq!(refused(attempt), ErrorCode::SignInFailed);
    let key = office.enter(&office.administrator_key).await.unwrap();
    let attempt = office.core.set_up_totp(&key, Some(secret(PASSWORD))).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied, "keys have no factors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_does_not_see_where_others_are_signed_in() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let auditor = office.hire(&inside, "auditor", clm_core::roles::AUDITOR).await;
    let auditor = office.enter(&office.key_for(&inside, &auditor, &["user:read"]).await).await.unwrap();
    let attempt = office.core.list_sessions(&auditor, Some(office.administrator), FIRST).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    office.core.list_sessions(&ctx, Some(office.administrator), FIRST).await.unwrap();
}
