//! Organizations at the command line, and what their subscription means for what their people ask.

use serde_json::json;

use crate::answer::text;
use crate::cli::Terminal;
use crate::house::office;
use crate::person::Person;

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_subscription_are_shown_and_changed_one_by_one() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let id = office.organization.as_str();
    let set = ["org", "settings", "set", id];
    admin.json(&[&set[..], &["sign_in.session_idle_minutes=5", "api_keys.longest_days=30"]].concat());
    let kept = admin.json(&[&set[..], &["api_keys.longest_days=none"]].concat());
    assert_eq!(kept, json!({"sign_in": {"session_idle_minutes": 5}}));
    assert_eq!(admin.json(&["org", "settings", "show", id]), kept);
    for bad in ["sign_in.session_idle_minutes=0", "sign_in.second_factor=maybe", "ui.colour=red"] {
        admin.fails(&[&set[..], &[bad]].concat(), 1, "invalid_request");
    }

    let subscription = ["org", "subscription", id];
    let limits = ["--plan", "team", "--max-users", "4", "--max-authorities", "2"];
    admin.json(&[&subscription[..], &limits].concat());
    let shown = admin.json(&[&subscription[..], &["--max-users", "none", "--status", "past_due"]].concat());
    assert_eq!(
        (&shown["subscription_plan"], &shown["subscription_status"], &shown["license_max_authorities"]),
        (&json!("team"), &json!("past_due"), &json!(2))
    );
    assert!(shown["license_max_users"].is_null());
    // Nobody of the organization says so.
    let alice = Terminal::sign_in(&office, &office.alice, "alice").await;
    alice.fails(&[&subscription[..], &["--plan", "free"]].concat(), 3, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_subscription_ends_what_is_new_and_nothing_else() {
    let office = office().await;
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:paid.example.com"]});
    let certificate = office.alice.issue(&body).await;
    let path = format!("/api/v1/organizations/{}", office.organization);
    let version = office.admin.get(&path).await.expect(200)["version"].clone();
    let ended = json!({"plan": "team", "status": "cancelled"});
    office.put(&format!("{path}/subscription"), &version, &ended).await.expect(200);
    office.alice.post("/api/v1/requests", &body).await.refused(403, "subscription_ended");
    let renew = format!("/api/v1/certificates/{}/renew", text(&certificate, "id"));
    office.alice.post(&renew, &json!({})).await.refused(403, "subscription_ended");
    let newcomer = json!({"username": format!("new-{}", office.organization), "email": "new@example.net"});
    office.admin.post("/api/v1/users", &newcomer).await.refused(403, "subscription_ended");
    office.alice.get("/api/v1/certificates").await.expect(200);
    let revoked = office.admin.revoke(&certificate, "superseded").await;
    assert!(revoked.status == 201 || revoked.status == 202, "{}", revoked.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_closed_when_nothing_is_left_to_revoke() {
    let office = office().await;
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:left.example.com"]});
    let certificate = office.alice.issue(&body).await;
    let elsewhere = Person { organization: None, ..office.admin.clone() };
    let close = format!("/api/v1/organizations/{}/close", office.organization);
    office.admin.post(&close, &json!({})).await.refused(409, "conflict");
    elsewhere.post(&close, &json!({})).await.refused(409, "conflict");
    let revoked = office.admin.revoke(&certificate, "superseded").await;
    assert!(revoked.status < 300, "{}", revoked.text());
    let certificate = format!("/api/v1/certificates/{}", text(&certificate, "id"));
    while office.admin.get(&certificate).await.expect(200)["status"] != "revoked" {
        tokio::task::yield_now().await;
    }
    assert_eq!(elsewhere.post(&close, &json!({})).await.expect(200)["status"], "closed");
    office.alice.get("/api/v1/me").await.refused(403, "organization_not_active");
}
