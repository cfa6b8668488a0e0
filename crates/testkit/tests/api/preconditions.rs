//! `If-Match` where it may be left out: the actions on what has a version.

use reqwest::Method;
use reqwest::header::IF_MATCH;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::{REQUESTER, hire, office};
use crate::person::Person;

async fn act(admin: &Person, path: &str, tag: &str) -> Answer {
    admin.send(admin.call(Method::POST, path).header(IF_MATCH, tag).json(&json!({}))).await
}

/// Each action in turn: refused on a version that is not the newest, done on the one that is, and done without a word.
async fn follows_versions(admin: &Person, object: &str, actions: [&str; 2]) {
    let read = admin.get(object).await;
    let old = read.header("etag").to_owned();
    let first = format!("{object}/{}", actions[0]);
    for tag in ["\"999\"", "garbage"] {
        act(admin, &first, tag).await.refused(412, "precondition_failed");
    }
    let done = act(admin, &first, &old).await;
    assert_eq!(done.header("etag"), format!("\"{}\"", done.expect(200)["version"]));
    assert_ne!(done.header("etag"), old);
    let second = format!("{object}/{}", actions[1]);
    act(admin, &second, &old).await.refused(412, "precondition_failed");
    act(admin, &second, "*").await.expect(200);
    admin.post(&first, &json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_organizations_change_state_only_from_the_version_that_is_named() {
    let office = office().await;
    let stranger = office.stranger().await;
    let user = format!("/api/v1/users/{}", office.alice.id);
    follows_versions(&office.admin, &user, ["disable", "enable"]).await;
    let organization = format!("/api/v1/organizations/{}", stranger.organization);
    follows_versions(&office.admin, &organization, ["suspend", "resume"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_and_a_key_end_only_in_the_version_that_is_named() {
    let office = office().await;
    let admin = &office.admin;
    let dora = hire(admin, &format!("dora-{}", office.organization), &[REQUESTER]).await;
    let assignments = admin.list(&format!("/api/v1/role-assignments?user={}", dora.id)).await;
    let path = format!("/api/v1/role-assignments/{}/revoke", text(&assignments[0], "id"));
    act(admin, &path, "\"999\"").await.refused(412, "precondition_failed");
    let version: &Value = &assignments[0]["version"];
    assert_eq!(act(admin, &path, &format!("\"{version}\"")).await.status, 204);

    let keys = admin.list(&format!("/api/v1/api-keys?user={}", dora.id)).await;
    let key = format!("/api/v1/api-keys/{}", text(&keys[0], "id"));
    let read = admin.get(&key).await;
    act(admin, &format!("{key}/revoke"), "\"999\"").await.refused(412, "precondition_failed");
    let revoked = act(admin, &format!("{key}/revoke"), read.header("etag")).await;
    assert_ne!(revoked.expect(200)["revoked_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_changed_where_it_is_read() {
    let office = office().await;
    let stranger = office.stranger().await;
    let (own, other) = (&office.organization, &stranger.organization);
    let body = json!({"name": "Renamed", "settings": {"api_keys": {"longest_days": 30}}});
    for organization in [own, other] {
        let path = format!("/api/v1/organizations/{organization}");
        let version = office.admin.get(&path).await.expect(200)["version"].clone();
        let changed = office.put(&path, &version, &body).await.expect(200);
        assert_eq!((&changed["name"], &changed["settings"]), (&body["name"], &body["settings"]));
        office.put(&path, &version, &body).await.refused(412, "precondition_failed");
    }
    // An administrator of one organization does not learn of others.
    let role = json!({"user_id": office.carol.id, "role_id": "01900000-0000-7000-8000-000000000001"});
    office.admin.post("/api/v1/role-assignments", &role).await.expect(201);
    let change = async |organization: &str| {
        let path = format!("/api/v1/organizations/{organization}");
        office.carol.change(Method::PUT, &path, &json!(2), &body).await
    };
    change(own).await.expect(200);
    change(other).await.refused(404, "organization_not_found");
}
