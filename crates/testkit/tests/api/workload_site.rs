//! An installation with issuers of workload tokens, over TLS.

use aws_lc_rs::digest::{SHA256, digest};
use clm_testkit::{Script, TestInstallation};
use clm_types::Clock;
use reqwest::Client;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::REQUESTER;
use crate::oidc::certificate;
use crate::person::Person;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An installation that trusts `ci`, whose tokens are of workloads alone, and `people`, by which people of the organization `corp`
/// sign in; its first administrator, and a user for workloads.
pub(crate) struct Site {
    pub(crate) installation: TestInstallation,
    pub(crate) admin: Person,
    pub(crate) robot: String,
    issuers: Script,
    pub(crate) names: [String; 2],
}

impl Site {
    pub(crate) async fn open() -> Self {
        let installation = TestInstallation::start().await;
        let (client, url) = (installation.client(), installation.api_url());
        let body = json!({"token": installation.bootstrap_token(), "username": "admin", "email": "admin@example.org",
            "organization_code": "corp", "organization_name": "Corp"});
        let call = client.post(format!("{url}/api/v1/bootstrap")).json(&body);
        let made = Answer::read(call.send().await.unwrap()).await.expect(201);
        let (key, id) = (text(&made, "api_key"), text(&made, "user_id"));
        let admin = Person { client, url, key, id, organization: None };
        let (certificate, key) = certificate(&installation.core.folder().join("tls"));
        let (issuers, names) = Script::issuers(&certificate, &key).await;
        let [ci, people] = &names;
        let file = std::fs::read_to_string(installation.core.config_file()).unwrap();
        let tables = format!(
            "\n[[identity_providers]]\nname = \"ci\"\nissuer = \"{ci}\"\nca_file = {certificate:?}\n\
             [[identity_providers]]\nname = \"people\"\nissuer = \"{people}\"\nca_file = {certificate:?}\n\
             client_id = \"{}/people\"\norganization = \"corp\"\n",
            admin.url
        );
        std::fs::write(installation.core.config_file(), file + &tables).unwrap();
        installation.core.stop().unwrap();
        installation.core.start().unwrap();
        installation.core.wait_ready().unwrap();
        let mut site = Self { installation, admin, robot: String::new(), issuers, names };
        site.robot = site.hire(&site.admin, "robot").await;
        site
    }

    pub(crate) async fn hire(&self, admin: &Person, name: &str) -> String {
        let body = json!({"username": name, "email": format!("{name}@example.com")});
        let id = text(&admin.post("/api/v1/users", &body).await.expect(201), "id");
        let body = json!({"user_id": id, "role_id": REQUESTER});
        admin.post("/api/v1/role-assignments", &body).await.expect(201);
        id
    }

    pub(crate) fn draft(&self, name: &str, provider: &str, claims: &Value) -> Value {
        json!({"name": name, "provider": provider, "audiences": [self.admin.url], "required_claims": claims,
            "user_id": self.robot, "scopes": ["request:create", "request:read"]})
    }

    pub(crate) async fn rule(&self, name: &str, provider: &str, claims: Value) -> String {
        let body = self.draft(name, provider, &claims);
        text(&self.admin.post("/api/v1/workload-rules", &body).await.expect(201), "id")
    }

    pub(crate) async fn sign(&mut self, call: Value) -> String {
        text(&self.issuers.call(&json!({"sign": call})).await, "token")
    }

    pub(crate) async fn behave(&mut self, issuer: &str, mut behaviour: Value) -> u64 {
        behaviour["issuer"] = json!(issuer);
        self.issuers.call(&json!({"behave": behaviour})).await["asked"].as_u64().unwrap()
    }

    /// The claims of a job as GitHub's issuer makes them, with these changes; null takes one away.
    pub(crate) fn github(&self, changes: &Value) -> Value {
        let now = Clock::system().now().timestamp();
        let mut claims = json!({
            "jti": "21c3b4f8-7a0e-4f7c-9a55-8d3f2f9b6d10", "sub": "repo:acme/web:ref:refs/heads/main", "aud": self.admin.url,
            "ref": "refs/heads/main", "sha": "755b4f5d0a0e1c1b0c8f5b1f6f4f8a2f9f1f3c5d", "repository": "acme/web",
            "repository_owner": "acme", "repository_owner_id": "65", "repository_id": "74", "repository_visibility": "private",
            "run_id": "101", "run_number": "10", "run_attempt": "2", "actor": "ann", "actor_id": "12", "workflow": "deploy",
            "head_ref": "", "base_ref": "", "event_name": "push", "ref_protected": "true", "ref_type": "branch",
            "workflow_ref": "acme/web/.github/workflows/deploy.yml@refs/heads/main", "runner_environment": "github-hosted",
            "job_workflow_ref": "acme/web/.github/workflows/deploy.yml@refs/heads/main",
            "iss": self.names[0], "iat": now, "nbf": now - 300, "exp": now + 300});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    pub(crate) async fn exchange(&self, rule: &str, token: &str) -> Answer {
        let form = [
            ("grant_type", GRANT_TYPE),
            ("subject_token_type", JWT),
            ("subject_token", token),
            ("workload_rule", rule),
        ];
        let call = Client::post(&self.admin.client, format!("{}/api/v1/token", self.admin.url)).form(&form);
        Answer::read(call.send().await.unwrap()).await
    }

    /// A job of the CI with these changes shows its token.
    pub(crate) async fn run(&mut self, rule: &str, changes: &Value) -> Answer {
        let claims = self.github(changes);
        let token = self.sign(json!({"issuer": "ci", "claims": claims})).await;
        self.exchange(rule, &token).await
    }

    pub(crate) fn with_key(&self, exchanged: &Value) -> Person {
        Person { key: text(exchanged, "access_token"), ..self.admin.clone() }
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        self.installation.databases.core.psql("clm_core_db", sql).unwrap()
    }

    /// Waits for what is put on record beside the calls.
    pub(crate) async fn reasons(&self, rule: &str, at_least: usize) -> Vec<String> {
        let found = self.refusals(rule, |found| found.len() >= at_least).await;
        found.iter().map(|entry| text(entry, "detail")).collect()
    }

    /// Why this token was refused, and what is on record of it.
    pub(crate) async fn reason(&self, rule: &str, token: &str) -> (String, Value) {
        let sha256 = json!(hex::encode(digest(&SHA256, token.as_bytes())));
        let of_token = |entry: &&Value| entry["after"]["token_sha256"] == sha256;
        let found = self.refusals(rule, |found| found.iter().any(|entry| of_token(&entry))).await;
        let entry = found.iter().find(of_token).unwrap();
        (text(entry, "detail"), entry["after"].clone())
    }

    async fn refusals(&self, rule: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let path =
            format!("/api/v1/audit?object={rule}&action=workload_rule.exchange&outcome=refused&limit=200");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let found = self.admin.list(&path).await;
            if enough(&found) {
                return found;
            }
            assert!(std::time::Instant::now() < end, "{found:#?}");
            tokio::task::yield_now().await;
        }
    }
}
