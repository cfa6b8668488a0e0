//! The same call twice: one effect, one answer.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::{house, office};
use crate::person::{Person, fresh_key};

async fn post(person: &Person, path: &str, key: &str, body: &Value) -> Answer {
    person.send(person.call(Method::POST, path).header("idempotency-key", key).json(body)).await
}

fn request() -> Value {
    json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gives_the_same_certificate() {
    let office = office().await;
    let (path, key) = ("/api/v1/requests", fresh_key());
    let first = post(&office.alice, path, &key, &request()).await;
    let rows = house().await.rows(&office.organization);
    let again = post(&office.alice, path, &key, &request()).await;
    let (one, two) = (first.expect(201), again.expect(201));
    assert_eq!((&one["id"], &one["certificate_id"]), (&two["id"], &two["certificate_id"]));
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    let mut other = request();
    other["sans"] = json!(["dns:other.example.com"]);
    post(&office.alice, path, &key, &other).await.refused(422, "idempotency_key_reused");
    assert_eq!(house().await.rows(&office.organization), rows);
    // The key is the caller's own.
    let carol = post(&office.carol, path, &key, &request()).await.expect(201);
    assert_ne!(carol["id"], one["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_with_one_key_make_one_certificate() {
    let office = office().await;
    let key = fresh_key();
    let calls = (0..10).map(|_| {
        let (alice, key) = (office.alice.clone(), key.clone());
        async move { post(&alice, "/api/v1/requests", &key, &request()).await }
    });
    for answer in futures::future::join_all(calls).await {
        if answer.status == 409 {
            answer.refused(409, "idempotency_key_in_flight");
        } else {
            assert!(answer.status == 201 || answer.status == 202, "{}", answer.text());
        }
    }
    post(&office.alice, "/api/v1/requests", &key, &request()).await.expect(201);
    let rows = house().await.rows(&office.organization);
    assert_eq!((rows["workflow_instances"], rows["certificates"], rows["private_keys"]), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_effects_needs_a_key() {
    let office = office().await;
    let certificate = office.alice.issue(&request()).await;
    let path = format!("/api/v1/certificates/{}", text(&certificate, "id"));
    let rows = house().await.rows(&office.organization);
    for (path, body) in [
        ("/api/v1/requests".to_owned(), request()),
        (format!("{path}/revoke"), json!({"reason": "superseded"})),
        (format!("{path}/renew"), json!({})),
        (format!("{path}/release"), json!({})),
    ] {
        let answer = office.alice.send(office.alice.call(Method::POST, &path).json(&body)).await;
        answer.refused(400, "idempotency_key_required");
        post(&office.alice, &path, "", &body).await.refused(400, "invalid_request");
        post(&office.alice, &path, &"k".repeat(256), &body).await.refused(400, "invalid_request");
    }
    assert_eq!(house().await.rows(&office.organization), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_revocation_is_no_conflict() {
    let office = office().await;
    let certificate = office.alice.issue(&request()).await;
    let path = format!("/api/v1/certificates/{}/revoke", text(&certificate, "id"));
    let (key, body) = (fresh_key(), json!({"reason": "superseded"}));
    let first = post(&office.alice, &path, &key, &body).await.expect(201);
    let again = post(&office.alice, &path, &key, &body).await;
    assert_eq!(again.expect(201)["id"], first["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = json!({"reason": "keyCompromise"});
    post(&office.alice, &path, &key, &other).await.refused(422, "idempotency_key_reused");
    // The same key on another certificate is another call with a used key.
    let second = office.alice.issue(&request()).await;
    let path = format!("/api/v1/certificates/{}/revoke", text(&second, "id"));
    post(&office.alice, &path, &key, &body).await.refused(422, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_posts_repeat_their_answer_and_a_refusal_frees_the_key() {
    let office = office().await;
    let admin = &office.admin;
    let name = format!("dora-{}", office.organization);
    let (key, body) = (fresh_key(), json!({"username": name, "email": "dora@example.org"}));
    let first = post(admin, "/api/v1/users", &key, &body).await.expect(201);
    let again = post(admin, "/api/v1/users", &key, &body).await;
    assert_eq!(again.expect(201)["id"], first["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = json!({"username": format!("{name}-2"), "email": "dora@example.org"});
    post(admin, "/api/v1/users", &key, &other).await.refused(422, "idempotency_key_reused");
    // A secret is shown once, also to who repeats.
    let (key, body) = (fresh_key(), json!({"name": "shown once"}));
    post(admin, "/api/v1/api-keys", &key, &body).await.expect(201);
    let again = post(admin, "/api/v1/api-keys", &key, &body).await;
    assert!(!again.text().contains("clm_pat_"));
    again.refused(409, "already_exists");
    let key = fresh_key();
    let mut wrong = request();
    wrong["owner_user_id"] = json!("0198f000-0000-7000-8000-000000000000");
    post(&office.alice, "/api/v1/requests", &key, &wrong).await.refused(404, "user_not_found");
    post(&office.alice, "/api/v1/requests", &key, &request()).await.expect(201);
}
