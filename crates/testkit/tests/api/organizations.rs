//! Organizations at the command line, and what their subscription means for what their people ask.

use serde_json::json;

use crate::answer::text;
use crate::cli::Terminal;
use crate::house::{Office, REQUESTER, house, office};
use crate::person::Person;
use crate::sign_in::come;

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
    for bad in ["sign_in.session_idle_minutes=1", "sign_in.second_factor=maybe", "ui.colour=red"] {
        admin.fails(&[&set[..], &[bad]].concat(), 1, "invalid_request");
    }

    // What is no section makes room, and is told.
    change_in_core(&office, "settings = '{\"sign_in\": \"no section\", \"ui\": 1}'").await;
    let ended = admin.run(&[&set[..], &["sign_in.session_idle_minutes=5"]].concat());
    assert!(ended.err.contains("sign_in was \"no section\""), "{}", ended.err);
    assert_eq!(
        admin.json(&["org", "settings", "show", id]),
        json!({"sign_in": {"session_idle_minutes": 5}, "ui": 1})
    );

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

/// It was not a wrong token: the session goes on elsewhere, and at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_too_old_for_one_organization_works_in_another() {
    let (home, strict) = (office().await, office().await);
    let name = format!("eve-{}", home.organization);
    let (eve, opened) = come(&home, &name, &[REQUESTER]).await;
    let invited = strict.admin.post("/api/v1/members", &json!({"username": name})).await;
    assert_eq!(invited.status, 202, "{}", invited.text());
    let join = format!("/api/v1/me/memberships/{}/accept", strict.organization);
    let joined = eve.post(&join, &json!({})).await;
    assert_eq!(joined.status, 204, "{}", joined.text());
    change_in_core(&strict, "settings = '{\"sign_in\": {\"session_lifetime_hours\": 1}}'").await;
    let session = text(&opened, "session_id");
    in_core(&format!(
        "UPDATE clm.sessions SET created_at = now() - interval '2 hours' WHERE id = '{session}'"
    ))
    .await;
    let there = Person { organization: Some(strict.organization.clone()), ..eve.clone() };
    for _ in 0..3 {
        there.get("/api/v1/me").await.refused(403, "session_too_old");
        assert_eq!(eve.get("/api/v1/me").await.expect(200)["username"], name.as_str());
    }
}

async fn in_core(sql: &str) {
    house().await.installation.databases.core.psql("clm_core_db", sql).unwrap();
}

/// Behind the service's back.
async fn change_in_core(office: &Office, change: &str) {
    in_core(&format!(
        "UPDATE clm.organizations SET {change}, version = version + 1 WHERE id = '{}'",
        office.organization
    ))
    .await;
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
    let (suspend, resume) = (close.replace("/close", "/suspend"), close.replace("/close", "/resume"));
    elsewhere.post(&suspend, &json!({})).await.expect(200);
    elsewhere.post(&close, &json!({})).await.refused(409, "conflict");
    let a_minute_later = "updated_at = updated_at - interval '1 minute'";
    change_in_core(&office, a_minute_later).await;
    elsewhere.post(&close, &json!({})).await.refused(409, "conflict");
    elsewhere.post(&resume, &json!({})).await.expect(200);
    let revoked = office.admin.revoke(&certificate, "superseded").await;
    assert!(revoked.status < 300, "{}", revoked.text());
    let certificate = format!("/api/v1/certificates/{}", text(&certificate, "id"));
    while office.admin.get(&certificate).await.expect(200)["status"] != "revoked" {
        tokio::task::yield_now().await;
    }
    elsewhere.post(&suspend, &json!({})).await.expect(200);
    change_in_core(&office, a_minute_later).await;
    assert_eq!(elsewhere.post(&close, &json!({})).await.expect(200)["status"], "closed");
    office.alice.get("/api/v1/me").await.refused(403, "organization_not_active");
}
