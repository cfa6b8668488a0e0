//! What a tenant tries with what is another's: the answer is that to something which nobody has.

use std::collections::BTreeMap;

use clm_types::{Clock, Entropy, ids};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use super::bodies;
use super::tenant::{Call, Tenant};
use super::walk::{list_of, of_tenants};
use crate::answer::Answer;
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
    Bob,
}

/// A name for each thing, and what a tenant has of it.
pub(super) type Things = BTreeMap<&'static str, String>;

/// Lists and the name of one of their things.
const NAMES: [(&str, &str); 12] = [
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
    ("/api/v1/sessions", "{session}"),
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
    // Code of a policy and of a workflow, name of a tag and a group, and external id of a user.
    things.insert("{word}", tenant.canary.clone());
    things.insert("{alice}", tenant.office.alice.id.clone());
    things.insert("{bob}", tenant.office.bob.id.clone());
    things.insert("{carol}", tenant.office.carol.id.clone());
    things.insert("{username}", format!("carol-{}", tenant.canary));
    things.extend(tenant.planted.clone());
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
            // Messages are of one person.
            who: if name == "{notification}" { Who::Bob } else { Who::Boss },
        });
    }
    aims.extend(FILTERS.map(|path| Aim { method: "GET", path: path.to_owned(), body: None, who: Who::Boss }));
    aims.extend(bodies::all().into_iter().map(|(method, path, body)| Aim {
        method,
        path: path.to_owned(),
        body: Some(body),
        who: if path == "/api/v1/requests" { Who::Alice } else { Who::Boss },
    }));
    aims
}

const FILTERS: [&str; 27] = [
    "/api/v1/certificates?owner={alice}",
    "/api/v1/certificates?san={san}",
    "/api/v1/certificates?tag={word}",
    "/api/v1/certificates?text={word}",
    "/api/v1/certificates?text={serial}",
    "/api/v1/certificates?organization={organization}",
    "/api/v1/certificates/lookup?sha256={sha256}",
    "/api/v1/certificates/lookup?serial={serial}",
    "/api/v1/audit?operation_id={operation}",
    // What oneself was refused at another's is in one's own log.
    "/api/v1/audit?object={user}&outcome=allowed",
    "/api/v1/audit?object={request}&outcome=allowed",
    "/api/v1/audit?object={organization}&outcome=allowed",
    "/api/v1/audit?actor={alice}",
    "/api/v1/audit?api_key={boss_key}",
    "/api/v1/audit?session={session}",
    "/api/v1/audit?request={call}",
    "/api/v1/role-assignments?user={alice}",
    "/api/v1/api-keys?user={alice}",
    "/api/v1/sessions?user_id={dora}",
    "/api/v1/policies?code={word}",
    "/api/v1/workflows?code={word}",
    "/api/v1/users/{own-bob}/access?permission=request:approve&object={request}",
    "/api/v1/users/{own-alice}/access?permission=certificate:revoke&object={certificate}",
    "/scim/v2/Users?filter=userName%20eq%20%22{username}%22",
    "/scim/v2/Users?filter=externalId%20eq%20%22{word}%22",
    "/scim/v2/Groups?filter=displayName%20eq%20%22{word}%22",
    "/scim/v2/Groups?filter=id%20eq%20%22{group}%22",
];

/// `tenant` aims at a thing of another's, and at one of nobody; both must be answered alike. Nothing is done where one side
/// has nothing to name; whether it was done.
pub(super) async fn take(
    tenant: &Tenant,
    aim: &Aim,
    theirs: &Things,
    own: &Things,
    rng: &mut StdRng,
) -> bool {
    let Some([one, other]) = aim.both(tenant, theirs, own, false, rng).await else { return false };
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
    true
}

/// What may be answered alike whatever is named: so says nothing of whether somebody else's is there.
const BLIND: [(&str, &str); 8] = [
    ("POST /api/v1/members", "nobody is told whether there is somebody of that name"),
    ("POST /api/v1/groups/{own-group}/members/remove", "whoever is no member need not be removed"),
    ("POST /api/v1/requests/{request}/key", "few of the requests are for a key"),
    ("POST /api/v1/me/memberships/{organization}/accept", LIMITED),
    ("POST /api/v1/me/memberships/{organization}/leave", LIMITED),
    ("POST /api/v1/me/memberships/{organization}/prefer", LIMITED),
    ("POST /api/v1/users/{user}/links", LIMITED),
    ("DELETE /api/v1/users/{user}/factors", LIMITED),
];
const LIMITED: &str = "not by a key that is limited to an organization";

/// Takes an aim at the tenant's own: an aim that were answered as one at nothing would prove nothing. Whether it was done.
pub(super) async fn check(tenant: &Tenant, aim: &Aim, own: &Things, rng: &mut StdRng) -> bool {
    let Some([one, other]) = aim.both(tenant, own, own, true, rng).await else { return false };
    let name = format!("{} {}", aim.method, aim.path);
    if one == other && !BLIND.iter().any(|(blind, _)| *blind == name) {
        tenant.complain(format!("{aim:?} at one's own, and at nothing: {one}\n{other}"));
    }
    true
}

async fn call(
    tenant: &Tenant,
    person: &Person,
    (method, path, body): (&'static str, String, Option<Value>),
    own: bool,
) -> Answer {
    let call = Call { method, path, body, idempotency_key: fresh_key(), own };
    let answer = tenant.call(person, call).await;
    if answer.status >= 500 && answer.status != 501 {
        tenant.complain(answer.text());
    }
    answer
}

impl Aim {
    /// Whether it needs a certificate that can be revoked.
    pub(super) fn revokes(&self) -> bool {
        self.path.starts_with("/api/v1/mass-revocations")
    }

    /// Whether it takes this away.
    pub(super) fn ends(&self, name: &str) -> bool {
        self.method == "DELETE" && self.path.ends_with(name)
    }

    /// What changes more comes later.
    pub(super) fn order(&self) -> usize {
        ["GET", "PATCH", "PUT", "POST", "DELETE"].iter().position(|method| *method == self.method).unwrap()
    }

    /// The answers to naming a thing of `theirs`, and to naming nothing; none where there is nothing to name.
    async fn both(
        &self,
        tenant: &Tenant,
        theirs: &Things,
        own: &Things,
        is_own: bool,
        rng: &mut StdRng,
    ) -> Option<[String; 2]> {
        let nobody = of_nobody(theirs, rng);
        let (aimed, blank) = (self.at(theirs, own)?, self.at(&nobody, own)?);
        let person = match self.who {
            Who::Boss => &tenant.boss,
            Who::Alice => &tenant.office.alice,
            Who::Bob => &tenant.office.bob,
        };
        let blank = (call(tenant, person, blank, false).await, &nobody);
        let aimed = (call(tenant, person, aimed, is_own).await, theirs);
        Some([aimed, blank].map(|(answer, things)| plain(&answer, things)))
    }

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
