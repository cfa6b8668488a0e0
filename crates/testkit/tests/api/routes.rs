//! The whole table of routes, walked by people who may not use it.

use clm_core_web::routes::{Access, ROUTES, Route};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::approvals::ask;
use crate::house::{Office, REQUESTER, at_once, hire, house, office};
use crate::person::{Person, fresh_key};
use crate::revocations::issue;

/// A public key on P-256 (its generator).
pub(crate) const RECIPIENT: &str =
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
pub(crate) const UNKNOWN: &str = "0199f0c0-0000-7000-8000-000000000000";
const ADMINISTRATOR: &str = "01900000-0000-7000-8000-000000000001";

/// Whether its refusals are SCIM errors.
fn is_scim(route: &Route) -> bool {
    route.path.starts_with("/scim/")
}

/// Calls a route with this object and body.
async fn call(person: &Person, route: &Route, id: &str, body: &Value) -> Answer {
    let method = Method::from_bytes(route.method.as_bytes()).unwrap();
    let mut path = route.path.replace("{id}", id);
    if route.path.ends_with("/access") {
        path.push_str("?permission=request:read");
    }
    let call = person.call(method, &path).header("idempotency-key", fresh_key());
    // Where there is a version, it is looked at before who may change what.
    let call = if is_scim(route) { call } else { call.header("if-match", "\"1\"") };
    person.send(if route.method == "GET" { call } else { call.json(body) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_role_or_with_one_that_is_over_no_permission_is_there() {
    let office = office().await;
    let nobody = hire(&office.admin, &format!("nobody-{}", office.organization), &[]).await;
    let expired = hire(&office.admin, &format!("expired-{}", office.organization), &[ADMINISTRATOR]).await;
    expired.get("/api/v1/users").await.expect(200);
    let sql = format!(
        "UPDATE clm.user_roles SET valid_from = now() - interval '2 hours', valid_until = now() - interval '1 hour'
         WHERE user_id = '{}'; SELECT pg_notify('clm_identity', '')",
        expired.id
    );
    house().await.installation.databases.core.psql("clm_core_db", &sql).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while expired.get("/api/v1/users").await.status != 403 {
        assert!(std::time::Instant::now() < end, "the role goes on");
    }
    for route in ROUTES.iter().filter(|route| matches!(route.access, Access::Permission(_))) {
        for person in [&nobody, &expired] {
            let answer = call(person, route, UNKNOWN, &json!({})).await;
            assert_eq!(answer.status, 403, "{} {}: {}", route.method, route.path, answer.text());
            if is_scim(route) {
                assert_eq!(answer.expect(403)["status"], "403");
            } else {
                answer.refused(403, "permission_denied");
            }
        }
    }
}

/// One of each thing that an organization has, by how its address begins.
async fn things(office: &Office) -> Vec<(&'static str, String)> {
    let first = async |path: &str| text(&office.admin.list(path).await[0], "id");
    let certificate = text(&issue(office, "at-once").await, "id");
    let request = text(&ask(&office.alice, "tls-server").await, "id");
    let body = json!({"code": "lead", "name": "Lead", "permissions": ["audit:read"]});
    let role = text(&office.admin.post("/api/v1/roles", &body).await.expect(201), "id");
    let body = json!({"selection": {"certificate_ids": [certificate]}, "reason": "superseded"});
    let mass = office.admin.post("/api/v1/mass-revocations", &body).await.expect(201);
    let body = json!({"display_name": "Web"});
    let group = text(&office.admin.post("/api/v1/groups", &body).await.expect(201), "id");
    // No provider of workloads is configured here.
    let sql = format!(
        "INSERT INTO clm.workload_rules (organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes,
             lifetime_seconds, enabled, vouched_by, created_at, updated_at)
         VALUES ('{0}', 'Deploy', 'ci', 'https://ci', '{{a}}', '{{\"sub\": \"a\"}}', '{1}', '[\"request:read\"]', 900, true, '{1}',
             now(), now())
         RETURNING id",
        office.organization, office.alice.id
    );
    let rule = house().await.installation.databases.core.psql("clm_core_db", &sql).unwrap();
    let rule = rule.lines().next().unwrap().to_owned();
    vec![
        ("/api/v1/workload-rules/", rule),
        ("/api/v1/groups/", group.clone()),
        ("/scim/v2/Groups/", group),
        ("/scim/v2/Users/", office.alice.id.clone()),
        ("/api/v1/requests/", request),
        ("/api/v1/certificates/", certificate),
        ("/api/v1/mass-revocations/", text(&mass, "id")),
        ("/api/v1/policies/", first("/api/v1/policies").await),
        ("/api/v1/workflows/", first("/api/v1/workflows").await),
        ("/api/v1/organizations/", office.organization.clone()),
        ("/api/v1/users/", office.alice.id.clone()),
        ("/api/v1/members/", office.alice.id.clone()),
        ("/api/v1/me/memberships/", office.organization.clone()),
        ("/api/v1/roles/", role),
        (
            "/api/v1/role-assignments/",
            first(&format!("/api/v1/role-assignments?user={}", office.alice.id)).await,
        ),
        ("/api/v1/api-keys/", first("/api/v1/api-keys").await),
        ("/api/v1/notifications/", text(&office.bob.list("/api/v1/notifications").await[0], "id")),
        // Of a person, whatever the organization.
        ("/api/v1/sessions/", UNKNOWN.to_owned()),
        ("/api/v1/me/passkeys/", UNKNOWN.to_owned()),
        ("/api/v1/me/identities/", UNKNOWN.to_owned()),
        // Of the whole installation.
        ("/api/v1/integrity/runs/", UNKNOWN.to_owned()),
        ("/api/v1/authorities/", UNKNOWN.to_owned()),
    ]
}

/// Status, code and detail of a refusal, without the object.
fn told(answer: &Answer, id: &str) -> (u16, String, String) {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default().replace(id, "");
    (answer.status, member("code"), member("detail"))
}

/// What a route takes, for it looks at that first.
pub(crate) fn body(route: &Route) -> Value {
    match route.path {
        "/api/v1/users/{id}" => json!({"email": "a@example.org", "display_name": "A"}),
        "/api/v1/groups/{id}" => json!({"display_name": "Mine"}),
        "/api/v1/groups/{id}/members" | "/api/v1/groups/{id}/members/remove" => {
            json!({"user_ids": [UNKNOWN]})
        }
        "/api/v1/groups/{id}/roles" | "/api/v1/groups/{id}/roles/take" => json!({"role_id": REQUESTER}),
        "/api/v1/workload-rules/{id}" => {
            json!({"name": "Mine", "provider": "ci", "audiences": ["a"], "user_id": UNKNOWN,
            "required_claims": {"sub": "a"}, "scopes": ["request:read"]})
        }
        "/scim/v2/Users/{id}" | "/scim/v2/Groups/{id}" => {
            json!({"Operations": [{"op": "replace", "path": "displayName", "value": "Mine"}]})
        }
        "/api/v1/roles/{id}" => json!({"name": "Lead", "description": "", "permissions": []}),
        "/api/v1/organizations/{id}" => json!({"name": "Mine", "settings": {}}),
        "/api/v1/organizations/{id}/subscription" => json!({"plan": "mine", "status": "active"}),
        "/api/v1/policies/{id}" => json!({"code": "at-once", "name": "at-once", "rules": at_once()}),
        "/api/v1/workflows/{id}" => json!({"code": "two", "name": "two", "kind": "issuance",
            "definition": {"steps": [{"name": "One", "approver_role_id": REQUESTER, "quorum": 1}]}}),
        "/api/v1/certificates/{id}/revoke" => json!({"reason": "superseded"}),
        "/api/v1/certificates/{id}/key/exports" => {
            json!({"recipient": RECIPIENT, "purpose": "export", "reason": "mine"})
        }
        "/api/v1/certificates/{id}/key" if route.method == "PATCH" => json!({"exportable": true}),
        "/api/v1/certificates/{id}/key" => {
            json!({"transport_key_id": UNKNOWN, "sealed": {"encapsulated": RECIPIENT, "ciphertext": "AAAA"}})
        }
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_organization_is_not_there() {
    let (ours, theirs) = (office().await, office().await);
    let boss = hire(&theirs.admin, &format!("boss-{}", theirs.organization), &[ADMINISTRATOR]).await;
    boss.get("/api/v1/users").await.expect(200);
    let things = things(&ours).await;
    let mut wrong = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path.contains("{id}")) {
        let thing = things.iter().find(|(begins, _)| route.path.starts_with(begins));
        let (_, id) = thing.unwrap_or_else(|| panic!("nothing is known to try {} with", route.path));
        let answer = call(&boss, route, id, &body(route)).await;
        let unknown = call(&boss, route, UNKNOWN, &body(route)).await;
        // What is refused whatever the object tells nothing of it either.
        let same = told(&answer, id) == told(&unknown, UNKNOWN);
        if !same || !matches!(answer.status, 403 | 404) {
            wrong.push(format!("{} {}: {}{}", route.method, route.path, answer.text(), unknown.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
