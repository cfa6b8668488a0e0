//! Random use of the whole table of routes by a tenant among its own.

use chrono::{SecondsFormat, TimeDelta};
use clm_core_web::routes::{Access, ROUTES, Route};
use clm_types::Clock;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tenant::{Call, Tenant};
use crate::answer::Answer;
use crate::house::{APPROVER, REQUESTER, at_once};
use crate::person::{Person, fresh_key};
use crate::routes;

/// Where what a route is about is listed: of `/api/v1/users/{id}/disable`, `/api/v1/users`.
pub(super) fn list_of(path: &str) -> &str {
    let list = path.split("/{").next().unwrap_or(path);
    match list {
        "/scim/v2/Users" | "/api/v1/members" => "/api/v1/users",
        "/scim/v2/Groups" => "/api/v1/groups",
        list => list,
    }
}

/// Routes of a tenant: all but those that take no credentials, and those of sessions, which [`super`] walks.
pub(super) fn of_tenants() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access != Access::Public)
}

/// One random call. It may be refused, but must be answered.
pub(super) async fn step(tenant: &Tenant, rng: &mut StdRng) {
    let all: Vec<&Route> = of_tenants().collect();
    // What makes things is called more often than the rest.
    let makes =
        all.iter().filter(|route| route.method == "POST" && body_of_new(route.path, tenant, rng).is_some());
    let makes: Vec<&Route> = makes.copied().collect();
    let route = if rng.random_bool(0.4) { makes.choose(rng) } else { all.choose(rng) };
    take(tenant, route.unwrap(), rng).await;
}

/// Calls a route with things of the tenant's own; nothing where there are none yet.
pub(super) async fn take(tenant: &Tenant, route: &Route, rng: &mut StdRng) {
    let list = list_of(route.path);
    let things = tenant.things(list);
    let id = match things.choose(rng) {
        Some(id) => id.clone(),
        None => match list {
            "/api/v1/organizations" | "/api/v1/me/memberships" => tenant.office.organization.clone(),
            // There is none.
            _ => Uuid::from_u128(rng.random()).to_string(),
        },
    };
    let path = route.path.replace("{id}", &id).replace("{name}", "User");
    let path = format!("{path}{}", query(route, tenant, rng));
    let body = (route.method != "GET").then(|| body(route, tenant, rng));
    let call = Call { method: route.method, path, body, idempotency_key: fresh_key(), own: true };
    let answer = tenant.call(person(tenant, route), call).await;
    // SCIM's search of users and groups at once is not there.
    if answer.status >= 500 && answer.status != 501 {
        tenant.complain(format!("{} {}: {}", route.method, route.path, answer.text()));
    }
    note(tenant, route, &id, &answer);
}

/// Who calls a route: whose role it is.
fn person<'a>(tenant: &'a Tenant, route: &Route) -> &'a Person {
    match (route.method, route.path) {
        ("POST", "/api/v1/requests" | "/api/v1/requests/{id}/cancel") => &tenant.office.alice,
        (_, "/api/v1/requests/{id}/approve" | "/api/v1/requests/{id}/reject" | "/api/v1/approvals") => {
            &tenant.office.bob
        }
        (_, path) if path.starts_with("/api/v1/notifications") => &tenant.office.bob,
        (_, "/api/v1/mass-revocations/{id}/approve") => &tenant.office.bob,
        _ => &tenant.boss,
    }
}

/// Notes what the call made or ended.
fn note(tenant: &Tenant, route: &Route, id: &str, answer: &Answer) {
    let list = list_of(route.path);
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status >= 300 {
        return;
    }
    if told["steps"].is_array() && told["operation_id"].is_string() {
        note_request(tenant, &told);
    } else if route.method == "DELETE" && route.path.ends_with("{id}") {
        tenant.take(list, id);
    } else if answer.status == 201 {
        let made = if told["api_key"].is_object() { &told["api_key"]["id"] } else { &told["id"] };
        if let Some(made) = made.as_str().filter(|_| route.path != "/api/v1/role-assignments") {
            tenant.add(list, made);
        } else if let Some(made) = made.as_str() {
            tenant.add_other("/api/v1/role-assignments", made);
        }
    }
    for item in told["items"].as_array().into_iter().flatten() {
        if route.path == "/api/v1/notifications" {
            tenant.add_other("/api/v1/notifications", item["id"].as_str().unwrap());
        }
    }
}

pub(super) fn note_request(tenant: &Tenant, request: &Value) {
    tenant.add("/api/v1/requests", request["id"].as_str().unwrap());
    tenant.add_other("operations", request["operation_id"].as_str().unwrap());
    let makes = request["kind"] == "issuance" || request["kind"] == "renewal";
    if let Some(id) = request["certificate_id"].as_str().filter(|_| makes && request["status"] == "completed")
    {
        tenant.add("/api/v1/certificates", id);
    }
}

fn query(route: &Route, tenant: &Tenant, rng: &mut StdRng) -> String {
    let limit = rng.random_range(1..6);
    match route.path {
        _ if route.method != "GET" => String::new(),
        "/api/v1/users/{id}/access" => "?permission=request:read".to_owned(),
        "/api/v1/audit/export" => until_now(),
        "/api/v1/certificates" => format!("?text={}&limit={limit}", tenant.canary),
        "/api/v1/audit" | "/api/v1/requests" | "/api/v1/notifications" => format!("?limit={limit}"),
        "/api/v1/certificates/lookup" => "?serial=0a".to_owned(),
        _ => String::new(),
    }
}

/// The last day.
pub(super) fn until_now() -> String {
    let now = Clock::system().now();
    let [since, until] =
        [now - TimeDelta::days(1), now].map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    format!("?since={since}&until={until}")
}

/// A body of this route about the tenant's own; every text has the canary.
fn body(route: &Route, tenant: &Tenant, rng: &mut StdRng) -> Value {
    let word = word(tenant, rng);
    if route.method == "POST"
        && let Some(body) = body_of_new(route.path, tenant, rng)
    {
        return body;
    }
    let user = own(tenant, "/api/v1/users", rng, &tenant.office.alice.id);
    match (route.method, route.path) {
        ("PUT", "/api/v1/users/{id}") => {
            json!({"email": format!("{word}@example.org"), "display_name": word})
        }
        ("PUT", "/api/v1/groups/{id}") => json!({"display_name": word}),
        ("PUT", "/api/v1/roles/{id}") => json!({"name": word, "description": word, "permissions": []}),
        ("PUT", "/api/v1/organizations/{id}") => json!({"name": word, "settings": {}}),
        ("PATCH", "/api/v1/certificates/{id}") => {
            json!({"owner_user_id": tenant.office.carol.id, "tags": {tenant.canary.clone(): word}, "notes": word})
        }
        ("POST", "/api/v1/certificates/{id}/revoke") => {
            let reason = if rng.random_bool(0.5) { "superseded" } else { "certificateHold" };
            json!({"reason": reason, "comment": word})
        }
        ("POST", "/api/v1/groups/{id}/members" | "/api/v1/groups/{id}/members/remove") => {
            json!({"user_ids": [user]})
        }
        ("PUT", "/scim/v2/Users/{id}") => {
            json!({"userName": word, "emails": [{"value": format!("{word}@example.org")}], "externalId": word})
        }
        ("PUT", "/scim/v2/Groups/{id}") => json!({"displayName": word, "externalId": word}),
        ("POST", "/api/v1/certificates/{id}/key/exports") => {
            json!({"recipient": routes::RECIPIENT, "purpose": "export", "reason": word})
        }
        ("POST", "/api/v1/members") => json!({"username": word}),
        (_, "/api/v1/requests/{id}/approve" | "/api/v1/requests/{id}/reject") => json!({"comment": word}),
        _ => routes::body(route),
    }
}

/// A body that makes something new at this list.
fn body_of_new(path: &str, tenant: &Tenant, rng: &mut StdRng) -> Option<Value> {
    let word = word(tenant, rng);
    let user = own(tenant, "/api/v1/users", rng, &tenant.office.alice.id);
    Some(match path {
        "/api/v1/users" => {
            json!({"username": word, "email": format!("{word}@example.org"), "display_name": word})
        }
        "/api/v1/groups" => json!({"display_name": word}),
        "/api/v1/roles" => {
            json!({"code": word, "name": word, "description": word, "permissions": ["audit:read"]})
        }
        "/api/v1/role-assignments" => json!({"user_id": user, "role_id": REQUESTER, "reason": word}),
        "/api/v1/api-keys" => json!({"name": word, "user_id": user, "scopes": ["request:read"]}),
        "/api/v1/policies" => json!({"code": word, "name": word, "rules": at_once()}),
        "/api/v1/workflows" => json!({"code": word, "name": word, "kind": "issuance",
            "definition": {"steps": [{"name": word, "approver_role_id": APPROVER, "quorum": 1}]}}),
        "/api/v1/requests" => {
            let policy = if rng.random_bool(0.7) { "at-once" } else { "tls-server" };
            json!({"profile": "tls-server", "policy": policy, "key_algorithm": "ecdsa-p256",
                "sans": [format!("dns:{word}.example.org")], "tags": {tenant.canary.clone(): word}, "comment": word})
        }
        "/api/v1/mass-revocations" => {
            let selection = match rng.random_range(0..3) {
                0 => json!({"tag": tenant.canary, "profile": "tls-server"}),
                1 => json!({"text": word}),
                _ => json!({"owner_user_id": tenant.office.alice.id}),
            };
            json!({"selection": selection, "reason": "superseded", "comment": word})
        }
        "/api/v1/mass-revocations/plan" => json!({"selection": {"everything": true}, "reason": "superseded"}),
        "/scim/v2/Users" => json!({"userName": word, "externalId": word, "displayName": word,
            "emails": [{"value": format!("{word}@example.org"), "primary": true}]}),
        "/scim/v2/Groups" => json!({"displayName": word, "externalId": word, "members": [{"value": user}]}),
        "/scim/v2/.search" => json!({"filter": format!("userName eq \"{word}\"")}),
        _ => return None,
    })
}

fn own(tenant: &Tenant, list: &str, rng: &mut StdRng, otherwise: &str) -> String {
    tenant.things(list).choose(rng).cloned().unwrap_or_else(|| otherwise.to_owned())
}

fn word(tenant: &Tenant, rng: &mut StdRng) -> String {
    format!("{}-{:08x}", tenant.canary, rng.random::<u32>())
}
