//! Requests whose members are wrong: names, lifetimes, references, texts.

use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{DAY, ENDING, Office, ROOT, at_once, house, office};
use crate::person::Person;

const UNKNOWN: &str = "0198f000-0000-7000-8000-000000000000";

/// A request that would be granted, with these members instead.
fn request(changes: &Value) -> Value {
    let mut body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Each change is refused with its status and code, about this field.
async fn refuses(office: &Office, cases: &[(Value, u16, &str, &str)]) {
    let rows = house().await.rows(&office.organization);
    for (changes, status, code, field) in cases {
        let answer = office.alice.post("/api/v1/requests", &request(changes)).await;
        println!("{changes}: {}", answer.text());
        let problem = answer.refused(*status, code);
        if !field.is_empty() {
            assert_eq!(problem["errors"][0]["pointer"], *field, "{problem:#}");
            assert_eq!(problem["errors"][0]["code"], *code);
        }
    }
    assert_eq!(house().await.rows(&office.organization), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_may_not_stand_in_a_certificate_are_refused() {
    let office = office().await;
    let mut narrow = at_once();
    narrow["names"] = json!({"dns_suffixes": ["example.com"], "ip_ranges": ["10.0.0.0/8"]});
    office.policy("narrow", &narrow).await;
    let many: Vec<String> = (0..1000).map(|number| format!("dns:n{number}.example.com")).collect();
    let under = |sans: Value| json!({"policy": "narrow", "sans": sans});
    let client = |sans: Value| json!({"policy": "narrow", "profile": "tls-client", "sans": sans});
    refuses(
        &office,
        &[
            (json!({"sans": []}), 422, "name_missing", ""),
            (json!({"sans": many}), 422, "too_many_names", "/sans"),
            (json!({"sans": ["dns:www\0.example.com"]}), 422, "name_control_character", "/sans/0"),
            (
                json!({"sans": ["dns:a.example", "dns:b\nücher.example"]}),
                422,
                "name_control_character",
                "/sans/1",
            ),
            (json!({"sans": ["dns:bücher.example"]}), 422, "name_not_ascii", "/sans/0"),
            (json!({"sans": ["dns:"]}), 422, "name_invalid", "/sans/0"),
            (json!({"sans": ["dns:a..b"]}), 422, "name_invalid", "/sans/0"),
            (json!({"sans": ["dns:xn--a.example"]}), 422, "name_invalid", "/sans/0"),
            (json!({"sans": ["ip:300.1.1.1"]}), 422, "name_invalid", "/sans/0"),
            (json!({"sans": ["uri:javascript:alert(1)"]}), 422, "name_invalid", "/sans/0"),
            (json!({"sans": ["dns:*"]}), 422, "wildcard_misplaced", "/sans/0"),
            (json!({"sans": ["email:ann@example.com"]}), 422, "name_kind_not_allowed", ""),
            (json!({"subject": "CN=other.example.com"}), 422, "common_name_not_in_names", ""),
            (json!({"subject": "www.example.com"}), 422, "name_invalid", "/subject"),
            (json!({"subject": "CN=a\0b"}), 422, "name_control_character", "/subject"),
            (json!({"subject": "C=Germany,CN=www.example.com"}), 422, "name_invalid", "/subject"),
            (json!({"subject": "FAVOURITE=blue"}), 422, "name_invalid", "/subject"),
            (under(json!(["dns:www.example.net"])), 422, "name_not_allowed", "/sans/0"),
            (under(json!(["dns:*.example.com"])), 422, "wildcard_not_allowed", "/sans/0"),
            (under(json!(["ip:192.0.2.1"])), 422, "name_not_allowed", "/sans/0"),
            (under(json!(["ip:::ffff:192.0.2.1"])), 422, "name_not_allowed", "/sans/0"),
            (under(json!(["uri:https://www.example.com/"])), 422, "name_not_allowed", "/sans/0"),
            (client(json!(["email:ann@example.com"])), 422, "name_not_allowed", "/sans/0"),
            (client(json!(["dns:*.example.com"])), 422, "wildcard_not_allowed", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_u_label_is_refused_with_the_name_to_send() {
    let office = office().await;
    let body = request(&json!({"sans": ["dns:bücher.example"]}));
    let problem = office.alice.post("/api/v1/requests", &body).await.refused(422, "name_not_ascii");
    assert!(text(&problem, "hint").contains("xn--bcher-kva.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_and_keys_that_are_not_allowed_are_refused() {
    let office = office().await;
    let mut narrow = at_once();
    narrow["key_algorithms"] = json!(["ecdsa-p384"]);
    narrow["max_validity_seconds"] = json!(10 * DAY);
    office.policy("narrow", &narrow).await;
    narrow["key_sources"] = json!(["csr"]);
    office.policy("own-keys", &narrow).await;
    let seconds = |seconds: u64| json!({"validity_seconds": seconds});
    refuses(
        &office,
        &[
            (seconds(0), 422, "validity_invalid", "/validity_seconds"),
            (seconds(399 * DAY), 422, "validity_too_long", "/validity_seconds"),
            (seconds(u64::MAX), 422, "validity_too_long", "/validity_seconds"),
            (seconds(u64::MAX / 2 - 1), 422, "validity_too_long", "/validity_seconds"),
            (json!({"validity_seconds": -1}), 400, "invalid_request", ""),
            (json!({"validity_seconds": 1.5}), 400, "invalid_request", ""),
            (
                json!({"authority": ENDING, "validity_seconds": 11 * DAY}),
                422,
                "validity_beyond_authority",
                "/validity_seconds",
            ),
            (
                json!({"policy": "narrow", "key_algorithm": "ecdsa-p384", "validity_seconds": 10 * DAY + 1}),
                422,
                "validity_too_long",
                "/validity_seconds",
            ),
            (json!({"policy": "narrow"}), 422, "key_algorithm_not_allowed", "/key_algorithm"),
            (
                json!({"policy": "own-keys", "key_algorithm": "ecdsa-p384"}),
                422,
                "key_algorithm_not_allowed",
                "/key_algorithm",
            ),
            (json!({"key_algorithm": "rsa-1024"}), 400, "invalid_request", ""),
            (json!({"key_algorithm": null}), 400, "invalid_request", "/csr_pem"),
            (json!({"csr_pem": "x"}), 400, "invalid_request", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_or_belongs_to_others_is_not_found() {
    let office = office().await;
    let stranger = office.stranger().await;
    let foreign_policy = stranger.policy("theirs", &at_once()).await;
    let disabled = crate::house::hire(&office.admin, &format!("gone-{}", office.organization), &[]).await;
    office.admin.post(&format!("/api/v1/users/{}/disable", disabled.id), &json!({})).await.expect(200);
    let body = json!({"code": "old", "name": "Old", "rules": at_once()});
    let old = office.admin.post("/api/v1/policies", &body).await.expect(201);
    let old_id = text(&old, "id");
    office.put(&format!("/api/v1/policies/{old_id}"), &old["version"], &body).await.expect(201);
    refuses(
        &office,
        &[
            (json!({"policy": UNKNOWN}), 404, "policy_not_found", "/policy"),
            (json!({"policy": "no-such"}), 404, "policy_not_found", "/policy"),
            (json!({"policy": "theirs"}), 404, "policy_not_found", "/policy"),
            (json!({"policy": foreign_policy}), 404, "policy_not_found", "/policy"),
            (json!({"policy": ""}), 404, "policy_not_found", "/policy"),
            (json!({"policy": "a\0b"}), 400, "invalid_request", ""),
            (json!({"policy": old_id}), 422, "policy_not_active", ""),
            (json!({"owner_user_id": UNKNOWN}), 404, "user_not_found", "/owner_user_id"),
            (json!({"owner_user_id": stranger.alice.id}), 404, "user_not_found", "/owner_user_id"),
            (json!({"owner_user_id": disabled.id}), 403, "user_not_active", "/owner_user_id"),
            (json!({"owner_user_id": "alice"}), 400, "invalid_request", ""),
            (json!({"authority": UNKNOWN}), 404, "authority_not_found", ""),
            (json!({"authority": "No Such CA"}), 404, "authority_not_found", ""),
            (json!({"authority": ROOT}), 422, "profile_not_allowed", ""),
            (json!({"profile": "tls-everything"}), 404, "profile_not_found", "/profile"),
            (json!({"profile": "root-ca"}), 404, "profile_not_found", "/profile"),
            (json!({"profile": "issuing-ca"}), 404, "profile_not_found", "/profile"),
            (
                json!({"policy": "tls-server", "profile": "tls-client"}),
                422,
                "profile_not_allowed",
                "/profile",
            ),
        ],
    )
    .await;
    let problem = office.alice.post("/api/v1/requests", &request(&json!({"owner_user_id": UNKNOWN}))).await;
    assert!(text(&problem.refused(404, "user_not_found"), "detail").contains("User not found"));
    let problem = office.alice.post("/api/v1/requests", &request(&json!({"policy": UNKNOWN}))).await;
    assert!(text(&problem.refused(404, "policy_not_found"), "detail").contains("Policy not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_or_foreign_organization_is_not_found() {
    let office = office().await;
    let stranger = office.stranger().await;
    for organization in [UNKNOWN, "not an id", stranger.organization.as_str()] {
        let alice = Person { organization: Some(organization.to_owned()), ..office.alice.clone() };
        alice.post("/api/v1/requests", &request(&json!({}))).await.refused(404, "organization_not_found");
        alice.get("/api/v1/certificates").await.refused(404, "organization_not_found");
    }
    let suspend = format!("/api/v1/organizations/{}/suspend", stranger.organization);
    let elsewhere = Person { organization: Some(office.organization.clone()), ..office.admin.clone() };
    elsewhere.post(&suspend, &json!({})).await.expect(200);
    let answer = stranger.alice.post("/api/v1/requests", &request(&json!({}))).await;
    answer.refused(403, "organization_not_active");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_cannot_be_stored_are_refused_and_never_an_internal_error() {
    let office = office().await;
    let long = "x".repeat(5000);
    let tags: serde_json::Map<String, Value> =
        (0..60).map(|number| (format!("t{number}"), json!("x"))).collect();
    refuses(
        &office,
        &[
            (json!({"comment": "a\0b"}), 400, "invalid_request", "/comment"),
            (json!({"comment": long}), 400, "invalid_request", "/comment"),
            (json!({"tags": {"a\0b": "c"}}), 400, "invalid_request", ""),
            (json!({"tags": {"a": "b\0c"}}), 400, "invalid_request", ""),
            (json!({"tags": {"": "b"}}), 400, "invalid_request", ""),
            (json!({"tags": tags}), 400, "invalid_request", "/tags"),
            (json!({"environment": "a\0b"}), 400, "invalid_request", "/environment"),
            (json!({"category": long}), 400, "invalid_request", "/category"),
            (json!({"custom_fields": {"a": "b\0c"}}), 400, "invalid_request", ""),
            (json!({"custom_fields": {"a": [{"b\0": 1}]}}), 400, "invalid_request", ""),
            (json!({"custom_fields": {"a": "x".repeat(20_000)}}), 400, "invalid_request", ""),
            (json!({"custom_fields": []}), 400, "invalid_request", ""),
            (json!({"surprise": 1}), 400, "invalid_request", ""),
            (json!({"sans": "dns:www.example.com"}), 400, "invalid_request", ""),
            (json!({"profile": 7}), 400, "invalid_request", ""),
        ],
    )
    .await;
    let admin = &office.admin;
    for (path, body) in [
        ("/api/v1/users", json!({"username": "a\0b", "email": "a@example.org"})),
        ("/api/v1/users", json!({"username": "ab", "email": "a\0@example.org"})),
        ("/api/v1/users", json!({"username": "ab", "email": "a@example.org", "display_name": "a\0"})),
        ("/api/v1/organizations", json!({"code": "a\0", "name": "x"})),
        ("/api/v1/organizations", json!({"code": "a", "name": "x\0"})),
        ("/api/v1/api-keys", json!({"name": "a\0"})),
        ("/api/v1/api-keys", json!({"name": "a", "scopes": ["everything"]})),
        ("/api/v1/api-keys", json!({"name": "a", "allowed_addresses": ["nowhere"]})),
        ("/api/v1/api-keys", json!({"name": "a", "expires_at": "2020-01-01T00:00:00Z"})),
        ("/api/v1/api-keys", json!({"name": "a", "expires_at": "+262142-01-01T00:00:00Z"})),
        ("/api/v1/roles", json!({"code": "r", "name": "a\0", "permissions": []})),
        ("/api/v1/roles", json!({"code": "r", "name": "a", "permissions": ["fly:high"]})),
        ("/api/v1/roles", json!({"code": "r", "name": "a", "description": "\0", "permissions": []})),
        ("/api/v1/policies", json!({"code": "p", "name": "a\0", "rules": at_once()})),
        (
            "/api/v1/workflows",
            json!({"code": "w", "name": "a\0", "kind": "issuance", "definition": {"steps": []}}),
        ),
    ] {
        let answer = admin.post(path, &body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        answer.refused(400, "invalid_request");
    }
    let mut rules = at_once();
    rules["names"]["uri_prefixes"] = json!(["https:\0"]);
    let frameworks =
        json!({"code": "p", "name": "a", "rules": at_once(), "compliance_frameworks": [{"a": "\0"}]});
    for body in [json!({"code": "p", "name": "a", "rules": rules}), frameworks] {
        let answer = admin.post("/api/v1/policies", &body).await;
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.text());
    }
    let assignment = json!({"user_id": office.bob.id, "role_id": crate::house::REQUESTER, "reason": "\0"});
    admin.post("/api/v1/role-assignments", &assignment).await.refused(400, "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_mean_nothing_are_refused_and_odd_texts_find_nothing() {
    let office = office().await;
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=many",
        "cursor=x",
        "cursor=%00",
        "status=lost",
        "owner=alice",
        "expires_before=soon",
        "surprise=1",
        "limit=1&limit=2",
    ] {
        let answer = office.alice.get(&format!("/api/v1/certificates?{query}")).await;
        println!("{query}: {}", answer.text());
        answer.refused(400, "invalid_request");
    }
    for query in [
        "san=%00",
        "tag=%00",
        "tag=a%00%3Db",
        "text=%00",
        "text=%25",
        "text=_",
        "text=%5C",
        "text=%27%3B--",
        "tag=%7B",
        "san=%2A.%2A",
        "expires_before=%2B262142-01-01T00%3A00%3A00Z",
        "expires_after=-262143-01-01T00%3A00%3A00Z",
    ] {
        let answer = office.alice.get(&format!("/api/v1/certificates?{query}")).await;
        assert!(answer.status < 500, "{query}: {}", answer.text());
        if answer.status == 200 {
            assert_eq!(answer.expect(200)["items"], json!([]), "{query}");
        }
    }
    for path in [
        "/api/v1/certificates/lookup",
        "/api/v1/certificates/lookup?sha256=xyz",
        "/api/v1/certificates/lookup?serial=%00",
        "/api/v1/requests?status=lost",
        "/api/v1/policies?limit=0",
    ] {
        let answer = office.alice.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.text());
    }
    for path in ["/api/v1/policies?code=%00", "/api/v1/policies?status=%00", "/api/v1/workflows?code=%00"] {
        let answer = office.alice.get(path).await;
        assert!(answer.status < 500, "{path}: {}", answer.text());
    }
    let path = "/api/v1/audit?action=%00&since=-262143-01-01T00%3A00%3A00Z";
    assert!(office.admin.get(path).await.status < 500);
}
