//! What the state of a thing, or whose it is, does not allow.

use reqwest::Method;
use serde_json::json;

use crate::answer::text;
use crate::house::{Office, house, office};

const UNKNOWN: &str = "0198f000-0000-7000-8000-000000000000";

async fn certificate(office: &Office) -> serde_json::Value {
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    office.alice.issue(&body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_stays_revoked_and_cannot_be_renewed() {
    let office = office().await;
    let certificate = certificate(&office).await;
    let path = format!("/api/v1/certificates/{}", text(&certificate, "id"));
    let at = |action: &str| format!("{path}/{action}");
    let alice = &office.alice;
    alice.post(&at("release"), &json!({})).await.refused(409, "certificate_not_on_hold");
    alice.revoke(&certificate, "superseded").await.expect(201);
    let rows = house().await.rows(&office.organization);
    alice.revoke(&certificate, "superseded").await.refused(409, "certificate_already_revoked");
    alice.revoke(&certificate, "keyCompromise").await.refused(409, "certificate_already_revoked");
    alice.revoke(&certificate, "certificateHold").await.refused(409, "certificate_already_revoked");
    alice.post(&at("release"), &json!({})).await.refused(409, "certificate_not_on_hold");
    alice.post(&at("renew"), &json!({})).await.refused(409, "certificate_not_active");
    assert_eq!(house().await.rows(&office.organization), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reasons_and_dates_are_refused() {
    let office = office().await;
    let certificate = certificate(&office).await;
    let path = format!("/api/v1/certificates/{}/revoke", text(&certificate, "id"));
    let rows = house().await.rows(&office.organization);
    for (body, status, code) in [
        (json!({"reason": "removeFromCRL"}), 422, "revocation_reason_invalid"),
        (json!({"reason": "boredom"}), 400, "invalid_request"),
        (json!({"reason": 1}), 400, "invalid_request"),
        (json!({}), 400, "invalid_request"),
        (
            json!({"reason": "keyCompromise", "invalidity_date": "2999-01-01T00:00:00Z"}),
            422,
            "invalidity_date_invalid",
        ),
        (json!({"reason": "keyCompromise", "invalidity_date": "yesterday"}), 400, "invalid_request"),
        (
            json!({"reason": "keyCompromise", "invalidity_date": "-0044-03-15T00:00:00Z"}),
            422,
            "invalidity_date_invalid",
        ),
        (
            json!({"reason": "keyCompromise", "invalidity_date": "-262143-01-01T00:00:00Z"}),
            422,
            "invalidity_date_invalid",
        ),
        (json!({"reason": "keyCompromise", "comment": "a\0b"}), 400, "invalid_request"),
        (json!({"reason": "keyCompromise", "serial": "1"}), 400, "invalid_request"),
    ] {
        let answer = office.alice.post(&path, &body).await;
        println!("{body}: {}", answer.text());
        answer.refused(status, code);
    }
    assert_eq!(house().await.rows(&office.organization), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_tenant_is_not_there() {
    let office = office().await;
    let stranger = office.stranger().await;
    let theirs = certificate(&stranger).await;
    let rows = house().await.rows(&stranger.organization);
    for id in [text(&theirs, "id").as_str(), UNKNOWN] {
        let path = format!("/api/v1/certificates/{id}");
        for person in [&office.alice, &office.carol] {
            person.get(&path).await.refused(404, "certificate_not_found");
            let revoke = json!({"reason": "keyCompromise"});
            person.post(&format!("{path}/revoke"), &revoke).await.refused(404, "certificate_not_found");
            person.post(&format!("{path}/release"), &json!({})).await.refused(404, "certificate_not_found");
            person.post(&format!("{path}/renew"), &json!({})).await.refused(404, "certificate_not_found");
            let download = person.call(Method::GET, &path).header("accept", "application/pkix-cert");
            person.send(download).await.refused(404, "certificate_not_found");
        }
        let change = office.admin.change(Method::PATCH, &path, &json!(1), &json!({"notes": "mine"})).await;
        change.refused(404, "certificate_not_found");
    }
    for query in [
        format!("sha256={}", text(&theirs, "fingerprint_sha256")),
        format!("serial={}", text(&theirs, "serial_number")),
    ] {
        let path = format!("/api/v1/certificates/lookup?{query}");
        office.alice.get(&path).await.refused(404, "certificate_not_found");
        stranger.alice.get(&path).await.expect(200);
    }
    assert!(office.alice.list("/api/v1/certificates").await.is_empty());
    assert_eq!(house().await.rows(&stranger.organization), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_another_tenant_is_not_there() {
    let office = office().await;
    let stranger = office.stranger().await;
    let body =
        json!({"profile": "tls-server", "key_algorithm": "ecdsa-p256", "sans": ["dns:www.example.com"]});
    let theirs = text(&stranger.alice.post("/api/v1/requests", &body).await.expect(202), "id");
    for id in [theirs.as_str(), UNKNOWN] {
        office.alice.get(&format!("/api/v1/requests/{id}")).await.refused(404, "request_not_found");
        for action in ["approve", "reject", "cancel"] {
            let path = format!("/api/v1/requests/{id}/{action}");
            office.bob.post(&path, &json!({})).await.refused(404, "request_not_found");
        }
    }
    assert!(office.bob.list("/api/v1/approvals").await.is_empty());
    stranger.bob.post(&format!("/api/v1/requests/{theirs}/approve"), &json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_what_no_role_of_theirs_allows() {
    let office = office().await;
    let certificate = certificate(&office).await;
    let request =
        json!({"profile": "tls-server", "key_algorithm": "ecdsa-p256", "sans": ["dns:www.example.com"]});
    let rows = house().await.rows(&office.organization);
    office.bob.post("/api/v1/requests", &request).await.refused(403, "permission_denied");
    office.bob.revoke(&certificate, "superseded").await.refused(403, "permission_denied");
    for path in
        ["/api/v1/policies", "/api/v1/workflows", "/api/v1/users", "/api/v1/organizations", "/api/v1/roles"]
    {
        office.alice.post(path, &json!({})).await.refused(403, "permission_denied");
    }
    office.alice.get("/api/v1/audit").await.refused(403, "permission_denied");
    office.alice.post("/api/v1/integrity/runs", &json!({})).await.refused(403, "permission_denied");
    assert_eq!(house().await.rows(&office.organization), rows);
}
