//! Bodies that name a thing of another, each in a member of its own.

use serde_json::{Value, json};

use crate::house::REQUESTER;

/// Method, path and body.
type Call = (&'static str, &'static str, Value);

const PLAN: &str = "/api/v1/mass-revocations/plan";
const MASS: &str = "/api/v1/mass-revocations";

pub(super) fn all() -> Vec<Call> {
    [requests(), mass_revocations(), people(), groups(), workflows_and_keys()].concat()
}

fn requests() -> Vec<Call> {
    let request = |more: Value| {
        let mut body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
            "sans": ["dns:aim.example.org"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("POST", "/api/v1/requests", body)
    };
    vec![
        request(json!({"owner_user_id": "{alice}"})),
        request(json!({"policy": "{at_once}"})),
        request(json!({"policy": "{word}"})),
        ("PATCH", "/api/v1/certificates/{own-certificate}", json!({"owner_user_id": "{alice}"})),
    ]
}

fn mass_revocations() -> Vec<Call> {
    let mass =
        |path, selection: Value| ("POST", path, json!({"selection": selection, "reason": "superseded"}));
    vec![
        mass(PLAN, json!({"owner_user_id": "{alice}"})),
        mass(PLAN, json!({"san": "{san}"})),
        mass(PLAN, json!({"tag": "{word}"})),
        mass(PLAN, json!({"text": "{word}"})),
        mass(PLAN, json!({"same_key_as": "{certificate}"})),
        mass(PLAN, json!({"certificate_ids": ["{certificate}"]})),
        mass(PLAN, json!({"certificate_ids": ["{certificate}", "{own-certificate}"]})),
        mass(MASS, json!({"owner_user_id": "{alice}"})),
        mass(MASS, json!({"tag": "{word}"})),
        mass(MASS, json!({"certificate_ids": ["{certificate}"]})),
        mass(MASS, json!({"same_key_as": "{certificate}"})),
    ]
}

fn people() -> Vec<Call> {
    vec![
        ("POST", "/api/v1/role-assignments", json!({"user_id": "{alice}", "role_id": REQUESTER})),
        ("POST", "/api/v1/role-assignments", json!({"user_id": "{own-alice}", "role_id": "{role}"})),
        (
            "POST",
            "/api/v1/roles",
            json!({"code": "aim", "name": "Aim", "parent_role_id": "{role}", "permissions": []}),
        ),
        (
            "POST",
            "/api/v1/api-keys",
            json!({"name": "aim", "user_id": "{alice}", "scopes": ["request:read"]}),
        ),
        ("POST", "/api/v1/sessions/revoke", json!({"user_id": "{dora}"})),
        ("POST", "/api/v1/members", json!({"username": "{username}"})),
    ]
}

fn groups() -> Vec<Call> {
    let members = json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": "{carol}"}]}]});
    vec![
        ("POST", "/api/v1/groups/{own-group}/members", json!({"user_ids": ["{alice}"]})),
        ("POST", "/api/v1/groups/{own-group}/members/remove", json!({"user_ids": ["{alice}"]})),
        ("POST", "/api/v1/groups/{own-group}/roles", json!({"role_id": "{role}"})),
        ("POST", "/api/v1/groups/{own-group}/roles/take", json!({"role_id": "{role}"})),
        ("POST", "/scim/v2/Groups", json!({"displayName": "aim", "members": [{"value": "{alice}"}]})),
        ("PATCH", "/scim/v2/Groups/{own-group}", members),
    ]
}

fn workflows_and_keys() -> Vec<Call> {
    let workflow = |step: Value| {
        let body = json!({"code": "aim", "name": "Aim", "kind": "issuance", "definition": {"steps": [step]}});
        ("POST", "/api/v1/workflows", body)
    };
    vec![
        workflow(json!({"name": "Aim", "approver_role_id": "{role}", "quorum": 1})),
        workflow(json!({"name": "Aim", "approver_user_id": "{bob}", "quorum": 1})),
        (
            "PATCH",
            "/api/v1/certificates/{own-certificate}/key",
            json!({"exportable": true, "users": ["{alice}"]}),
        ),
    ]
}
