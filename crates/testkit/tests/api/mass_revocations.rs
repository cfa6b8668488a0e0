//! Many certificates, revoked by one decision of two people at their terminals.

use serde_json::json;

use crate::answer::text;
use crate::cli::Terminal;
use crate::house::office;
use crate::revocations::issue;
use crate::validation::{ocsp, wait_for_listed};

#[tokio::test(flavor = "multi_thread")]
async fn one_selects_another_approves_and_both_see_what_becomes_of_it() {
    let office = office().await;
    let certificates = [issue(&office, "at-once").await, issue(&office, "at-once").await];
    let kept = issue(&office, "at-once").await;
    let carol = Terminal::sign_in(&office, &office.carol, "carol").await;
    let bob = Terminal::sign_in(&office, &office.bob, "bob").await;
    let ids = certificates.each_ref().map(|certificate| text(certificate, "id"));
    let select = ["mass-revocation", "create", "--reason", "keyCompromise", "--comment", "a host was lost"];
    let select = [&select[..], &["--certificate", &ids[0], "--certificate", &ids[1]]].concat();
    let plan = carol.json(&[&select[..], &["--dry-run"]].concat());
    assert_eq!((&plan["certificates"], &plan["profiles"][0]["name"]), (&json!(2), &json!("tls-server")));
    let created = carol.json(&select);
    let id = text(&created, "id");
    assert_eq!((text(&created, "status").as_str(), &created["certificates"]), ("pending", &json!(2)));
    carol.fails(&["mass-revocation", "approve", &id], 3, "self_approval");
    let done = bob.json(&["mass-revocation", "approve", &id, "--wait"]);
    assert_eq!((text(&done, "status").as_str(), &done["revoked"]), ("completed", &json!(2)));
    bob.fails(&["mass-revocation", "approve", &id], 5, "workflow_not_pending");
    let listed = carol.json(&["mass-revocation", "certificates", &id, "--status", "revoked", "--all"]);
    let operation = text(&listed["items"][0], "operation_id");
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(text(&carol.json(&["mass-revocation", "list"])["items"][0], "id") == id);
    for certificate in &certificates {
        assert!(ocsp(&office, certificate, &[]).await.contains("leaf.pem: revoked"));
        wait_for_listed(&office, certificate).await;
    }
    assert!(ocsp(&office, &kept, &[]).await.contains("leaf.pem: good"));
    // The operation of each is in both audit logs.
    let entries = office.admin.get(&format!("/api/v1/audit?operation_id={operation}")).await.expect(200);
    let said = entries.to_string();
    assert!(said.contains("certificate.revoked") && said.contains("certificate.revoke\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_selections_are_refused_and_write_nothing() {
    let office = office().await;
    let path = "/api/v1/mass-revocations";
    let before = office.alice.get(path).await.expect(200);
    for (body, status, code) in [
        (json!({"selection": {}, "reason": "superseded"}), 400, "invalid_request"),
        (
            json!({"selection": {"everything": true, "profile": "tls-server"}, "reason": "superseded"}),
            400,
            "invalid_request",
        ),
        (json!({"selection": {"profile": "none"}, "reason": "superseded"}), 422, "nothing_selected"),
        (
            json!({"selection": {"profile": "tls-server"}, "reason": "removeFromCRL"}),
            422,
            "revocation_reason_invalid",
        ),
        (json!({"selection": {"profile": "tls-server"}, "reason": "bored"}), 400, "invalid_request"),
        (json!({"selection": {"profil": "tls-server"}, "reason": "superseded"}), 400, "invalid_request"),
        (
            json!({"selection": {"profile": "tls-server"}, "reason": "superseded", "invalidity_date": "2999-01-01T00:00:00Z"}),
            422,
            "invalidity_date_invalid",
        ),
        (
            json!({"selection": {"same_key_as": "0198f000-0000-7000-8000-000000000000"}, "reason": "superseded"}),
            404,
            "certificate_not_found",
        ),
    ] {
        office.alice.post(path, &body).await.refused(status, code);
    }
    assert_eq!(office.alice.get(path).await.expect(200), before);
    office.alice.get(&format!("{path}/0198f000-0000-7000-8000-000000000000")).await.refused(404, "not_found");
}
