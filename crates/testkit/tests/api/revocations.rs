//! Revocation: every reason, hold and release, with approval or without.

use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{APPROVER, Office, at_once, office};
use crate::validation::ocsp;

const REASONS: [&str; 8] = [
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
    "aACompromise",
];

pub(crate) async fn issue(office: &Office, policy: &str) -> Value {
    let body = json!({"profile": "tls-server", "policy": policy, "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    office.alice.issue(&body).await
}

async fn read(office: &Office, certificate: &Value) -> Value {
    office.alice.get(&format!("/api/v1/certificates/{}", text(certificate, "id"))).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_reaches_inventory_and_ocsp_at_once() {
    let office = office().await;
    for reason in REASONS {
        let certificate = issue(&office, "at-once").await;
        assert!(ocsp(&office, &certificate, &[]).await.contains("leaf.pem: good"));
        let path = format!("/api/v1/certificates/{}/revoke", text(&certificate, "id"));
        let body = json!({"reason": reason, "invalidity_date": "2020-02-03T04:05:06Z", "comment": "a test"});
        let answer = office.alice.post(&path, &body).await;
        let request = answer.expect(201);
        assert_eq!((&request["status"], &request["kind"]), (&json!("completed"), &json!("revocation")));
        assert_eq!(request["revocation"]["reason"], reason);
        let revoked = read(&office, &certificate).await;
        assert_eq!((&revoked["status"], &revoked["revocation_reason"]), (&json!("revoked"), &json!(reason)));
        let told = ocsp(&office, &certificate, &[]).await;
        assert!(told.contains("leaf.pem: revoked"), "{told}");
        // openssl's OCSP code has no words for the last two.
        let no_word = ["unspecified", "privilegeWithdrawn", "aACompromise"].contains(&reason);
        assert!(no_word || told.contains(&format!("Reason: {reason}")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_can_be_released_or_become_final() {
    let office = office().await;
    let certificate = issue(&office, "at-once").await;
    let release = format!("/api/v1/certificates/{}/release", text(&certificate, "id"));
    office.alice.revoke(&certificate, "certificateHold").await.expect(201);
    assert_eq!(read(&office, &certificate).await["status"], "on_hold");
    assert!(ocsp(&office, &certificate, &[]).await.contains("Reason: certificateHold"));
    office.alice.revoke(&certificate, "certificateHold").await.refused(409, "certificate_already_revoked");
    let released = office.alice.post(&release, &json!({"comment": "found again"})).await.expect(201);
    assert_eq!(released["revocation"]["reason"], "removeFromCRL");
    let active = read(&office, &certificate).await;
    assert_eq!(active["status"], "active");
    assert!(active["revoked_at"].is_null() && active["revocation_reason"].is_null(), "{active:#}");
    assert!(ocsp(&office, &certificate, &[]).await.contains("leaf.pem: good"));
    office.alice.revoke(&certificate, "certificateHold").await.expect(201);
    office.alice.revoke(&certificate, "keyCompromise").await.expect(201);
    assert_eq!(read(&office, &certificate).await["revocation_reason"], "keyCompromise");
    assert!(ocsp(&office, &certificate, &[]).await.contains("Reason: keyCompromise"));
    office.alice.post(&release, &json!({})).await.refused(409, "certificate_not_on_hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_waits_for_the_approval_that_its_policy_wants() {
    let office = office().await;
    let steps = json!([{"name": "One", "approver_role_id": APPROVER, "quorum": 1}]);
    office.workflow("careful", "revocation", &steps).await;
    let mut rules = at_once();
    rules["workflows"] = json!({"revocation": "careful"});
    office.policy("careful", &rules).await;
    let certificate = issue(&office, "careful").await;
    let pending = office.alice.revoke(&certificate, "superseded").await.expect(202);
    assert_eq!(read(&office, &certificate).await["status"], "active");
    assert!(ocsp(&office, &certificate, &[]).await.contains("leaf.pem: good"));
    let reject = format!("/api/v1/requests/{}/reject", text(&pending, "id"));
    office.bob.post(&reject, &json!({})).await.expect(200);
    assert_eq!(read(&office, &certificate).await["status"], "active");
    let pending = office.alice.revoke(&certificate, "superseded").await.expect(202);
    let approve = format!("/api/v1/requests/{}/approve", text(&pending, "id"));
    office.bob.post(&approve, &json!({})).await.expect(200);
    assert_eq!(read(&office, &certificate).await["status"], "revoked");
    assert!(ocsp(&office, &certificate, &[]).await.contains("Reason: superseded"));
    let path = format!("/api/v1/audit?operation_id={}", text(&pending, "operation_id"));
    let sources: Vec<_> = office.admin.list(&path).await.iter().map(|entry| text(entry, "source")).collect();
    assert!(sources.contains(&"core".to_owned()) && sources.contains(&"secure".to_owned()), "{sources:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_revocations_at_once_have_one_effect() {
    let office = office().await;
    let certificate = issue(&office, "at-once").await;
    let (first, second) = tokio::join!(
        office.alice.revoke(&certificate, "superseded"),
        office.carol.revoke(&certificate, "keyCompromise")
    );
    let (won, lost) = if first.status == 201 { (first, second) } else { (second, first) };
    let reason = won.expect(201)["revocation"]["reason"].clone();
    lost.refused(409, "certificate_already_revoked");
    assert_eq!(read(&office, &certificate).await["revocation_reason"], reason);
}
