//! One of two tenants: its people, what it has, and everything that it was ever told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::{APPROVER, Office, REQUESTER, at_once, house};
use crate::person::Person;
use crate::sign_in::come;

const ADMINISTRATOR: &str = "01900000-0000-7000-8000-000000000001";

/// Lists whose items a tenant can count, and how the address of an item begins.
const LISTS: [&str; 9] = [
    "/api/v1/users",
    "/api/v1/groups",
    "/api/v1/roles",
    "/api/v1/policies",
    "/api/v1/workflows",
    "/api/v1/requests",
    "/api/v1/certificates",
    "/api/v1/mass-revocations",
    "/api/v1/api-keys",
];

pub(super) struct Tenant {
    /// Stands in every text of its own.
    pub(super) canary: String,
    pub(super) office: Office,
    /// Its administrator, of this organization alone.
    pub(super) boss: Person,
    /// What others may aim at and random use does not end, by its name in [`super::aims`].
    pub(super) planted: BTreeMap<&'static str, String>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    exchanges: Vec<Exchange>,
    /// What there is, by list: known from what was made and ended, not from lists.
    things: BTreeMap<&'static str, BTreeSet<String>>,
    /// Of it, what was there before the first step: it stays.
    base: BTreeMap<&'static str, BTreeSet<String>>,
    /// What was not as it should be.
    wrong: Vec<String>,
    /// Ids of other things, as assignments and messages, by how their address begins.
    others: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What was sent and what came back.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) call: String,
    pub(super) sent: String,
    pub(super) told: String,
    /// Whether nothing of another tenant's was named in it.
    pub(super) own: bool,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) idempotency_key: String,
    pub(super) own: bool,
}

impl Tenant {
    pub(super) async fn open(canary: String) -> Self {
        let office = house().await.office_called(&canary).await;
        let (boss, key) = administrator(&office.admin, &canary).await;
        let mut planted = plant(&office, &boss, &canary).await;
        planted.insert("{boss_key}", key);
        let tenant = Self { canary, office, boss, planted, known: Mutex::default() };
        for list in LISTS {
            let ids = tenant.ids(list).await;
            tenant.known.lock().unwrap().base.insert(list, ids);
        }
        tenant
    }

    /// Calls, and keeps what was sent and told.
    pub(super) async fn call(&self, person: &Person, call: Call<'_>) -> Answer {
        let method = Method::from_bytes(call.method.as_bytes()).unwrap();
        let mut request = person.call(method, &call.path).header("idempotency-key", &call.idempotency_key);
        if call.method != "GET" && call.method != "POST" {
            request = request.header("if-match", "*");
        }
        let sent = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        if call.path.starts_with("/scim/") {
            request = request.header("content-type", "application/scim+json").body(sent.clone());
        } else if call.method != "GET" {
            request = request.header("content-type", "application/json").body(sent.clone());
        }
        let answer = person.send(request).await;
        let headers = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n"));
        let told = format!("{}\n{}{}", answer.status, headers.collect::<String>(), answer.text());
        let exchange = Exchange {
            call: format!("{} {}", call.method, call.path),
            sent: format!("{}\n{}\n{sent}", call.path, call.idempotency_key),
            told,
            own: call.own,
        };
        self.known.lock().unwrap().exchanges.push(exchange);
        answer
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        let call = Call {
            method: "GET",
            path: path.to_owned(),
            body: None,
            idempotency_key: crate::person::fresh_key(),
            own: true,
        };
        self.call(&self.boss, call).await
    }

    /// The items of every page of a list.
    pub(super) async fn items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), String::new());
        let sign = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{sign}limit=20{next}")).await.expect(200);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return items,
            }
        }
    }

    async fn ids(&self, list: &str) -> BTreeSet<String> {
        self.items(list).await.iter().map(|item| text(item, "id")).collect()
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.known.lock().unwrap().exchanges.clone()
    }

    /// Notes that a thing is there.
    pub(super) fn add(&self, list: &str, id: &str) {
        let mut known = self.known.lock().unwrap();
        let Some(list) = LISTS.iter().find(|one| **one == list) else { return };
        known.things.entry(list).or_default().insert(id.to_owned());
    }

    /// Notes that a thing is gone.
    pub(super) fn take(&self, list: &str, id: &str) {
        if let Some(things) = self.known.lock().unwrap().things.get_mut(list) {
            things.remove(id);
        }
    }

    pub(super) fn add_other(&self, list: &'static str, id: &str) {
        self.known.lock().unwrap().others.entry(list).or_default().insert(id.to_owned());
    }

    /// Things that may be changed and ended, or ids of other kinds.
    pub(super) fn things(&self, list: &str) -> Vec<String> {
        let known = self.known.lock().unwrap();
        let things = known.things.get(list).or_else(|| known.others.get(list));
        things.map(|ids| ids.iter().cloned().collect()).unwrap_or_default()
    }

    fn expected(&self, list: &str) -> BTreeSet<String> {
        let known = self.known.lock().unwrap();
        let made = known.things.get(list).into_iter().flatten();
        made.chain(&known.base[list]).cloned().collect()
    }

    /// Keeps what is wrong for the end: one run tells all of it.
    pub(super) fn complain(&self, what: String) {
        self.known.lock().unwrap().wrong.push(format!("{}: {what}", self.canary));
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.known.lock().unwrap().wrong.clone()
    }

    /// Whether each list has just what the tenant made of it. A request that failed while it was carried out was answered with
    /// why, and is there.
    pub(super) async fn check_counts(&self) {
        for list in LISTS {
            let items = self.items(list).await;
            let expected = self.expected(list);
            let listed: BTreeSet<String> = items.iter().map(|item| text(item, "id")).collect();
            let more: Vec<_> = items
                .iter()
                .filter(|item| !expected.contains(&text(item, "id")) && item["status"] != "failed")
                .collect();
            let less: Vec<_> = expected.difference(&listed).collect();
            if !more.is_empty() || !less.is_empty() {
                self.complain(format!("{list}: more {more:?}, less {less:?}"));
            }
        }
    }
}

/// A request for a certificate that is found by the canary.
pub(super) fn request_of(canary: &str) -> Value {
    json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "subject": format!("CN={canary}.example.org"), "sans": [format!("dns:{canary}.example.org")],
        "tags": {canary: canary}})
}

/// Things whose name is the canary, a certificate of Alice, and Dora, who has a session.
async fn plant(office: &Office, boss: &Person, canary: &str) -> BTreeMap<&'static str, String> {
    let policy = json!({"code": canary, "name": canary, "rules": at_once()});
    let policy = boss.post("/api/v1/policies", &policy).await;
    let id = text(&policy.expect(201), "id");
    let workflow = json!({"code": canary, "name": canary, "kind": "issuance",
        "definition": {"steps": [{"name": canary, "approver_role_id": APPROVER, "quorum": 1}]}});
    boss.post("/api/v1/workflows", &workflow).await.expect(201);
    let address = format!("scim-{canary}@example.org");
    let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("scim-{canary}"),
        "externalId": canary, "displayName": canary, "emails": [{"value": address, "primary": true}]});
    let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": canary});
    for (path, body) in [("/scim/v2/Users", user), ("/scim/v2/Groups", group)] {
        let call = boss.call(Method::POST, path).header("content-type", "application/scim+json");
        boss.send(call.body(body.to_string())).await.expect(201);
    }
    office.alice.issue(&request_of(canary)).await;
    let key = json!({"name": canary, "user_id": office.alice.id, "scopes": ["request:read"]});
    let key = boss.post("/api/v1/api-keys", &key).await.expect(201);
    let (dora, opened) = come(office, &format!("dora-{canary}"), &[REQUESTER]).await;
    BTreeMap::from([
        ("{at_once}", id),
        ("{call}", policy.header("x-request-id").to_owned()),
        ("{dora}", dora.id),
        ("{key}", text(&key["api_key"], "id")),
        ("{session}", text(&opened, "session_id")),
    ])
}

/// A user with every right in the organization, and a key without limits but the organization, with its id.
async fn administrator(admin: &Person, canary: &str) -> (Person, String) {
    let name = format!("boss-{canary}");
    let body = json!({"username": name, "email": format!("{name}@example.org")});
    let id = text(&admin.post("/api/v1/users", &body).await.expect(201), "id");
    let body = json!({"user_id": id, "role_id": ADMINISTRATOR});
    admin.post("/api/v1/role-assignments", &body).await.expect(201);
    let body = json!({"name": name, "user_id": id, "scopes": ["*"]});
    let made = admin.post("/api/v1/api-keys", &body).await.expect(201);
    let key_id = text(&made["api_key"], "id");
    (Person { key: text(&made, "secret"), id, organization: None, ..admin.clone() }, key_id)
}
