//! People who decide: quorum, self-approval, rejection, withdrawal, two at once, notifications, audit.

use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{APPROVER, Office, at_once, house, office};
use crate::person::{Person, fresh_key};

pub(crate) async fn ask(person: &Person, policy: &str) -> Value {
    let body = json!({"profile": "tls-server", "policy": policy, "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    let answer = person.post("/api/v1/requests", &body).await;
    let request = answer.expect(202);
    assert_eq!(answer.header("location"), format!("/api/v1/requests/{}", text(&request, "id")));
    request
}

fn path(request: &Value, action: &str) -> String {
    format!("/api/v1/requests/{}/{action}", text(request, "id"))
}

/// A policy whose requests two approvers must agree to.
async fn quorum_of_two(office: &Office) {
    let steps = json!([{"name": "Two agree", "approver_role_id": APPROVER, "quorum": 2}]);
    office.workflow("two", "issuance", &steps).await;
    let mut rules = at_once();
    rules["workflows"] = json!({"issuance": "two"});
    office.policy("two", &rules).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_approval_issues_and_everybody_concerned_is_told() {
    let office = office().await;
    let request = ask(&office.alice, "tls-server").await;
    assert_eq!(request["status"], "pending");
    assert!(request["certificate_id"].is_null());
    let waiting = office.bob.list("/api/v1/approvals").await;
    assert_eq!(waiting[0]["request_id"], request["id"]);
    assert_eq!(office.bob.list("/api/v1/notifications?unread=true").await.len(), 1);
    assert!(office.alice.list("/api/v1/notifications").await.is_empty());
    let body = json!({"comment": "as agreed"});
    let done = office.bob.post(&path(&request, "approve"), &body).await.expect(200);
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(done["steps"][0]["decisions"][0]["comment"], "as agreed");
    assert!(office.bob.list("/api/v1/approvals").await.is_empty());
    let told = office.alice.list("/api/v1/notifications").await;
    assert_eq!(told[0]["certificate_id"], done["certificate_id"], "{told:#?}");
    let read = format!("/api/v1/notifications/{}/read", text(&told[0], "id"));
    assert!(office.alice.post(&read, &json!({})).await.status < 300);
    assert!(office.alice.list("/api/v1/notifications?unread=true").await.is_empty());
    let foreign = format!("/api/v1/notifications/{}/read", text(&told[0], "id"));
    office.bob.post(&foreign, &json!({})).await.refused(404, "not_found");
    office.carol.post(&path(&request, "approve"), &json!({})).await.refused(409, "workflow_not_pending");
    office.carol.post(&path(&request, "reject"), &json!({})).await.refused(409, "workflow_not_pending");
    office.alice.post(&path(&request, "cancel"), &json!({})).await.refused(409, "workflow_not_pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_logs_of_both_databases_tell_of_an_operation() {
    let office = office().await;
    let request = ask(&office.alice, "tls-server").await;
    office.bob.post(&path(&request, "approve"), &json!({})).await.expect(200);
    let entries = |operation: String| {
        let path = format!("/api/v1/audit?operation_id={operation}");
        async { office.admin.clone().list(&{ path }).await }
    };
    let told = entries(text(&request, "operation_id")).await;
    let of = |source: &str| -> Vec<String> {
        told.iter().filter(|entry| entry["source"] == source).map(|entry| text(entry, "action")).collect()
    };
    println!("{:?} {:?}", of("core"), of("secure"));
    for action in ["request.create", "request.approve"] {
        assert!(of("core").iter().any(|entry| entry == action), "{action}: {:?}", of("core"));
    }
    assert!(of("secure").len() >= 2, "the request and the certificate: {:?}", of("secure"));
    let hashed = told.iter().filter(|entry| entry["source"] == "secure");
    assert!(hashed.clone().all(|entry| entry["chain_hash"].is_string() && entry["sequence"].is_i64()));
    assert!(told.iter().any(|entry| entry["actor"] == office.bob.id.as_str()), "{told:#?}");
    let times: Vec<_> = told.iter().map(|entry| text(entry, "occurred_at")).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Of no use to another tenant.
    let stranger = office.stranger().await;
    let path = format!("/api/v1/audit?operation_id={}", text(&request, "operation_id"));
    assert!(stranger.admin.list(&path).await.is_empty());
    house().await.installation.secure.run(&["audit", "verify"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_in_the_audit_log() {
    let office = office().await;
    let request = ask(&office.alice, "tls-server").await;
    office.alice.post(&path(&request, "approve"), &json!({})).await.refused(403, "permission_denied");
    let ours = ask(&office.admin, "tls-server").await;
    office.admin.post(&path(&ours, "approve"), &json!({})).await.refused(403, "self_approval");
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"], "validity_seconds": 10_000 * 86_400});
    office.alice.post("/api/v1/requests", &body).await.refused(422, "validity_too_long");
    let refused = async || {
        let entries = office.admin.list("/api/v1/audit?limit=100").await;
        let refused = entries.iter().filter(|entry| entry["outcome"] == "refused");
        let mut told: Vec<_> = refused
            .map(|entry| {
                let detail = text(entry, "detail");
                let code = detail.split(':').next().unwrap_or_default().to_owned();
                (text(entry, "actor"), text(entry, "action"), code)
            })
            .collect();
        told.sort_by(|a, b| a.2.cmp(&b.2));
        told
    };
    // They are written beside the calls, a moment later.
    let written = async {
        while refused().await.len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), written).await.unwrap();
    let entry = |who: &str, action: &str, code: &str| (who.to_owned(), action.to_owned(), code.to_owned());
    let expected = [
        entry(&office.alice.id, "request.approve", "permission_denied"),
        entry(&office.admin.id, "request.approve", "self_approval"),
        entry(&office.alice.id, "request.create", "validity_too_long"),
    ];
    assert_eq!(refused().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_of_two_needs_two_people() {
    let office = office().await;
    quorum_of_two(&office).await;
    let request = ask(&office.alice, "two").await;
    let half = office.bob.post(&path(&request, "approve"), &json!({})).await.expect(200);
    assert_eq!(half["status"], "pending");
    office.bob.post(&path(&request, "approve"), &json!({})).await.refused(409, "already_decided");
    office.alice.post(&path(&request, "approve"), &json!({})).await.refused(403, "permission_denied");
    let done = office.carol.post(&path(&request, "approve"), &json!({})).await.expect(200);
    assert_eq!(done["status"], "completed");
    assert_eq!(done["steps"][0]["decisions"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_a_request_of_their_own() {
    let office = office().await;
    let request = ask(&office.carol, "tls-server").await;
    office.carol.post(&path(&request, "approve"), &json!({})).await.refused(403, "self_approval");
    office.carol.post(&path(&request, "reject"), &json!({})).await.refused(403, "self_approval");
    assert!(office.carol.list("/api/v1/approvals").await.is_empty());
    office.admin.post(&path(&request, "approve"), &json!({})).await.refused(403, "not_an_approver");
    office.bob.post(&path(&request, "approve"), &json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_approvers_at_once_make_one_certificate() {
    let office = office().await;
    for _ in 0..5 {
        let request = ask(&office.alice, "tls-server").await;
        let (approve, none) = (path(&request, "approve"), json!({}));
        let (first, second) =
            tokio::join!(office.bob.post(&approve, &none), office.carol.post(&approve, &none));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", first.text(), second.text());
    }
    // One says yes, one says no: exactly one of them is heard.
    let request = ask(&office.alice, "tls-server").await;
    let (approve, reject, none) = (path(&request, "approve"), path(&request, "reject"), json!({}));
    let (yes, no) = tokio::join!(office.bob.post(&approve, &none), office.carol.post(&reject, &none));
    assert_ne!(yes.status == 200, no.status == 200, "{} {}", yes.text(), no.text());
    let status = text(&office.request(&request).await, "status");
    assert_eq!(status, if yes.status == 200 { "completed" } else { "rejected" });
    let issued = 5 + i64::from(yes.status == 200);
    assert_eq!(house().await.rows(&office.organization)["certificates"], issued);
    // The two votes of a quorum may come together.
    quorum_of_two(&office).await;
    let request = ask(&office.alice, "two").await;
    let approve = path(&request, "approve");
    let (first, second) = tokio::join!(office.bob.post(&approve, &none), office.carol.post(&approve, &none));
    assert_eq!((first.status, second.status), (200, 200), "{} {}", first.text(), second.text());
    assert_eq!(office.request(&request).await["status"], "completed");
    assert_eq!(house().await.rows(&office.organization)["certificates"], issued + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_or_withdrawn_request_never_becomes_a_certificate() {
    let office = office().await;
    let rejected = ask(&office.alice, "tls-server").await;
    let body = json!({"comment": "not this name"});
    let answer = office.bob.post(&path(&rejected, "reject"), &body).await.expect(200);
    assert_eq!(answer["status"], "rejected");
    let told = office.alice.list("/api/v1/notifications").await;
    assert_eq!(told[0]["body"], "not this name");
    let withdrawn = ask(&office.alice, "tls-server").await;
    office.bob.post(&path(&withdrawn, "cancel"), &json!({})).await.refused(403, "permission_denied");
    let answer = office.alice.post(&path(&withdrawn, "cancel"), &json!({})).await.expect(200);
    assert_eq!(answer["status"], "cancelled");
    for request in [rejected, withdrawn] {
        office.bob.post(&path(&request, "approve"), &json!({})).await.refused(409, "workflow_not_pending");
    }
    let rows = house().await.rows(&office.organization);
    assert_eq!((rows["certificates"], rows["certificate_metadata"]), (0, 0));
    let listed = office.alice.list("/api/v1/requests?status=cancelled").await;
    assert_eq!(listed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_follow_each_other_and_one_user_can_be_named() {
    let office = office().await;
    let steps = json!([
        {"name": "Team", "approver_user_id": office.carol.id, "quorum": 1},
        {"name": "Security", "approver_role_id": APPROVER, "quorum": 1, "deadline_seconds": 86400},
    ]);
    office.workflow("two-steps", "issuance", &steps).await;
    let mut rules = at_once();
    rules["workflows"] = json!({"issuance": "two-steps"});
    office.policy("two-steps", &rules).await;
    let request = ask(&office.alice, "two-steps").await;
    office.bob.post(&path(&request, "approve"), &json!({})).await.refused(403, "not_an_approver");
    assert!(office.bob.list("/api/v1/approvals").await.is_empty());
    let first = office.carol.post(&path(&request, "approve"), &json!({})).await.expect(200);
    assert_eq!((&first["status"], &first["steps"][0]["status"]), (&json!("pending"), &json!("approved")));
    assert!(first["steps"][1]["due_at"].is_string());
    assert_eq!(office.bob.list("/api/v1/approvals").await.len(), 1);
    assert_eq!(
        office.bob.post(&path(&request, "approve"), &json!({})).await.expect(200)["status"],
        "completed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_approves_what_it_covers_and_says_why_not_otherwise() {
    let office = office().await;
    let body = json!({"code": "short", "name": "Short", "kind": "issuance",
        "definition": {"steps": [{"name": "One", "approver_role_id": APPROVER, "quorum": 1}]},
        "auto_approval": [{"max_validity_seconds": 86400, "dns_suffixes": ["example.com"]}]});
    office.admin.post("/api/v1/workflows", &body).await.expect(201);
    let mut rules = at_once();
    rules["workflows"] = json!({"issuance": "short"});
    office.policy("short", &rules).await;
    let body = |seconds: u64| {
        json!({"profile": "tls-server", "policy": "short", "key_algorithm": "ecdsa-p256",
            "sans": ["dns:www.example.com"], "validity_seconds": seconds})
    };
    let quick = office.alice.post("/api/v1/requests", &body(86400)).await.expect(201);
    assert!(!text(&quick, "approval_reason").is_empty());
    let slow = office.alice.post("/api/v1/requests", &body(86401)).await.expect(202);
    assert!(text(&slow, "approval_reason").contains("validity"), "{slow:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_prefers_to_wait_hears_of_the_approval() {
    let office = office().await;
    let (alice, bob) = (office.alice.clone(), office.bob.clone());
    let asked = tokio::spawn(async move {
        let body =
            json!({"profile": "tls-server", "key_algorithm": "ecdsa-p256", "sans": ["dns:www.example.com"]});
        let call = alice.call(reqwest::Method::POST, "/api/v1/requests").header("prefer", "wait=20");
        alice.send(call.header("idempotency-key", fresh_key()).json(&body)).await
    });
    let request = loop {
        if let Some(waiting) = bob.list("/api/v1/approvals").await.first() {
            break text(waiting, "request_id");
        }
        tokio::task::yield_now().await;
    };
    bob.post(&format!("/api/v1/requests/{request}/approve"), &json!({})).await.expect(200);
    let answer = asked.await.unwrap();
    assert_eq!(answer.expect(201)["status"], "completed");
    assert!(answer.header("location").starts_with("/api/v1/certificates/"));
}
