//! SCIM as identity providers speak it, and as scim2-tester judges it: `make deps-test` installs it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::{Office, REQUESTER, hire, house, office};
use crate::person::Person;

const TYPE: &str = "application/scim+json";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A provisioning client of an office.
struct Client(Person);

impl Client {
    /// Its user may ask for certificates, its key may provision and nothing else.
    async fn of(office: &Office) -> Self {
        let body = json!({"code": "provisioner", "name": "Provisioner", "permissions": ["user:provision"]});
        let role = text(&office.admin.post("/api/v1/roles", &body).await.expect(201), "id");
        let user = hire(&office.admin, &format!("idp-{}", office.organization), &[&role, REQUESTER]).await;
        let body = json!({"name": "idp", "user_id": user.id, "service": true, "scopes": ["user:provision"]});
        let key = text(&office.admin.post("/api/v1/api-keys", &body).await.expect(201), "secret");
        Self(Person { key, ..user })
    }

    async fn call(&self, method: Method, path: &str, tag: Option<&str>, body: Option<&Value>) -> Answer {
        let mut call = self.0.call(method, &format!("/scim/v2{path}"));
        if let Some(tag) = tag {
            call = call.header("if-match", tag);
        }
        if let Some(body) = body {
            call = call.header("content-type", TYPE).body(body.to_string());
        }
        self.0.send(call).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, None, Some(body)).await
    }

    async fn patch(&self, path: &str, operations: Value) -> Answer {
        let body = json!({"schemas": [PATCH], "Operations": operations});
        self.call(Method::PATCH, path, None, Some(&body)).await
    }

    /// A new user: its id.
    async fn user(&self, name: &str) -> String {
        let body = json!({"userName": name, "emails": [{"value": format!("{name}@example.org")}]});
        text(&self.post("/Users", &body).await.expect(201), "id")
    }
}

/// Fails unless it is an error of SCIM, complete, with this type.
#[track_caller]
fn refused(answer: &Answer, status: u16, scim_type: &str) -> Value {
    let error = answer.expect(status);
    assert_eq!(answer.header("content-type"), TYPE);
    assert_eq!(error["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
    assert_eq!(error["status"], status.to_string());
    assert_eq!(error["scimType"].as_str().unwrap_or_default(), scim_type, "{error:#}");
    assert!(!text(&error, "detail").is_empty());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn scim2_tester_finds_no_error() {
    let office = office().await;
    let client = Client::of(&office).await;
    let url = format!("{}/scim/v2", client.0.url);
    let anchors = house().await.installation.ca_file();
    let output = tokio::task::spawn_blocking(move || {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = folder.join("../../target/scim2-tester/bin/python3");
        assert!(python.exists(), "scim2-tester is missing: run `make deps-test`");
        let mut command = Command::new(python);
        command.arg(folder.join("tests/api/scim_tester.py")).arg(url).arg(anchors);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(client.0.key.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{error}");
    let checks: u32 = told.lines().find_map(|line| line.strip_prefix("checks: ")).unwrap().parse().unwrap();
    assert!(checks >= 45, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_and_goes_as_entra_does_it() {
    let office = office().await;
    let client = Client::of(&office).await;
    let name = format!("ann-{}@example.org", office.organization);
    let filter = format!("/Users?filter=userName+eq+%22{name}%22");
    assert_eq!(client.get(&filter).await.expect(200)["totalResults"], 0);
    let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "4711", "userName": name, "active": true, "displayName": "Ann Example",
        "emails": [{"primary": true, "type": "work", "value": name}],
        "meta": {"resourceType": "User"}, "name": {"formatted": "Ann Example", "familyName": "Example"},
        "roles": [], "title": "Engineer"});
    let made = client.post("/Users", &body).await;
    assert_eq!(made.header("content-type"), TYPE);
    let user = made.expect(201);
    assert_eq!(made.header("location"), text(&user["meta"], "location"));
    assert_eq!(made.header("etag"), text(&user["meta"], "version"));
    let path = format!("/Users/{}", text(&user, "id"));
    assert_eq!(client.get(&filter).await.expect(200)["Resources"][0], user);
    refused(&client.post("/Users", &body).await, 409, "uniqueness");
    let changed = client.patch(
        &path,
        json!([
            {"op": "Replace", "path": "displayName", "value": "Ann Other"},
            {"op": "Add", "path": "emails[type eq \"work\"].value", "value": format!("other-{name}")},
        ]),
    );
    let changed = changed.await.expect(200);
    assert_eq!((&changed["displayName"], &changed["externalId"]), (&json!("Ann Other"), &json!("4711")));
    assert_eq!(changed["emails"][0]["value"], format!("other-{name}"));
    // A user of the organization like any other, without a password.
    let shown = office.admin.get(&format!("/api/v1{}", path.to_lowercase())).await.expect(200);
    assert_eq!((&shown["username"], &shown["status"]), (&json!(name), &json!("active")));
    let off = client.patch(&path, json!([{"op": "Replace", "path": "active", "value": "False"}])).await;
    assert_eq!(off.expect(200)["active"], false);
    let on = client.patch(&path, json!([{"op": "Replace", "value": {"active": "True"}}])).await;
    assert_eq!(on.expect(200)["active"], true);
    refused(
        &client.patch(&path, json!([{"op": "Replace", "path": "userName", "value": "x"}])).await,
        400,
        "mutability",
    );
    assert_eq!(client.call(Method::DELETE, &path, None, None).await.status, 204);
    refused(&client.get(&path).await, 404, "");
    refused(&client.call(Method::DELETE, &path, None, None).await, 404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_as_okta_says_it_is_out_with_the_next_call() {
    let office = office().await;
    let client = Client::of(&office).await;
    let dora = hire(&office.admin, &format!("dora-{}", office.organization), &[REQUESTER]).await;
    dora.get("/api/v1/me").await.expect(200);
    let path = format!("/Users/{}", dora.id);
    let user = client.get(&path).await.expect(200);
    let body = json!({"schemas": user["schemas"], "id": dora.id, "userName": user["userName"], "active": false,
        "name": {"givenName": "Dora", "familyName": "Example"}, "emails": user["emails"]});
    let replaced = client.call(Method::PUT, &path, None, Some(&body)).await.expect(200);
    assert_eq!((&replaced["active"], &replaced["displayName"]), (&json!(false), &json!("Dora Example")));
    dora.get("/api/v1/me").await.refused(401, "unauthenticated");
    let assignments = office.admin.list(&format!("/api/v1/role-assignments?user={}", dora.id)).await;
    assert!(assignments.iter().all(|one| one["revoked_at"].is_string()));
    // Without `active`, nothing of it changes.
    let body = json!({"userName": user["userName"], "displayName": "Dora"});
    let replaced = client.call(Method::PUT, &path, None, Some(&body)).await.expect(200);
    assert_eq!((&replaced["active"], &replaced["emails"]), (&json!(false), &user["emails"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_come_and_go_with_groups_that_a_client_fills() {
    let office = office().await;
    let client = Client::of(&office).await;
    let erik = hire(&office.admin, &format!("erik-{}", office.organization), &[]).await;
    let member = json!([{"value": erik.id}]);
    let group =
        client.post("/Groups", &json!({"displayName": "Web", "externalId": "w", "members": member})).await;
    let group = text(&group.expect(201), "id");
    erik.get("/api/v1/requests").await.refused(403, "permission_denied");
    let roles = format!("/api/v1/groups/{group}/roles");
    assert_eq!(office.admin.post(&roles, &json!({"role_id": REQUESTER})).await.status, 204);
    erik.get("/api/v1/requests").await.expect(200);
    let path = format!("/Groups/{group}");
    let gone = json!([{"op": "Remove", "path": format!("members[value eq \"{}\"]", erik.id)}]);
    assert_eq!(client.patch(&path, gone).await.expect(200)["members"], json!([]));
    erik.get("/api/v1/requests").await.refused(403, "permission_denied");
    let again = json!([{"op": "Add", "path": "members", "value": member}]);
    let shown = client.patch(&path, again).await.expect(200);
    assert_eq!(shown["members"][0]["value"], erik.id);
    erik.get("/api/v1/requests").await.expect(200);
    let listed =
        client.get("/Groups?excludedAttributes=members&filter=displayName+eq+%22web%22").await.expect(200);
    assert_eq!((&listed["totalResults"], &listed["Resources"][0]["members"]), (&json!(1), &Value::Null));
    let stranger = office.stranger().await;
    let foreign = json!([{"op": "Add", "path": "members", "value": [{"value": stranger.alice.id}]}]);
    let foreign = refused(&client.patch(&path, foreign).await, 400, "invalidValue");
    assert!(text(&foreign, "detail").starts_with(&format!("there is no user {}", stranger.alice.id)));
    assert_eq!(client.call(Method::DELETE, &path, None, None).await.status, 204);
    erik.get("/api/v1/requests").await.refused(403, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_climb() {
    let office = office().await;
    let client = Client::of(&office).await;
    let mallory = client.user(&format!("mallory-{}", office.organization)).await;
    let body = json!({"display_name": "Bosses"});
    let bosses = text(&office.admin.post("/api/v1/groups", &body).await.expect(201), "id");
    let administrator = json!({"role_id": "01900000-0000-7000-8000-000000000001"});
    let roles = format!("/api/v1/groups/{bosses}/roles");
    client.0.post(&roles, &administrator).await.refused(403, "permission_denied");
    let members = format!("/api/v1/groups/{bosses}/members");
    client.0.post(&members, &json!({"user_ids": [mallory]})).await.refused(403, "permission_denied");
    office
        .admin
        .post("/api/v1/groups", &json!({"display_name": "bosses"}))
        .await
        .refused(409, "already_exists");
    assert_eq!(office.admin.post(&roles, &administrator).await.status, 204);
    let join = json!([{"op": "add", "path": "members", "value": [{"value": mallory}]}]);
    refused(&client.patch(&format!("/Groups/{bosses}"), join).await, 403, "");
    let put = json!({"displayName": "Bosses", "members": [{"value": mallory}]});
    refused(&client.call(Method::PUT, &format!("/Groups/{bosses}"), None, Some(&put)).await, 403, "");
    // Nor do people without the permission get in, nor the client anywhere else.
    let outsider = Client(office.alice.clone());
    refused(&outsider.get("/Users").await, 403, "");
    client.0.get("/api/v1/users").await.refused(403, "permission_denied");
    refused(&client.get(&format!("/Users/{}", office.admin.id)).await, 404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_filters_pages_and_bodies_are_what_they_should_be() {
    let office = office().await;
    let client = Client::of(&office).await;
    let id = client.user(&format!("fred-{}", office.organization)).await;
    let path = format!("/Users/{id}");
    let first = client.get(&path).await.header("etag").to_owned();
    let call = client.0.call(Method::GET, &format!("/scim/v2{path}")).header("if-none-match", &first);
    assert_eq!(client.0.send(call).await.status, 304);
    let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "Fred"}]});
    let changed = client.call(Method::PATCH, &path, Some(&first), Some(&body)).await;
    assert_ne!(changed.header("etag"), first);
    changed.expect(200);
    refused(&client.call(Method::PATCH, &path, Some(&first), Some(&body)).await, 412, "");
    refused(&client.call(Method::DELETE, &path, Some("garbage"), None).await, 412, "");
    for (query, status, scim_type) in [
        ("filter=userName+sw+%22a%22", 400, "invalidFilter"),
        ("filter=active+eq+true", 400, "invalidFilter"),
        ("filter=title+eq+%22a%22", 400, "invalidFilter"),
        ("startIndex=20000", 400, "tooMany"),
        ("count=many", 400, "invalidValue"),
        ("attributes=id&excludedAttributes=id", 400, "invalidValue"),
    ] {
        refused(&client.get(&format!("/Users?{query}")).await, status, scim_type);
    }
    let all = client.get("/Users").await.expect(200);
    let total = all["totalResults"].as_u64().unwrap();
    let mut read = Vec::new();
    for start in 1..=total {
        let page = client.get(&format!("/Users?startIndex={start}&count=1")).await.expect(200);
        assert_eq!((&page["itemsPerPage"], &page["startIndex"]), (&json!(1), &json!(start)));
        read.extend(page["Resources"].as_array().unwrap().clone());
    }
    assert_eq!(all["Resources"], json!(read));
    let two = format!("/Users?filter=id+eq+%22{id}%22+and+displayName+eq+%22fred%22&attributes=userName");
    let found = client.get(&two).await.expect(200);
    let members: Vec<_> = found["Resources"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["id", "schemas", "userName"]);
    for (body, scim_type) in [("{", "invalidSyntax"), ("[]", "invalidSyntax"), ("{}", "invalidValue")] {
        let call = client.0.call(Method::POST, "/scim/v2/Users").header("content-type", TYPE).body(body);
        refused(&client.0.send(call).await, 400, scim_type);
    }
    let call = client.0.call(Method::POST, "/scim/v2/Users").header("content-type", "text/xml").body("<a/>");
    refused(&client.0.send(call).await, 415, "");
    refused(&client.get("/Unknown").await, 404, "");
    refused(&client.call(Method::PUT, "/Schemas", None, Some(&json!({}))).await, 405, "");
}
