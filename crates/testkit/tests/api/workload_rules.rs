//! Workloads that exchange tokens of their provider for keys.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use clm_types::Clock;
use futures::stream::{FuturesUnordered, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::person::Person;
use crate::workload_site::Site;

const UNKNOWN: &str = "0199f0c0-0000-7000-8000-000000000000";
const ADMINISTRATOR: &str = "01900000-0000-7000-8000-000000000001";

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
    assert!(site.reasons(&full, 1).await[0].contains("500 keys of this rule"));
    // One that was revoked makes no room before its time.
    let revoke = format!("UPDATE clm.api_keys SET revoked_at = now() WHERE workload_rule_id = '{full}'");
    site.psql(&revoke);
    site.run(&full, &json!({"jti": "6"})).await.refused(429, "rate_limited");
    let rule = site.rule("again", "ci", json!({"repository_id": "74"})).await;
    let user = site.admin.get(&format!("/api/v1/users/{}", site.robot)).await.expect(200);
    let path = format!("/api/v1/users/{}/disable", site.robot);
    site.admin.change(Method::POST, &path, &user["version"], &json!({})).await.expect(200);
    site.run(&rule, &json!({"jti": "4"})).await.refused(400, "workload_token_refused");
    assert!(site.reasons(&rule, 1).await[0].contains("is not active here"));
}

/// Wrong tokens of one rule, of which each second ten are put on record.
const AT_ONCE: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_for_this_rule_gets_nothing() {
    let mut site = Site::open().await;
    let now = Clock::system().now().timestamp();
    let url = site.admin.url.clone();
    // What the token says.
    let mut wrong = Vec::new();
    for (changes, reason) in [
        (json!({"sub": "repo:acme/web:ref:refs/heads/evil"}), "the claim sub is not"),
        (json!({"sub": "repo:acme/web2:ref:refs/heads/main"}), "the claim sub is not"),
        (json!({"repository_id": "75"}), "the claim repository_id is not"),
        (json!({"repository_id": 74}), "the claim repository_id is not"),
        (json!({"ref_protected": true}), "the claim ref_protected is not"),
        (json!({"ref_protected": null}), "the claim ref_protected is not"),
        (json!({"iss": site.names[1]}), "of another issuer"),
        (json!({"iss": format!("{}/", site.names[0])}), "of another issuer"),
        (json!({"aud": "https://github.com/acme"}), "for somebody else"),
        (json!({"aud": [url, "https://other.example.com"]}), "for somebody else"),
        (json!({"aud": format!("{url}/")}), "for somebody else"),
        (json!({"aud": []}), "for somebody else"),
        (json!({"exp": now - 120}), "time is over or has not come"),
        (json!({"exp": null}), "`exp`"),
        (json!({"nbf": now + 120}), "time is over or has not come"),
        (json!({"iat": now + 120, "exp": now + 300}), "time is over or has not come"),
        (json!({"iat": null}), "`iat`"),
        (json!({"exp": now + 100_000}), "for more than 24 hours"),
        (json!({"nonce": "n-1"}), "somebody who signs in (`nonce`)"),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), "(`events`)"),
    ] {
        let claims = site.github(&changes);
        wrong.push((site.sign(json!({"issuer": "ci", "claims": claims})).await, reason));
    }
    // How it is signed.
    let claims = site.github(&json!({}));
    for (name, value, reason) in [
        ("by", json!("nobody"), "no signed token"),
        ("by", json!("hmac"), "signed by HS256 are not taken"),
        ("by", json!("foreign"), "does not hold"),
        ("header", json!({"kid": "ci-ec"}), "not for such signatures"),
        ("header", json!({"alg": "PS256"}), "not for such signatures"),
        ("header", json!({"alg": "none"}), "no signed token"),
        ("header", json!({"typ": "logout+jwt"}), "of another type"),
        ("header", json!({"crit": ["b64"], "b64": true}), "asks for an extension"),
    ] {
        let mut call = json!({"issuer": "ci", "claims": claims});
        call[name] = value;
        wrong.push((site.sign(call).await, reason));
    }
    for (token, reason) in [
        (String::new(), "no signed token"),
        ("a.b.c".to_owned(), "no signed token"),
        ("a".repeat(17_000), "too long"),
    ] {
        wrong.push((token, reason));
    }
    let fitting =
        json!({"sub": "repo:acme/web:ref:refs/heads/main", "repository_id": "74", "ref_protected": "true"});
    let mut rules = Vec::new();
    let mut answers = Vec::new();
    for (index, some) in wrong.chunks(AT_ONCE).enumerate() {
        let rule = site.rule(&format!("deploy {index}"), "ci", fitting.clone()).await;
        for (token, reason) in some {
            answers.push(site.exchange(&rule, token).await);
            rules.push((rule.clone(), token, reason));
        }
    }
    for (rule, token, expected) in &rules {
        let (reason, record) = site.reason(rule, token).await;
        assert!(reason.contains(*expected), "{expected}: {reason}");
        // Whom it is about is told once it is known to be true.
        let is_of_claims = reason.contains("the claim");
        assert_eq!(record["subject"].is_string(), is_of_claims, "{reason}: {record}");
    }
    // A rule that is not there, and one that gives no more keys.
    let good = site.sign(json!({"issuer": "ci", "claims": claims})).await;
    answers.push(site.exchange(UNKNOWN, &good).await);
    let told = |answer: &Answer| {
        let problem = answer.refused(400, "workload_token_refused");
        (text(&problem, "detail"), text(&problem, "hint"))
    };
    assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])));
    // All that while the same job with its own token is served.
    site.exchange(&rules[0].0, &good).await.expect(200);
    assert_eq!(site.psql("SELECT count(*) FROM clm.api_keys WHERE workload_rule_id IS NOT NULL").trim(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_have_been_published_since_is_asked_for_again_and_an_invented_one_is_not() {
    let mut site = Site::open().await;
    let rule = site.rule("deploy", "ci", json!({"repository_id": "74"})).await;
    let claims = site.github(&json!({}));
    let named = |kid: &str| json!({"issuer": "ci", "claims": claims, "header": {"kid": kid}});
    let good = site.sign(json!({"issuer": "ci", "claims": claims})).await;
    // Its keys are read for this call.
    let first = site.sign(named("invented-0")).await;
    site.exchange(&rule, &first).await.refused(400, "workload_token_refused");
    assert!(site.reason(&rule, &first).await.0.contains("no such key"));
    let asked = site.behave("ci", json!({})).await;
    for number in 1..4 {
        let token = site.sign(named(&format!("invented-{number}"))).await;
        let answer = site.exchange(&rule, &token).await;
        answer.refused(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    let of_others = site.sign(json!({"issuer": "people", "claims": claims})).await;
    site.exchange(&rule, &of_others).await.refused(503, "unavailable");
    site.exchange(&rule, &good).await.expect(200);
    assert_eq!(site.behave("ci", json!({})).await, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_holds_while_it_could_be_made() {
    let mut site = Site::open().await;
    let rule = site.rule("deploy", "ci", json!({"repository_id": "74"})).await;
    let vera = site.hire(&site.admin, "vera").await;
    let with = |column: &str, value: &str| {
        format!("UPDATE clm.workload_rules SET {column} = {value} WHERE id = '{rule}'")
    };
    let now = |column: &str| {
        format!("SELECT quote_literal({column}::text) FROM clm.workload_rules WHERE id = '{rule}'")
    };
    let mut number = 0;
    // Each as another provider, address or user of this service came by it.
    for (column, value, expected) in [
        ("issuer", "'https://ci.example.com'", "is not https://ci.example.com any more"),
        ("audiences", "'{https://old.example.com}'", "would not be made so now"),
        ("required_claims", "'{\"sub\": \"repo:*\"}'", "would not be made so now"),
        ("vouched_by", &format!("'{vera}'"), "may not vouch for the rule any more"),
    ] {
        let before = site.psql(&now(column)).trim().to_owned();
        site.psql(&with(column, value));
        number += 1;
        let claims = site.github(&json!({"jti": number}));
        let token = site.sign(json!({"issuer": "ci", "claims": claims})).await;
        site.exchange(&rule, &token).await.refused(400, "workload_token_refused");
        let (reason, _) = site.reason(&rule, &token).await;
        assert!(reason.contains(expected), "{reason}");
        site.psql(&with(column, &before));
        site.run(&rule, &json!({"jti": format!("good {number}")})).await.expect(200);
    }
    // Vera holds what the rule gives, but makes no keys; then she does; then she is not there any more.
    site.psql(&with("vouched_by", &format!("'{vera}'")));
    let body = json!({"user_id": vera, "role_id": ADMINISTRATOR});
    let path = "/api/v1/role-assignments";
    let given = site.admin.post(path, &body).await.expect(201);
    site.run(&rule, &json!({"jti": "administrator"})).await.expect(200);
    let revoke = format!("{path}/{}/revoke", text(&given, "id"));
    assert_eq!(site.admin.post(&revoke, &json!({})).await.status, 204);
    site.run(&rule, &json!({"jti": "requester"})).await.refused(400, "workload_token_refused");
    site.admin.post(path, &body).await.expect(201);
    let user = site.admin.get(&format!("/api/v1/users/{vera}")).await.expect(200);
    let path = format!("/api/v1/users/{vera}/disable");
    site.admin.change(Method::POST, &path, &user["version"], &json!({})).await.expect(200);
    site.run(&rule, &json!({"jti": "disabled"})).await.refused(400, "workload_token_refused");
    // Whoever looks at it anew vouches for it.
    let body = site.draft("deploy", "ci", &json!({"repository_id": "74"}));
    let path = format!("/api/v1/workload-rules/{rule}");
    let changed = site.admin.change(Method::PUT, &path, &json!(1), &body).await.expect(200);
    assert_eq!((&changed["vouched_by"], &changed["issuer"]), (&json!(site.admin.id), &json!(site.names[0])));
    site.run(&rule, &json!({"jti": "again"})).await.expect(200);
    // To end it one need not read it.
    let body = json!({"name": "ender", "scopes": ["api_key:write"]});
    let key = text(&site.admin.post("/api/v1/api-keys", &body).await.expect(201), "secret");
    let ender = Person { key, ..site.admin.clone() };
    ender.get(&path).await.refused(403, "permission_denied");
    let call = ender.call(Method::DELETE, &path).header("if-match", "*");
    assert_eq!(ender.send(call).await.status, 204);
    let claims = site.github(&json!({"jti": "late"}));
    let token = site.sign(json!({"issuer": "ci", "claims": claims})).await;
    site.exchange(&rule, &token).await.refused(400, "workload_token_refused");
    assert!(site.reason(&rule, &token).await.0.contains("disabled or deleted"));
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
    // Its key is not known there: it might have been published since the keys were read for the call before.
    site.exchange(&of_people, &token).await.refused(503, "unavailable");
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
