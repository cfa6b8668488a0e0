//! Workloads that exchange tokens of their provider for keys: issuers of their own, over TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use clm_testkit::{Script, TestInstallation};
use clm_types::Clock;
use futures::stream::{FuturesUnordered, StreamExt};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::REQUESTER;
use crate::oidc::certificate;
use crate::person::Person;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const UNKNOWN: &str = "0199f0c0-0000-7000-8000-000000000000";

/// An installation that trusts `ci`, whose tokens are of workloads alone, and `people`, by which people of the organization `corp`
/// sign in; its first administrator, and a user for workloads.
struct Site {
    installation: TestInstallation,
    admin: Person,
    robot: String,
    issuers: Script,
    names: [String; 2],
}

impl Site {
    async fn open() -> Self {
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

    async fn hire(&self, admin: &Person, name: &str) -> String {
        let body = json!({"username": name, "email": format!("{name}@example.com")});
        let id = text(&admin.post("/api/v1/users", &body).await.expect(201), "id");
        let body = json!({"user_id": id, "role_id": REQUESTER});
        admin.post("/api/v1/role-assignments", &body).await.expect(201);
        id
    }

    fn draft(&self, name: &str, provider: &str, claims: &Value) -> Value {
        json!({"name": name, "provider": provider, "audiences": [self.admin.url], "required_claims": claims,
            "user_id": self.robot, "scopes": ["request:create", "request:read"]})
    }

    async fn rule(&self, name: &str, provider: &str, claims: Value) -> String {
        let body = self.draft(name, provider, &claims);
        text(&self.admin.post("/api/v1/workload-rules", &body).await.expect(201), "id")
    }

    async fn sign(&mut self, call: Value) -> String {
        text(&self.issuers.call(&json!({"sign": call})).await, "token")
    }

    async fn behave(&mut self, issuer: &str, mut behaviour: Value) -> u64 {
        behaviour["issuer"] = json!(issuer);
        self.issuers.call(&json!({"behave": behaviour})).await["asked"].as_u64().unwrap()
    }

    /// The claims of a job as GitHub's issuer makes them, with these changes; null takes one away.
    fn github(&self, changes: &Value) -> Value {
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

    async fn exchange(&self, rule: &str, token: &str) -> Answer {
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
    async fn run(&mut self, rule: &str, changes: &Value) -> Answer {
        let claims = self.github(changes);
        let token = self.sign(json!({"issuer": "ci", "claims": claims})).await;
        self.exchange(rule, &token).await
    }

    fn with_key(&self, exchanged: &Value) -> Person {
        Person { key: text(exchanged, "access_token"), ..self.admin.clone() }
    }

    fn psql(&self, sql: &str) -> String {
        self.installation.databases.core.psql("clm_core_db", sql).unwrap()
    }

    /// Waits for what is put on record beside the calls.
    async fn reasons(&self, rule: &str, at_least: usize) -> Vec<String> {
        let path =
            format!("/api/v1/audit?object={rule}&action=workload_rule.exchange&outcome=refused&limit=200");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let found = self.admin.list(&path).await;
            if found.len() >= at_least {
                return found.iter().map(|entry| text(entry, "detail")).collect();
            }
            assert!(std::time::Instant::now() < end, "{found:#?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_a_key_that_ends_soon_and_with_its_rule() {
    let mut site = Site::open().await;
    let rule = site
        .rule("deploy", "ci", json!({"sub": "repo:acme/web:ref:refs/heads/*", "repository_id": "74"}))
        .await;
    let answer = site.run(&rule, &json!({})).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let given = answer.expect(200);
    assert_eq!(given["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!((&given["token_type"], &given["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(given["scope"], "request:create request:read");
    let job = site.with_key(&given);
    assert!(job.key.starts_with("clm_svc_"));
    let me = job.get("/api/v1/me").await.expect(200);
    assert_eq!(
        (&me["user_id"], &me["permissions"]),
        (&json!(site.robot), &json!(["request:create", "request:read"]))
    );
    job.get("/api/v1/requests").await.expect(200);
    job.get("/api/v1/certificates").await.refused(403, "permission_denied");
    // A job that is run again, and others beside it, get keys of their own for the same token.
    let claims = site.github(&json!({"aud": [site.admin.url]}));
    let token = site.sign(json!({"issuer": "ci", "by": "ec", "claims": claims})).await;
    let (first, second) =
        (site.exchange(&rule, &token).await.expect(200), site.exchange(&rule, &token).await.expect(200));
    assert_ne!(first["access_token"], second["access_token"]);
    let keys = site.admin.list(&format!("/api/v1/api-keys?workload_rule={rule}")).await;
    assert_eq!(keys.len(), 3);
    assert_eq!((&keys[0]["workload_subject"], &keys[0]["user_id"]), (&claims["sub"], &json!(site.robot)));
    // On record, with what tells the token from others.
    let path = format!("/api/v1/audit?object={rule}&action=workload_rule.exchange");
    let record = &site.admin.list(&path).await[0];
    assert_eq!((&record["after"]["token_id"], &record["after"]["subject"]), (&claims["jti"], &claims["sub"]));
    assert_eq!(text(&record["after"], "token_sha256").len(), 64);
    assert_eq!(record["after"]["api_key_id"], keys[0]["id"]);
    // What has long ended makes room.
    let ended = text(&keys[2], "id");
    site.psql(&format!(
        "UPDATE clm.api_keys SET expires_at = now() - interval '8 days' WHERE id = '{ended}'"
    ));
    site.exchange(&rule, &token).await.expect(200);
    let keys = site.admin.list(&format!("/api/v1/api-keys?workload_rule={rule}")).await;
    assert!(keys.len() == 3 && keys.iter().all(|key| key["id"] != json!(ended)), "{keys:#?}");
    // The end of the rule is the end of its keys, and of theirs alone.
    let path = format!("/api/v1/workload-rules/{rule}");
    let disabled = site.admin.post(&format!("{path}/disable"), &json!({})).await.expect(200);
    assert_eq!(disabled["enabled"], false);
    for key in [&given, &first, &second] {
        site.with_key(key).get("/api/v1/me").await.refused(401, "unauthenticated");
    }
    site.exchange(&rule, &token).await.refused(400, "workload_token_refused");
    let body = site.draft("deploy", "ci", &json!({"sub": "repo:acme/web:ref:refs/heads/main"}));
    site.admin.change(Method::PUT, &path, &disabled["version"], &body).await.expect(200);
    let given = site.run(&rule, &json!({"jti": "2"})).await.expect(200);
    site.admin.change(Method::PUT, &path, &json!(1), &body).await.refused(412, "precondition_failed");
    assert_eq!(site.admin.change(Method::DELETE, &path, &json!(3), &json!({})).await.status, 204);
    site.with_key(&given).get("/api/v1/me").await.refused(401, "unauthenticated");
    site.run(&rule, &json!({"jti": "3"})).await.refused(400, "workload_token_refused");
    // So many keys of one rule, and no more; whoever may not work gets none either.
    let full = site.rule("full", "ci", json!({"repository_id": "74"})).await;
    site.psql(&format!(
        "INSERT INTO clm.api_keys (organization_id, user_id, key_prefix, key_hash, name, expires_at, workload_rule_id, workload_subject,
             created_at, updated_at)
         SELECT organization_id, user_id, 'p' || i, sha256('x'), 'k', now() + interval '15 minutes', id, 's', now(), now()
         FROM clm.workload_rules, generate_series(1, 500) AS i WHERE id = '{full}'"
    ));
    site.run(&full, &json!({"jti": "5"})).await.refused(429, "rate_limited");
    let rule = site.rule("again", "ci", json!({"repository_id": "74"})).await;
    let user = site.admin.get(&format!("/api/v1/users/{}", site.robot)).await.expect(200);
    let path = format!("/api/v1/users/{}/disable", site.robot);
    site.admin.change(Method::POST, &path, &user["version"], &json!({})).await.expect(200);
    site.run(&rule, &json!({"jti": "4"})).await.refused(400, "workload_token_refused");
    assert!(site.reasons(&rule, 1).await[0].contains("is not active here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_for_this_rule_gets_nothing() {
    let mut site = Site::open().await;
    let now = Clock::system().now().timestamp();
    let fitting =
        json!({"sub": "repo:acme/web:ref:refs/heads/main", "repository_id": "74", "ref_protected": "true"});
    let rule = site.rule("deploy", "ci", fitting.clone()).await;
    let url = site.admin.url.clone();
    let mut answers = Vec::new();
    // What the token says.
    for changes in [
        json!({"sub": "repo:acme/web:ref:refs/heads/evil"}),
        json!({"sub": "repo:acme/web2:ref:refs/heads/main"}),
        json!({"repository_id": "75"}),
        json!({"repository_id": 74}),
        json!({"ref_protected": true}),
        json!({"ref_protected": null}),
        json!({"iss": site.names[1]}),
        json!({"iss": format!("{}/", site.names[0])}),
        json!({"aud": "https://github.com/acme"}),
        json!({"aud": [url, "https://other.example.com"]}),
        json!({"aud": format!("{url}/")}),
        json!({"aud": []}),
        json!({"exp": now - 120}),
        json!({"exp": null}),
        json!({"nbf": now + 120}),
        json!({"iat": now + 120, "exp": now + 300}),
        json!({"iat": null}),
        json!({"exp": now + 100_000}),
        json!({"nonce": "n-1"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
    ] {
        let answer = site.run(&rule, &changes).await;
        assert_eq!(answer.status, 400, "{changes}: {}", answer.text());
        answers.push(answer);
    }
    // How it is signed.
    let claims = site.github(&json!({}));
    let with = |name: &str, value: Value| {
        let mut call = json!({"issuer": "ci", "claims": claims});
        call[name] = value;
        call
    };
    let mut tokens = vec![String::new(), "a.b.c".to_owned(), "a".repeat(17_000)];
    for call in [
        with("by", json!("nobody")),
        with("by", json!("hmac")),
        with("by", json!("foreign")),
        with("issuer", json!("people")),
        with("header", json!({"kid": "unknown"})),
        with("header", json!({"kid": "ci-ec"})),
        with("header", json!({"alg": "PS256"})),
        with("header", json!({"alg": "none"})),
        with("header", json!({"typ": "logout+jwt"})),
        with("header", json!({"crit": ["b64"], "b64": true})),
        with("header", json!({"jku": "https://evil.example.org/jwks", "kid": "unknown-2"})),
    ] {
        tokens.push(site.sign(call).await);
    }
    for token in &tokens {
        let answer = site.exchange(&rule, token).await;
        assert_eq!(answer.status, 400, "{token}: {}", answer.text());
        answers.push(answer);
    }
    // A rule that is not there.
    let good = site.sign(json!({"issuer": "ci", "claims": claims})).await;
    answers.push(site.exchange(UNKNOWN, &good).await);
    let told = |answer: &Answer| {
        let problem = answer.refused(400, "workload_token_refused");
        (text(&problem, "detail"), text(&problem, "hint"))
    };
    assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])));
    let reasons = site.reasons(&rule, 10).await;
    assert!(
        reasons.iter().any(|reason| reason.contains("the claim sub is not as asked for")),
        "{reasons:#?}"
    );
    // All that while the same job with its own token is served.
    site.exchange(&rule, &good).await.expect(200);
    assert_eq!(site.psql("SELECT count(*) FROM clm.api_keys WHERE workload_rule_id IS NOT NULL").trim(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_people_other_providers_and_other_organizations_are_no_use() {
    let mut site = Site::open().await;
    let now = Clock::system().now().timestamp();
    let cluster =
        json!({"/kubernetes.io/namespace": "ingress", "/kubernetes.io/serviceaccount/name": "agent"});
    let of_ci = site.rule("ci", "ci", json!({"sub": "system:serviceaccount:ingress:agent"})).await;
    let of_people = site.rule("people", "people", cluster).await;
    // A projected token of a Kubernetes service account.
    let pod = |issuer: &str, audience: Value| {
        json!({"aud": audience, "exp": now + 3600, "iat": now, "nbf": now, "iss": issuer, "jti": "3c2f", "sub": "system:serviceaccount:ingress:agent",
            "kubernetes.io": {"namespace": "ingress", "node": {"name": "n1", "uid": "u1"}, "pod": {"name": "p", "uid": "u2"},
                "serviceaccount": {"name": "agent", "uid": "u3"}}})
    };
    let [ci, people] = site.names.clone();
    let url = site.admin.url.clone();
    let token = site
        .sign(json!({"issuer": "people", "header": {"typ": null}, "claims": pod(&people, json!([url]))}))
        .await;
    site.exchange(&of_people, &token).await.expect(200);
    site.exchange(&of_ci, &token).await.refused(400, "workload_token_refused");
    let token =
        site.sign(json!({"issuer": "ci", "header": {"typ": null}, "claims": pod(&ci, json!([url]))})).await;
    site.exchange(&of_ci, &token).await.expect(200);
    site.exchange(&of_people, &token).await.refused(400, "workload_token_refused");
    // What somebody signs in with is meant for the client, which no rule may name, nor does one that did take it.
    let client = format!("{url}/people");
    let mut body = site.draft("client", "people", &json!({"sub": "system:serviceaccount:ingress:agent"}));
    body["audiences"] = json!([client]);
    let refused = site.admin.post("/api/v1/workload-rules", &body).await.refused(400, "invalid_request");
    assert_eq!(refused["errors"][0]["pointer"], "/audiences/0");
    site.psql(&format!(
        "UPDATE clm.workload_rules SET audiences = ARRAY['{client}', '{url}'] WHERE id = '{of_people}'"
    ));
    let mut id_token = pod(&people, json!(client));
    for (name, value) in [("nonce", json!("n")), ("azp", json!(client)), ("unused", Value::Null)] {
        let token = site.sign(json!({"issuer": "people", "claims": id_token})).await;
        site.exchange(&of_people, &token).await.refused(400, "workload_token_refused");
        id_token = pod(&people, json!(url));
        id_token[name] = value;
    }
    // Another organization's rules take that provider's tokens neither; a provider of nobody in particular serves all.
    let made = json!({"code": "other", "name": "Other"});
    let other = text(&site.admin.post("/api/v1/organizations", &made).await.expect(201), "id");
    let there = Person { organization: Some(other), ..site.admin.clone() };
    let mut theirs = site.draft("theirs", "people", &json!({"sub": "system:serviceaccount:ingress:agent"}));
    theirs["user_id"] = json!(site.hire(&there, "theirs").await);
    let refused = there.post("/api/v1/workload-rules", &theirs).await.refused(400, "invalid_request");
    assert_eq!(refused["errors"][0]["pointer"], "/provider");
    theirs["provider"] = json!("ci");
    let rule = text(&there.post("/api/v1/workload-rules", &theirs).await.expect(201), "id");
    there.get(&format!("/api/v1/workload-rules/{of_ci}")).await.refused(404, "workload_rule_not_found");
    site.admin.get(&format!("/api/v1/workload-rules/{rule}")).await.refused(404, "workload_rule_not_found");
    // The key works where its rule is.
    let given = site.exchange(&rule, &token).await.expect(200);
    let me = site.with_key(&given).get("/api/v1/me").await.expect(200);
    assert_eq!((&me["organization_id"], &me["user_id"]), (&json!(there.organization), &theirs["user_id"]));
    // From the networks that it names.
    theirs["allowed_addresses"] = json!(["192.0.2.0/24"]);
    let path = format!("/api/v1/workload-rules/{rule}");
    there.change(Method::PUT, &path, &json!(1), &theirs).await.expect(200);
    site.with_key(&given).get("/api/v1/me").await.refused(401, "unauthenticated");
    site.exchange(&rule, &token).await.refused(400, "workload_token_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_leads_the_service_nowhere_else_and_holds_up_nobody() {
    let mut site = Site::open().await;
    let rule = site.rule("deploy", "ci", json!({"repository_id": "74"})).await;
    let claims = site.github(&json!({}));
    let token = site.sign(json!({"issuer": "ci", "claims": claims})).await;
    let elsewhere = site.names[1].clone();
    for behaviour in [
        json!({"jwks_uri": "http://localhost/jwks"}),
        json!({"jwks_uri": format!("{}/jwks", elsewhere.replace("https", "file"))}),
        json!({"redirect": true}),
        json!({"large": true}),
    ] {
        site.behave("ci", behaviour.clone()).await;
        let answer = site.exchange(&rule, &token).await;
        assert_eq!(answer.refused(503, "unavailable")["retryable"], true, "{behaviour}");
        // What failed is not tried again at once; after a restart it is.
        let asked = site.behave("ci", behaviour).await;
        site.exchange(&rule, &token).await.refused(503, "unavailable");
        assert_eq!(site.behave("ci", json!({})).await, asked);
        site.installation.core.stop().unwrap();
        site.installation.core.start().unwrap();
        site.installation.core.wait_ready().unwrap();
    }
    assert_eq!(site.behave("people", json!({})).await, 0);
    // Many who ask a provider that does not answer leave room for somebody who signs in.
    site.behave("ci", json!({"silent": true})).await;
    let mut many: FuturesUnordered<_> = (0..40).map(|_| site.exchange(&rule, &token)).collect();
    for _ in 0..37 {
        let answer = many.next().await.unwrap();
        assert!(matches!(answer.status, 429 | 503), "{}", answer.text());
    }
    let body = json!({"username": "admin", "password": "wrong horse battery"});
    let call = site.admin.client.post(format!("{}/api/v1/sessions", site.admin.url)).json(&body);
    Answer::read(call.send().await.unwrap()).await.refused(401, "sign_in_failed");
    while let Some(answer) = many.next().await {
        answer.refused(503, "unavailable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_signs_in_with_clm() {
    let mut site = Site::open().await;
    let folder = site.installation.folder().join("terminal");
    std::fs::create_dir(&folder).unwrap();
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("clm");
    let ca = site.installation.ca_file().display().to_string();
    let url = site.admin.url.clone();
    let clm = |who: &str, arguments: &[&str]| {
        let config: PathBuf = folder.join(who);
        let mut command = Command::new(&program);
        command.args(arguments).args(["-o", "json"]).current_dir(&folder).env("CLM_CONFIG_DIR", config);
        command.output().unwrap()
    };
    let done = |who: &str, arguments: &[&str]| -> Value {
        let output = clm(who, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() }
    };
    std::fs::write(folder.join("key"), &site.admin.key).unwrap();
    done("admin", &["login", &url, "--ca-file", &ca, "--token-file", "key"]);
    let create =
        ["workload-rule", "create", "deploy", "--provider", "ci", "--audience", &url, "--user", &site.robot];
    let rest =
        ["--claim", "sub=repo:acme/*:ref:refs/heads/main", "--scope", "request:read", "--minutes", "5"];
    let rule = text(&done("admin", &[&create[..], &rest].concat()), "id");
    let changed =
        done("admin", &["workload-rule", "update", &rule, "--claim", "repository_id=74", "--minutes", "10"]);
    assert_eq!(
        changed["required_claims"],
        json!({"repository_id": "74", "sub": "repo:acme/*:ref:refs/heads/main"})
    );
    assert_eq!(changed["lifetime_seconds"], 600);
    assert_eq!(done("admin", &["workload-rule", "list"])["items"][0]["id"], json!(rule));
    let claims = site.github(&json!({}));
    let token = site.sign(json!({"issuer": "ci", "claims": claims})).await;
    std::fs::write(folder.join("token"), token).unwrap();
    let login = [
        "login",
        &url,
        "--ca-file",
        &ca,
        "--workload-token-file",
        "token",
        "--workload-rule",
        &rule,
        "--name",
        "ci",
    ];
    assert_eq!(done("job", &login)["user_id"], json!(site.robot));
    let kept = folder.join("job/ci.token");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    done("job", &["request", "list"]);
    assert_eq!(
        done("admin", &["key", "list", "--workload-rule", &rule])["items"].as_array().unwrap().len(),
        1
    );
    done("admin", &["workload-rule", "show", &rule]);
    assert_eq!(done("admin", &["workload-rule", "disable", &rule])["enabled"], false);
    assert!(!clm("job", &["request", "list"]).status.success());
    let refused = clm("job", &login);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("workload_token_refused"));
    assert_eq!(done("admin", &["workload-rule", "update", &rule, "--enable"])["enabled"], true);
    done("admin", &["workload-rule", "delete", &rule]);
    assert_eq!(done("admin", &["workload-rule", "list"])["items"], json!([]));
}
