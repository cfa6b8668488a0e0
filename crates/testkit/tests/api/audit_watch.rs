//! Looks at what each call leaves in the audit logs.

use std::collections::BTreeSet;

use clm_core_web::routes::{Access, Condition, Idempotency, ROUTES, Route};
use clm_types::Entropy;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::house::{Office, house};
use crate::person::{Person, fresh_key};

/// Members of bodies and answers that hold what must not be written down.
const SECRET: [&str; 9] = [
    "token",
    "secret",
    "password",
    "current_password",
    "recovery_codes",
    "recovery_code",
    "totp",
    "clientDataJSON",
    "sealed",
];
/// What an entry says of the call it is of.
const ENTRY: &str =
    "xmin::text, action, actor_type, actor_user_id, api_key_id, session_id, organization_id, ip_address,
    request_id, operation_id, object_type, object_id, before_state, after_state, detail";

/// All tables of a database that hold an effect, but the logs themselves.
const TABLES: &str = "SELECT relname FROM pg_class WHERE relnamespace = 'clm'::regnamespace AND relkind IN ('r', 'p')
    AND NOT relispartition AND relname NOT IN ('audit_log', 'secure_audit_log', 'idempotency_keys', '_sqlx_migrations')";
/// What an entry does not have, and why.
const WITHOUT: &[(&str, &str, &str)] = &[
    ("POST /api/v1/members", "object_id", "whether there is such a user is not for the organization to know"),
    ("POST /api/v1/integrity/runs", "organization_id", "of the whole installation"),
    ("POST /api/v1/integrity/runs", "effect", "the run writes on in its row at once"),
    ("POST /api/v1/mass-revocations/{id}/approve", "effect", "the run writes on in its row at once"),
];

/// Whether an entry of this route needs to have this.
fn needs(name: &str, member: &str) -> bool {
    WITHOUT.iter().all(|(route, without, _)| *route != name || *without != member)
}

/// What was called, what must stay secret, and what was wrong.
pub(crate) struct Watch {
    anonymous: Person,
    called: BTreeSet<(&'static str, &'static str)>,
    secrets: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// Operations of which Secure must have an entry too.
    operations: Vec<(String, String)>,
}

/// What Core's database says.
fn core(sql: &str) -> String {
    house_now().installation.databases.core.psql("clm_core_db", sql).unwrap()
}

fn house_now() -> &'static crate::house::House {
    crate::house::HOUSE.get().unwrap()
}

/// The route of "METHOD /path".
fn route(name: &str) -> &'static Route {
    let found = ROUTES.iter().find(|route| format!("{} {}", route.method, route.path) == name);
    found.unwrap_or_else(|| panic!("there is no route {name}"))
}

impl Watch {
    pub(crate) async fn new(office: &Office) -> Self {
        house().await;
        Self {
            anonymous: office.admin.clone(),
            called: BTreeSet::new(),
            secrets: Vec::new(),
            wrong: Vec::new(),
            operations: Vec::new(),
        }
    }

    /// Calls a route on an object, and looks at what was written of it: the answer's body.
    pub(crate) async fn call(&mut self, name: &str, person: Option<&Person>, id: &str, body: Value) -> Value {
        let route = route(name);
        let request_id = Uuid::from_bytes(Entropy::system().bytes::<16>());
        collect(&body, false, &mut self.secrets);
        let answer = self.send(route, person, (id, request_id), &body).await;
        assert!((200..300).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        collect(&said, false, &mut self.secrets);
        self.called.insert((route.method, route.path));
        let sql = format!(
            "SELECT coalesce(json_agg(entry), '[]') FROM (SELECT {ENTRY} FROM clm.audit_log
             WHERE request_id = '{request_id}' AND outcome = 'allowed') entry"
        );
        let entries: Vec<Value> = serde_json::from_str(&core(&sql)).unwrap();
        self.judge(name, route, person, &entries);
        said
    }

    async fn send(
        &self,
        route: &Route,
        person: Option<&Person>,
        (id, request_id): (&str, Uuid),
        body: &Value,
    ) -> Answer {
        let method = Method::from_bytes(route.method.as_bytes()).unwrap();
        let path = route.path.replace("{id}", id);
        let mut call = match person {
            Some(person) => person.call(method, &path),
            None => self.anonymous.client.request(method, format!("{}{path}", self.anonymous.url)),
        };
        call = call.header("x-request-id", request_id.to_string());
        if route.idempotency != Idempotency::None {
            call = call.header("idempotency-key", fresh_key());
        }
        if route.condition == Condition::Required {
            call = call.header("if-match", "*");
        }
        self.anonymous.send(call.json(body)).await
    }

    /// One entry must say everything, and must be of the commit of an effect.
    fn judge(&mut self, name: &str, route: &Route, person: Option<&Person>, entries: &[Value]) {
        let Some(first) = entries.first() else {
            self.wrong.push(format!("{name}: no entry"));
            return;
        };
        let mut members =
            vec!["action", "ip_address", "request_id", "object_type", "object_id", "organization_id"];
        if route.access != Access::Public {
            members.push("actor_user_id");
        }
        for member in members {
            if needs(name, member) && entries.iter().all(|entry| entry[member].is_null()) {
                self.wrong.push(format!("{name}: no {member} in {first}"));
            }
        }
        let credential = |entry: &Value| !entry["api_key_id"].is_null() || !entry["session_id"].is_null();
        if person.is_some() && !entries.iter().all(credential) {
            self.wrong.push(format!("{name}: neither key nor session in {first}"));
        }
        if needs(name, "effect") && !has_effect(entries) {
            self.wrong.push(format!("{name}: nothing was changed in the commit of {first}"));
        }
        self.check_secrets(name, &json!(entries).to_string());
        let operation = entries.iter().find_map(|entry| entry["operation_id"].as_str());
        if let Some(operation) = operation {
            self.operations.push((name.to_owned(), operation.to_owned()));
        }
    }

    fn check_secrets(&mut self, name: &str, text: &str) {
        let found = self.secrets.iter().find(|secret| text.contains(secret.as_str()));
        if let Some(secret) = found {
            self.wrong.push(format!("{name}: an entry holds {secret}: {text}"));
        }
    }

    /// An example that was made in another way, with an entry of this action about this object.
    pub(crate) fn made(&mut self, name: &str, action: &str, object_id: &str) {
        let route = route(name);
        self.called.insert((route.method, route.path));
        let sql = format!(
            "SELECT coalesce(json_agg(entry), '[]') FROM (SELECT {ENTRY} FROM clm.audit_log
             WHERE action = '{action}' AND object_id = '{object_id}' AND outcome = 'allowed') entry"
        );
        let entries: Vec<Value> = serde_json::from_str(&core(&sql)).unwrap();
        if entries.is_empty() {
            self.wrong.push(format!("{name}: no entry {action} about {object_id}"));
        }
    }

    /// The routes that change something and were not called.
    pub(crate) fn missing(&self, exceptions: &[(&str, &str)]) -> Vec<String> {
        let changes = ROUTES.iter().filter(|route| route.method != "GET");
        let without = changes.filter(|route| !self.called.contains(&(route.method, route.path)));
        let names = without.map(|route| format!("{} {}", route.method, route.path));
        names.filter(|name| exceptions.iter().all(|(exception, _)| exception != name)).collect()
    }

    /// Secure's entries of the same operations, for these routes, and no secret in either log.
    pub(crate) async fn check_secure(&mut self, routes: &[&str]) {
        for name in routes {
            let found = self.operations.iter().find(|(of, _)| of == name);
            let Some((_, operation)) = found else {
                self.wrong.push(format!("{name}: no operation id"));
                continue;
            };
            let sql = format!("SELECT count(*) FROM clm.secure_audit_log WHERE operation_id = '{operation}'");
            let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while secure(&sql) == "0" {
                if std::time::Instant::now() > end {
                    self.wrong.push(format!("{name}: Secure has no entry of {operation}"));
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let all = "SELECT concat_ws(' ', before_state, after_state, detail) FROM clm.audit_log";
        self.check_secrets("Core's log", &core(all));
        let all = "SELECT to_jsonb(entry) FROM clm.secure_audit_log entry";
        self.check_secrets("Secure's log", &secure(all));
    }
}

fn secure(sql: &str) -> String {
    house_now().installation.databases.secure.psql("clm_secure_db", sql).unwrap()
}

/// Whether a row of some table was written by a transaction that wrote one of these entries, or one of the same operation:
/// of those that are done at once, the last commit has overwritten what the first one wrote, and what is done to a
/// private key is Secure's.
fn has_effect(entries: &[Value]) -> bool {
    let of = |entry: &Value| entry["xmin"].as_str().unwrap().to_owned();
    if wrote(core, &entries.iter().map(of).collect::<Vec<_>>()) {
        return true;
    }
    let Some(operation) = entries.iter().find_map(|entry| entry["operation_id"].as_str()) else {
        return false;
    };
    let of = |ask: fn(&str) -> String, log: &str| -> Vec<String> {
        let sql = format!("SELECT DISTINCT xmin::text FROM clm.{log} WHERE operation_id = '{operation}'");
        ask(&sql).lines().map(str::to_owned).collect()
    };
    wrote(core, &of(core, "audit_log")) || wrote(secure, &of(secure, "secure_audit_log"))
}

/// Whether any row is of one of these transactions.
fn wrote(ask: fn(&str) -> String, transactions: &[String]) -> bool {
    if transactions.is_empty() {
        return false;
    }
    let list = transactions.iter().map(|one| format!("'{one}'")).collect::<Vec<_>>().join(", ");
    let tables = ask(TABLES);
    let rows = tables.lines().map(|table| format!("SELECT 1 FROM clm.{table} WHERE xmin IN ({list})"));
    ask(&format!("SELECT EXISTS ({})", rows.collect::<Vec<_>>().join(" UNION ALL "))) == "t"
}

/// The secrets in a body, and their SHA-256: neither belongs in a log.
fn collect(value: &Value, is_secret: bool, secrets: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(value, is_secret || SECRET.contains(&name.as_str()), secrets);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, is_secret, secrets)),
        // A shorter one, as a one-time code, is found by chance in ids and hashes.
        Value::String(text) if is_secret && text.len() >= 16 => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            secrets.extend([text.clone(), hex::encode(digest.as_ref())]);
        }
        _ => {}
    }
}
