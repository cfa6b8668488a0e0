//! Passkeys, with an authenticator in software that also lies.

use chrono::TimeDelta;
use clm_core::passkeys::AddedPasskey;
use clm_core::roles::{ADMINISTRATOR, REQUESTER};
use clm_core::second_factors::Factor;
use clm_core::sign_in::SignedIn;
use clm_core::webauthn::{ALGORITHMS, Assertion, Registration};
use clm_core::{CoreError, Ctx};
use clm_testkit::authenticator::{Answer, Authenticator, VERIFIED};
use clm_testkit::totp;
use clm_types::{ErrorCode, PasskeyId, UserId};

use crate::office::{Office, refused};
use crate::sign_in::{PASSWORD, secret, visitor};

fn authenticator() -> Authenticator {
    Authenticator::new(-7, "https://clm.example.com", "clm.example.com")
}

fn registration(answer: Answer) -> Registration {
    Registration { client_data: answer.client_data, attestation_object: answer.data }
}

fn assertion(authenticator: &Authenticator, challenge: &[u8]) -> Assertion {
    let Answer { client_data, data, signature } = authenticator.get(challenge);
    let credential_id = authenticator.credential_id.clone();
    Assertion { credential_id, user_handle: None, client_data, authenticator_data: data, signature }
}

impl Office {
    async fn signed_in(&self, name: &str) -> Ctx {
        self.session(self.sign_in(name, PASSWORD).await.unwrap().token.expose()).await
    }

    async fn add_passkey(&self, ctx: &Ctx, holder: &Authenticator) -> Result<AddedPasskey, CoreError> {
        let setup = self.core.begin_passkey(ctx, Some(secret(PASSWORD))).await?;
        let made = registration(holder.create(&setup.challenge));
        self.core.add_passkey(ctx, "laptop", &made, vec!["internal".to_owned()]).await
    }

    async fn enter_with(&self, holder: &Authenticator) -> Result<SignedIn, CoreError> {
        let question = self.core.begin_passkey_sign_in().unwrap();
        self.core.sign_in_with_passkey(&assertion(holder, &question.challenge), &visitor()).await
    }

    async fn confirm_with(&self, ctx: &Ctx, holder: &Authenticator) -> Result<Ctx, CoreError> {
        let question = self.core.begin_passkey_factor(ctx).await?;
        let factor = Factor::Passkey(assertion(holder, &question.challenge));
        Ok(self.session(self.core.show_factor(ctx, &factor).await?.expose()).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_of_each_kind_signs_in_and_counts_as_both_factors() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let boss = office.welcome(&ctx, "boss", ADMINISTRATOR).await;
    let mut inside = office.signed_in("boss").await;
    for algorithm in ALGORITHMS {
        let holder = Authenticator::new(algorithm, "https://clm.example.com", "clm.example.com");
        let added = office.add_passkey(&inside, &holder).await.unwrap();
        assert_eq!(added.recovery_codes.is_some(), algorithm == ALGORITHMS[0], "with the first factor alone");
        inside = office.session(added.token.expose()).await;
        let opened = office.enter_with(&holder).await.unwrap();
        assert_eq!((opened.missing, opened.session.sign_in_method.as_str()), (None, "passkey"));
        let entered = office.session(opened.token.expose()).await;
        assert_eq!(entered.actor.user_id, Some(UserId(boss.id)));
        entered.require_fresh_factor().unwrap();
    }
    assert_eq!(office.core.list_passkeys(&inside).await.unwrap().len(), 3);
    // Its answers are no longer fresh after five minutes, and the passkey itself makes them so.
    office.core.clock.advance(TimeDelta::minutes(6));
    let later = Ctx { now: office.core.clock.now(), ..inside };
    assert_eq!(later.require_fresh_factor().unwrap_err().code, ErrorCode::StepUpRequired);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_challenge_is_answered_twice_late_or_for_another_purpose() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let holder = authenticator();
    let ann = office.signed_in("ann").await;
    let ann = office.session(office.add_passkey(&ann, &holder).await.unwrap().token.expose()).await;
    let sign_in = async |challenge: &[u8]| {
        office.core.sign_in_with_passkey(&assertion(&holder, challenge), &visitor()).await
    };
    let once = office.core.begin_passkey_sign_in().unwrap().challenge;
    sign_in(&once).await.unwrap();
    assert_eq!(refused(sign_in(&once).await), ErrorCode::SignInFailed);
    let late = office.core.begin_passkey_sign_in().unwrap().challenge;
    let factor = office.core.begin_passkey_factor(&ann).await.unwrap().challenge;
    assert_eq!(refused(sign_in(&factor).await), ErrorCode::SignInFailed);
    let other = office.signed_in("ann").await;
    let shown = Factor::Passkey(assertion(&holder, &factor));
    assert_eq!(refused(office.core.show_factor(&other, &shown).await), ErrorCode::SignInFailed);
    assert_eq!(refused(sign_in(&[0; 56]).await), ErrorCode::SignInFailed);
    assert_eq!(refused(sign_in(b"short").await), ErrorCode::SignInFailed);
    let setup = office.core.begin_passkey(&ann, None).await.unwrap().challenge;
    let made = registration(authenticator().create(&once));
    assert_eq!(refused(office.core.add_passkey(&ann, "x", &made, vec![]).await), ErrorCode::PasskeyRefused);
    office.core.clock.advance(TimeDelta::minutes(5));
    assert_eq!(refused(sign_in(&late).await), ErrorCode::SignInFailed);
    let later = Ctx { now: office.core.clock.now(), ..ann };
    let made = registration(authenticator().create(&setup));
    assert_eq!(refused(office.core.add_passkey(&later, "x", &made, vec![]).await), ErrorCode::PasskeyRefused);
}

/// What is untrue, and how the authenticator comes to say it.
type Lie = (&'static str, fn(&mut Authenticator));

/// What an authenticator or a page that means no good may say.
const LIES: [Lie; 9] = [
    ("another page", |one| "https://clm.example.org".clone_into(&mut one.origin)),
    ("a page without TLS", |one| "http://clm.example.com".clone_into(&mut one.origin)),
    ("a page on another port", |one| "https://clm.example.com:8443".clone_into(&mut one.origin)),
    ("another relying party", |one| "example.com".clone_into(&mut one.rp_id)),
    ("an unknown user", |one| one.flags = 0x01),
    ("nobody there", |one| one.flags = 0x04),
    ("copied though it cannot be", |one| one.flags = VERIFIED | 0x10),
    ("a payment", |one| one.kind = Some("payment.get")),
    ("a frame", |one| one.framed = true),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_hold_is_refused() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let mut holder = authenticator();
    let ann = office.signed_in("ann").await;
    let ann = office.session(office.add_passkey(&ann, &holder).await.unwrap().token.expose()).await;
    for (what, lie) in LIES {
        let mut liar = authenticator();
        lie(&mut liar);
        let setup = office.core.begin_passkey(&ann, None).await.unwrap();
        let made = registration(liar.create(&setup.challenge));
        let added = office.core.add_passkey(&ann, "x", &made, vec![]).await;
        assert_eq!(refused(added), ErrorCode::PasskeyRefused, "{what}");
        lie(&mut holder);
        assert_eq!(refused(office.enter_with(&holder).await), ErrorCode::SignInFailed, "{what}");
        let honest = authenticator();
        (holder.origin, holder.rp_id, holder.flags) = (honest.origin, honest.rp_id, honest.flags);
        (holder.kind, holder.framed) = (None, false);
    }
    // Another key under the same name, an octet of what was signed, another owner.
    let mut impostor = authenticator();
    impostor.credential_id.clone_from(&holder.credential_id);
    assert_eq!(refused(office.enter_with(&impostor).await), ErrorCode::SignInFailed);
    let challenge = office.core.begin_passkey_sign_in().unwrap().challenge;
    let honest = assertion(&holder, &challenge);
    let mut changed = honest.clone();
    changed.authenticator_data[36] ^= 1;
    let foreign = Assertion { user_handle: Some(vec![7; 16]), ..honest.clone() };
    for wrong in [changed, foreign] {
        let attempt = office.core.sign_in_with_passkey(&wrong, &visitor()).await;
        assert_eq!(refused(attempt), ErrorCode::SignInFailed);
    }
    office.core.sign_in_with_passkey(&honest, &visitor()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_does_not_rise_betrays_a_copy() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let mut holder = authenticator();
    holder.count = 5;
    let ann = office.signed_in("ann").await;
    office.add_passkey(&ann, &holder).await.unwrap();
    for (count, right) in [(5, false), (6, true), (6, false), (4, false), (9, true)] {
        holder.count = count;
        assert_eq!(office.enter_with(&holder).await.is_ok(), right, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_a_session_open_adds_no_passkey() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let ann = office.signed_in("ann").await;
    for password in [None, Some(secret("wrong horse battery"))] {
        assert_eq!(refused(office.core.begin_passkey(&ann, password).await), ErrorCode::SignInFailed);
    }
    let first = authenticator();
    let ann = office.session(office.add_passkey(&ann, &first).await.unwrap().token.expose()).await;
    // With a factor it is the factor that counts, not the password.
    let partial = office.signed_in("ann").await;
    let again = office.core.begin_passkey(&partial, Some(secret(PASSWORD))).await;
    assert_eq!(refused(again), ErrorCode::StepUpRequired);
    office.core.clock.advance(TimeDelta::minutes(5));
    let later = Ctx { now: office.core.clock.now(), ..ann };
    let again = office.core.begin_passkey(&later, Some(secret(PASSWORD))).await;
    assert_eq!(refused(again), ErrorCode::StepUpRequired);
    let fresh = office.confirm_with(&later, &first).await.unwrap();
    let second = office.add_passkey(&fresh, &authenticator()).await.unwrap();
    let fresh = office.session(second.token.expose()).await;
    assert_eq!(refused(office.add_passkey(&fresh, &first).await), ErrorCode::AlreadyExists);
    // An API key opens no door to factors.
    assert_eq!(refused(office.core.begin_passkey(&ctx, None).await), ErrorCode::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_s_passkey_confirms_nothing_for_another() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let mut sessions = Vec::new();
    for name in ["ann", "bob"] {
        office.welcome(&ctx, name, REQUESTER).await;
        let holder = authenticator();
        office.add_passkey(&office.signed_in(name).await, &holder).await.unwrap();
        sessions.push((office.signed_in(name).await, holder));
    }
    let [(ann, of_ann), (bob, of_bob)] = &sessions[..] else { panic!("two") };
    assert_eq!(refused(office.confirm_with(ann, of_bob).await), ErrorCode::SignInFailed);
    office.confirm_with(ann, of_ann).await.unwrap();
    let bob = office.confirm_with(bob, of_bob).await.unwrap();
    let of_ann = office.core.list_passkeys(&office.session_of(of_ann).await).await.unwrap();
    let removed = office.core.remove_passkey(&bob, PasskeyId(of_ann[0].id)).await;
    assert_eq!(refused(removed), ErrorCode::PasskeyNotFound);
}

impl Office {
    async fn session_of(&self, holder: &Authenticator) -> Ctx {
        self.session(self.enter_with(holder).await.unwrap().token.expose()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_factor_ends_with_its_codes_and_others_stay() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let enrolled = office.enrol("ann").await;
    let holder = authenticator();
    let added = office.add_passkey(&enrolled.session, &holder).await.unwrap();
    assert!(added.recovery_codes.is_none(), "there are some already");
    let inside = office.session(added.token.expose()).await;
    office.core.remove_totp(&inside).await.unwrap();
    let shown = async || office.core.show_user(&ctx, UserId(ann.id)).await.unwrap().mfa_enabled;
    assert!(shown().await);
    let code = Factor::Totp(secret(&totp::code(&enrolled.secret, office.core.clock.now())));
    let partial = office.signed_in("ann").await;
    assert_eq!(refused(office.core.show_factor(&partial, &code).await), ErrorCode::Conflict);
    let partial = office.signed_in("ann").await;
    office.confirm_with(&partial, &holder).await.unwrap();
    office.core.remove_passkey(&inside, PasskeyId(added.passkey.id)).await.unwrap();
    assert!(!shown().await);
    assert_eq!(refused(office.enter_with(&holder).await), ErrorCode::SignInFailed);
    let plain = office.sign_in("ann", PASSWORD).await.unwrap();
    assert_eq!(plain.missing, None);
    let left = "SELECT count(*) FROM recovery_codes WHERE revoked_at IS NULL AND used_at IS NULL";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&office.database.superuser().await).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_password_do_not_keep_a_passkey_out_and_leaving_does() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.welcome(&ctx, "ann", REQUESTER).await;
    let holder = authenticator();
    office.add_passkey(&office.signed_in("ann").await, &holder).await.unwrap();
    for _ in 0..5 {
        assert_eq!(refused(office.sign_in("ann", "wrong horse battery").await), ErrorCode::SignInFailed);
    }
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
    office.enter_with(&holder).await.unwrap();
    let user = office.core.show_user(&ctx, UserId(ann.id)).await.unwrap();
    office.core.disable_user(&ctx, UserId(ann.id), user.version).await.unwrap();
    assert_eq!(refused(office.enter_with(&holder).await), ErrorCode::SignInFailed);
    let user = office.core.show_user(&ctx, UserId(ann.id)).await.unwrap();
    office.core.delete_user(&ctx, UserId(ann.id), user.version).await.unwrap();
    assert_eq!(refused(office.enter_with(&holder).await), ErrorCode::SignInFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_else_has_set_up_completes_no_sign_in() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    // Who knows the password sets up a secret and keeps it; then Ann makes a passkey.
    let thief = office.signed_in("ann").await;
    let kept = office.core.set_up_totp(&thief, Some(secret(PASSWORD))).await.unwrap();
    let holder = authenticator();
    office.add_passkey(&office.signed_in("ann").await, &holder).await.unwrap();
    let partial = office.signed_in("ann").await;
    let code = totp::code(&kept.secret, office.core.clock.now());
    assert_eq!(refused(office.core.confirm_totp(&partial, &code).await), ErrorCode::Conflict);
    // One that Ann has begun herself is hers to finish, with a fresh factor.
    let ann = office.confirm_with(&partial, &holder).await.unwrap();
    let begun = office.core.set_up_totp(&ann, None).await.unwrap();
    let code = totp::code(&begun.secret, office.core.clock.now());
    let partial = office.signed_in("ann").await;
    assert_eq!(refused(office.core.confirm_totp(&partial, &code).await), ErrorCode::StepUpRequired);
    for _ in 0..5 {
        assert_eq!(refused(office.core.confirm_totp(&ann, "000000").await), ErrorCode::SignInFailed);
    }
    // Guesses count: the session has ended, and passwords are locked.
    assert_eq!(refused(office.core.confirm_totp(&ann, &code).await), ErrorCode::PreconditionFailed);
    assert_eq!(refused(office.sign_in("ann", PASSWORD).await), ErrorCode::SignInFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_a_session_open_sets_no_first_password() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let holder = authenticator();
    office.add_passkey(&office.signed_in("ann").await, &holder).await.unwrap();
    let pool = office.database.superuser().await;
    let none = "UPDATE users SET password_hash = NULL, password_salt = NULL WHERE username = 'ann'";
    sqlx::query(none).execute(&pool).await.unwrap();
    let opened = office.enter_with(&holder).await.unwrap();
    let ann = office.session(opened.token.expose()).await;
    office.core.clock.advance(TimeDelta::minutes(5));
    let later = Ctx { now: office.core.clock.now(), ..ann };
    let first = office.core.change_password(&later, None, &secret("seven green umbrellas")).await;
    assert_eq!(refused(first), ErrorCode::StepUpRequired);
    // Also where there is no factor any more: then a session must be new.
    sqlx::query("UPDATE users SET mfa_enabled = false WHERE username = 'ann'").execute(&pool).await.unwrap();
    let first = office.core.change_password(&later, None, &secret("seven green umbrellas")).await;
    assert_eq!(refused(first), ErrorCode::StepUpRequired);
    let opened = office.enter_with(&holder).await.unwrap();
    let fresh = office.session(opened.token.expose()).await;
    office.core.change_password(&fresh, None, &secret("seven green umbrellas")).await.unwrap();
}
