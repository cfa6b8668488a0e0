//! The installation that all tests share, and an organization with people for each test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clm_testkit::TestInstallation;
use clm_types::Permission;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::answer::{Answer, text};
use crate::person::Person;

pub(crate) const REQUESTER: &str = "01900000-0000-7000-8000-000000000002";
pub(crate) const APPROVER: &str = "01900000-0000-7000-8000-000000000003";
pub(crate) const DAY: u64 = 86_400;
/// An authority that ends in ten days.
pub(crate) const ENDING: &str = "Ending CA";
pub(crate) const ROOT: &str = "CLM Sandbox Root";
pub(crate) const ISSUING: &str = "CLM Sandbox Issuing CA";

/// Statics are not dropped: the folder's reaper notices that the process is gone.
pub(crate) static HOUSE: OnceCell<House> = OnceCell::const_new();

pub(crate) struct House {
    pub(crate) installation: TestInstallation,
    admin_key: String,
    offices: AtomicU32,
}

/// An organization: alice asks, bob and carol approve, the administrator may do everything.
pub(crate) struct Office {
    pub(crate) organization: String,
    pub(crate) admin: Person,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) carol: Person,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
}

pub(crate) async fn house() -> &'static House {
    HOUSE.get_or_init(House::start).await
}

/// A fresh organization with the default policies, and with one, `at-once`, that needs no approval.
pub(crate) async fn office() -> Office {
    house().await.office().await
}

impl House {
    async fn start() -> Self {
        let installation = TestInstallation::start().await;
        let base = installation.validation_url();
        let create = ["authority", "create", "--profile", "issuing-ca", "--parent", ROOT, "--name", ENDING];
        let rest = ["--subject", "CN=Ending CA", "--validity-days", "10", "--base-url", &base];
        installation.secure.run(&[&create[..], &rest].concat()).unwrap();
        let body = json!({"token": installation.bootstrap_token(), "username": "admin", "email": "admin@example.org",
            "organization_code": "first", "organization_name": "First"});
        let call = installation.client().post(format!("{}/api/v1/bootstrap", installation.api_url()));
        let answer = Answer::read(call.json(&body).send().await.unwrap()).await;
        let admin_key = text(&answer.expect(201), "api_key");
        Self { installation, admin_key, offices: AtomicU32::new(0) }
    }

    /// Somebody with this key. Connections belong to one test's runtime, so each office has its own client.
    pub(crate) fn person(&self, client: &Client, key: &str) -> Person {
        let url = self.installation.api_url();
        Person { client: client.clone(), url, key: key.to_owned(), id: String::new(), organization: None }
    }

    async fn office(&self) -> Office {
        self.office_called(&self.offices.fetch_add(1, Ordering::Relaxed).to_string()).await
    }

    /// A fresh organization with this in its code, and in the names of its people.
    pub(crate) async fn office_called(&self, number: &str) -> Office {
        let mut admin = self.person(&self.installation.client(), &self.admin_key);
        let body = json!({"code": format!("office-{number}"), "name": format!("Office {number}")});
        let organization = text(&admin.post("/api/v1/organizations", &body).await.expect(201), "id");
        admin.organization = Some(organization.clone());
        admin.id = text(&admin.get("/api/v1/me").await.expect(200), "user_id");
        let folder = self.installation.folder().join(format!("office-{number}"));
        std::fs::create_dir(&folder).unwrap();
        let office = Office {
            alice: hire(&admin, &format!("alice-{number}"), &[REQUESTER]).await,
            bob: hire(&admin, &format!("bob-{number}"), &[APPROVER]).await,
            carol: hire(&admin, &format!("carol-{number}"), &[APPROVER, REQUESTER]).await,
            organization,
            admin,
            folder,
        };
        office.policy("at-once", &at_once()).await;
        office
    }

    /// How many rows of this organization there are in each table that holds an effect, in both databases.
    pub(crate) fn rows(&self, organization: &str) -> BTreeMap<&'static str, i64> {
        let databases = &self.installation.databases;
        let count = |secure: bool, table: &'static str| {
            let sql = format!("SELECT count(*) FROM clm.{table} WHERE organization_id = '{organization}'");
            let rows = if secure {
                databases.secure.psql("clm_secure_db", &sql)
            } else {
                databases.core.psql("clm_core_db", &sql)
            };
            (table, rows.unwrap().parse().unwrap())
        };
        let core = CORE_TABLES.map(|table| count(false, table));
        core.into_iter().chain(SECURE_TABLES.map(|table| count(true, table))).collect()
    }
}

const CORE_TABLES: [&str; 9] = [
    "workflow_instances",
    "workflow_steps",
    "workflow_decisions",
    "certificate_metadata",
    "jobs",
    "notifications",
    "idempotency_keys",
    "policies",
    "workflows",
];
const SECURE_TABLES: [&str; 4] = ["certificates", "certificate_requests", "private_keys", "events"];

/// A new user of the administrator's organization with these roles.
pub(crate) async fn hire(admin: &Person, name: &str, roles: &[&str]) -> Person {
    let body = json!({"username": name, "email": format!("{name}@example.org")});
    let id = text(&admin.post("/api/v1/users", &body).await.expect(201), "id");
    for role in roles {
        let body = json!({"user_id": id, "role_id": role});
        admin.post("/api/v1/role-assignments", &body).await.expect(201);
    }
    let scopes: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
    let body = json!({"name": "test", "user_id": id, "scopes": scopes});
    let key = text(&admin.post("/api/v1/api-keys", &body).await.expect(201), "secret");
    Person { key, id, organization: None, ..admin.clone() }
}

/// Everything that the TLS profiles allow, without approval.
pub(crate) fn at_once() -> Value {
    json!({
        "profiles": ["tls-server", "tls-client", "tls-server-client"],
        "key_algorithms": ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519", "ml-dsa-65"],
        "key_sources": ["csr", "generated", "reused"],
        "names": {"dns_suffixes": ["."], "wildcards_allowed": true, "ip_ranges": ["0.0.0.0/0", "::/0"],
                  "email_domains": ["."], "uri_prefixes": ["https:", "spiffe:", "urn:"]},
        "max_names": 100,
        "max_validity_seconds": 3650 * DAY,
        "default_validity_seconds": 9 * DAY,
    })
}

impl Office {
    /// Makes a policy: its id.
    pub(crate) async fn policy(&self, code: &str, rules: &Value) -> String {
        let body = json!({"code": code, "name": code, "rules": rules});
        text(&self.admin.post("/api/v1/policies", &body).await.expect(201), "id")
    }

    /// Makes a workflow with these steps, and no automatic approval.
    pub(crate) async fn workflow(&self, code: &str, kind: &str, steps: &Value) {
        let body = json!({"code": code, "name": code, "kind": kind, "definition": {"steps": steps}});
        self.admin.post("/api/v1/workflows", &body).await.expect(201);
    }

    /// The authority of this name.
    pub(crate) async fn authority(&self, name: &str) -> Value {
        let all = self.alice.list("/api/v1/authorities").await;
        all.into_iter().find(|authority| authority["name"] == name).unwrap()
    }

    /// Reads a request anew.
    pub(crate) async fn request(&self, request: &Value) -> Value {
        self.alice.get(&format!("/api/v1/requests/{}", text(request, "id"))).await.expect(200)
    }

    /// A member of another organization.
    pub(crate) async fn stranger(&self) -> Office {
        office().await
    }

    pub(crate) async fn put(&self, path: &str, version: &Value, body: &Value) -> Answer {
        self.admin.change(Method::PUT, path, version, body).await
    }
}
