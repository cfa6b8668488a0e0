//! What a tenant tries with what is another's: the answer is that to something which nobody has.

use std::collections::BTreeMap;

use clm_types::{Clock, Entropy, ids};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::tenant::{Call, Tenant};
use super::walk::{list_of, of_tenants};
use crate::answer::Answer;
use crate::house::REQUESTER;
use crate::person::{Person, fresh_key};
use crate::routes;

/// A call in which `{words}` stand for things of another, and `{own-words}` for one's own.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    method: &'static str,
    path: String,
    body: Option<Value>,
    /// Who asks.
    who: Who,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Boss,
    Alice,
}

/// A name for each thing, and what a tenant has of it.
pub(super) type Things = BTreeMap<&'static str, String>;

/// Lists and the name of one of their things.
const NAMES: [(&str, &str); 11] = [
    ("/api/v1/users", "{user}"),
    ("/api/v1/groups", "{group}"),
    ("/api/v1/roles", "{role}"),
    ("/api/v1/policies", "{policy}"),
    ("/api/v1/workflows", "{workflow}"),
    ("/api/v1/requests", "{request}"),
    ("/api/v1/certificates", "{certificate}"),
    ("/api/v1/mass-revocations", "{mass}"),
    ("/api/v1/api-keys", "{key}"),
    ("/api/v1/role-assignments", "{assignment}"),
    ("/api/v1/notifications", "{notification}"),
];

/// Things of `tenant` to be aimed at; the details are of a certificate that it has.
pub(super) async fn things_of(tenant: &Tenant, rng: &mut StdRng) -> Things {
    let mut things = Things::new();
    for (list, name) in NAMES {
        if let Some(id) = tenant.things(list).choose(rng) {
            things.insert(name, id.clone());
        }
    }
    if let Some(id) = tenant.things("operations").choose(rng) {
        things.insert("{operation}", id.clone());
    }
    if let Some(id) = things.get("{certificate}") {
        let certificate = tenant.get(&format!("/api/v1/certificates/{id}")).await.expect(200);
        let of = |member: &str| certificate[member].as_str().unwrap().to_owned();
        things.insert("{serial}", of("serial_number"));
        things.insert("{sha256}", of("fingerprint_sha256"));
        things.insert("{san}", certificate["sans"][0].as_str().unwrap().to_owned());
    }
    things.insert("{organization}", tenant.office.organization.clone());
    things.insert("{word}", tenant.canary.clone());
    things.insert("{alice}", tenant.office.alice.id.clone());
    things.insert("{username}", format!("carol-{}", tenant.canary));
    things
}

/// The same things of nobody: as long, and of the same form.
fn of_nobody(things: &Things, rng: &mut StdRng) -> Things {
    let now = Clock::system().now();
    let turn = |(name, value): (&&'static str, &String)| {
        let nobody = match *name {
            "{serial}" | "{sha256}" => (0..value.len()).map(|_| ['3', '7'][rng.random_range(0..2)]).collect(),
            "{san}" => format!("dns:{}", letters(&value[4..])),
            "{word}" | "{username}" => letters(value),
            _ => ids::new_uuid(now, &Entropy::system()).to_string(),
        };
        (*name, nobody)
    };
    things.iter().map(turn).collect()
}

/// The same with other letters.
fn letters(text: &str) -> String {
    text.chars().map(|it| if it.is_alphanumeric() { 'n' } else { it }).collect()
}

/// Every way there is to name something: in the path of each route, in each filter, in each body.
pub(super) fn all() -> Vec<Aim> {
    let mut aims = Vec::new();
    for route in of_tenants().filter(|route| route.path.contains("{id}")) {
        let name = NAMES.iter().find(|(list, _)| *list == list_of(route.path)).map(|(_, name)| *name);
        let name = match (name, list_of(route.path)) {
            (Some(name), _) => name,
            (None, "/api/v1/organizations" | "/api/v1/me/memberships") => "{organization}",
            // Of one person, or of the whole installation.
            (None, _) => continue,
        };
        let more = if route.path.ends_with("/access") { "?permission=request:read" } else { "" };
        aims.push(Aim {
            method: route.method,
            path: format!("{}{more}", route.path.replace("{id}", name)),
            body: (route.method != "GET").then(|| routes::body(route)),
            who: Who::Boss,
        });
    }
    aims.extend(FILTERS.map(|path| Aim { method: "GET", path: path.to_owned(), body: None, who: Who::Boss }));
    aims.extend(bodies().into_iter().map(|(method, path, body)| Aim {
        method,
        path: path.to_owned(),
        body: Some(body),
        who: if path == "/api/v1/requests" { Who::Alice } else { Who::Boss },
    }));
    aims
}

const FILTERS: [&str; 26] = [
    "/api/v1/certificates?owner={alice}",
    "/api/v1/certificates?san={san}",
    "/api/v1/certificates?tag={word}",
    "/api/v1/certificates?text={word}",
    "/api/v1/certificates?text={serial}",
    "/api/v1/certificates?organization={organization}",
    "/api/v1/certificates/lookup?sha256={sha256}",
    "/api/v1/certificates/lookup?serial={serial}",
    "/api/v1/audit?operation_id={operation}",
    "/api/v1/audit?object={user}",
    "/api/v1/audit?object={certificate}",
    "/api/v1/audit?object={organization}",
    "/api/v1/audit?actor={alice}",
    "/api/v1/audit?api_key={key}",
    "/api/v1/audit?request={request}",
    "/api/v1/role-assignments?user={alice}",
    "/api/v1/api-keys?user={alice}",
    "/api/v1/sessions?user_id={alice}",
    "/api/v1/policies?code={word}",
    "/api/v1/workflows?code={word}",
    "/api/v1/users/{own-user}/access?permission=request:approve&object={request}",
    "/api/v1/users/{own-user}/access?permission=certificate:revoke&object={certificate}",
    "/scim/v2/Users?filter=userName%20eq%20%22{username}%22",
    "/scim/v2/Users?filter=externalId%20eq%20%22{word}%22",
    "/scim/v2/Groups?filter=displayName%20eq%20%22{word}%22",
    "/scim/v2/Groups?filter=id%20eq%20%22{group}%22",
];

fn bodies() -> Vec<(&'static str, &'static str, Value)> {
    let request = |more: Value| {
        let mut body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
            "sans": ["dns:aim.example.org"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("POST", "/api/v1/requests", body)
    };
    let mass =
        |path, selection: Value| ("POST", path, json!({"selection": selection, "reason": "superseded"}));
    let plan = "/api/v1/mass-revocations/plan";
    let workflow = |step: Value| {
        (
            "POST",
            "/api/v1/workflows",
            json!({"code": "aim", "name": "Aim", "kind": "issuance", "definition": {"steps": [step]}}),
        )
    };
    vec![
        request(json!({"owner_user_id": "{alice}"})),
        request(json!({"policy": "{policy}"})),
        request(json!({"policy": "{word}"})),
        request(json!({"authority": "{organization}"})),
        ("PATCH", "/api/v1/certificates/{own-certificate}", json!({"owner_user_id": "{alice}"})),
        mass(plan, json!({"owner_user_id": "{alice}"})),
        mass(plan, json!({"san": "{san}"})),
        mass(plan, json!({"tag": "{word}"})),
        mass(plan, json!({"text": "{word}"})),
        mass(plan, json!({"same_key_as": "{certificate}"})),
        mass(plan, json!({"certificate_ids": ["{certificate}"]})),
        mass(plan, json!({"certificate_ids": ["{certificate}", "{own-certificate}"]})),
        mass("/api/v1/mass-revocations", json!({"owner_user_id": "{alice}"})),
        mass("/api/v1/mass-revocations", json!({"tag": "{word}"})),
        mass("/api/v1/mass-revocations", json!({"certificate_ids": ["{certificate}"]})),
        mass("/api/v1/mass-revocations", json!({"same_key_as": "{certificate}"})),
        ("POST", "/api/v1/role-assignments", json!({"user_id": "{alice}", "role_id": REQUESTER})),
        ("POST", "/api/v1/role-assignments", json!({"user_id": "{own-user}", "role_id": "{role}"})),
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
        ("POST", "/api/v1/sessions/revoke", json!({"user_id": "{alice}"})),
        ("POST", "/api/v1/groups/{own-group}/members", json!({"user_ids": ["{alice}"]})),
        ("POST", "/api/v1/groups/{own-group}/members/remove", json!({"user_ids": ["{alice}"]})),
        ("POST", "/api/v1/groups/{own-group}/roles", json!({"role_id": "{role}"})),
        ("POST", "/api/v1/groups/{own-group}/roles/take", json!({"role_id": "{role}"})),
        ("POST", "/scim/v2/Groups", json!({"displayName": "aim", "members": [{"value": "{alice}"}]})),
        (
            "PATCH",
            "/scim/v2/Groups/{own-group}",
            json!({"Operations":
            [{"op": "add", "path": "members", "value": [{"value": "{alice}"}]}]}),
        ),
        ("POST", "/scim/v2/.search", json!({"filter": "userName eq \"{username}\""})),
        ("POST", "/api/v1/members", json!({"username": "{username}"})),
        workflow(json!({"name": "Aim", "approver_role_id": "{role}", "quorum": 1})),
        workflow(json!({"name": "Aim", "approver_user_id": "{alice}", "quorum": 1})),
        (
            "PUT",
            "/api/v1/certificates/{own-certificate}/key",
            json!({"transport_key_id": "{key}",
            "sealed": {"encapsulated": routes::RECIPIENT, "ciphertext": "AAAA"}}),
        ),
        (
            "PATCH",
            "/api/v1/certificates/{own-certificate}/key",
            json!({"exportable": true, "users": ["{alice}"]}),
        ),
    ]
}

/// `tenant` aims at a thing of another's, and at one of nobody; both must be answered alike. Nothing is done where one side
/// has nothing to name.
pub(super) async fn take(tenant: &Tenant, aim: &Aim, theirs: &Things, own: &Things, rng: &mut StdRng) {
    let nobody = of_nobody(theirs, rng);
    let (Some(aimed), Some(blank)) = (aim.at(theirs, own), aim.at(&nobody, own)) else { return };
    let person = match aim.who {
        Who::Boss => &tenant.boss,
        Who::Alice => &tenant.office.alice,
    };
    let aimed = (call(tenant, person, aimed).await, theirs);
    let blank = (call(tenant, person, blank).await, &nobody);
    let [one, other] = [aimed, blank].map(|(answer, things)| plain(&answer, things));
    if aim.path.starts_with("/api/v1/audit?object=") {
        // One's own tries at it are there; that there is nothing else, [`super::leaks`] and the count of entries say.
        return;
    }
    if one != other {
        tenant.complain(format!("{aim:?} is answered differently for what is another's: {one}\n{other}"));
    }
    let empty = ["\"items\":[]", "\"totalResults\":0", "\"certificates\":0", "\"ended\":0"];
    let is_done = one.starts_with('2') && !one.starts_with("204");
    // Of one's own and another's, one's own is planned for.
    let is_mixed = aim.path.ends_with("/plan")
        && aim.body.as_ref().is_some_and(|body| body.to_string().contains("{own-"));
    // Nobody is told whether there is somebody of that name to be invited.
    if is_done && !empty.iter().any(|text| one.contains(text)) && aim.path != "/api/v1/members" && !is_mixed {
        tenant.complain(format!("{aim:?} is taken: {one}"));
    }
}

async fn call(
    tenant: &Tenant,
    person: &Person,
    (method, path, body): (&'static str, String, Option<Value>),
) -> Answer {
    let call = Call { method, path, body, idempotency_key: fresh_key(), own: false };
    let answer = tenant.call(person, call).await;
    if answer.status >= 500 && answer.status != 501 {
        tenant.complain(answer.text());
    }
    answer
}

impl Aim {
    /// The call with these things in it, if there are all of them.
    fn at(&self, theirs: &Things, own: &Things) -> Option<(&'static str, String, Option<Value>)> {
        let mut text =
            format!("{}\n{}", self.path, self.body.as_ref().map(Value::to_string).unwrap_or_default());
        for (name, value) in theirs {
            text = text.replace(name, value);
        }
        for (name, value) in own {
            text = text.replace(&format!("{{own-{}", &name[1..]), value);
        }
        let (path, body) = text.split_once('\n')?;
        let is_left = path.contains('{')
            || NAMES
                .iter()
                .any(|(_, name)| body.contains(name) || body.contains(&format!("{{own-{}", &name[1..])));
        if is_left {
            return None;
        }
        Some((self.method, path.to_owned(), serde_json::from_str(body).ok()))
    }
}

/// An answer without what differs between any two, and without what was asked for.
pub(super) fn plain(answer: &Answer, asked: &Things) -> String {
    let headers = answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    let mut body = answer.text();
    if let Ok(mut value) = serde_json::from_slice::<Value>(&answer.body)
        && let Some(members) = value.as_object_mut()
    {
        members.remove("request_id");
        body = value.to_string();
    }
    let mut text = format!("{}\n{}\n{body}", answer.status, headers.join("\n"));
    for (name, value) in asked {
        text = text.replace(value.as_str(), name);
    }
    text
}
