//! The API's edge, judged from outside: problems, limits, credentials, and that nothing is missing in a table.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::harness::{Answer, api, api_within, ask, request};
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use clm_core::tokens::{Token, TokenKind};
use clm_core_web::routes::{Access, ROUTES};
use clm_core_web::{Limits, Rate};
use clm_types::{Entropy, ErrorCode};
use serde_json::Value;

fn check_problem(answer: &Answer, status: u16, code: &str) {
    let problem = answer.json();
    assert_eq!(answer.status.as_u16(), status, "{problem}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["code"], code);
    assert_eq!(problem["type"], format!("/problems/{code}"));
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    assert!(problem["hint"].is_string() && problem["instance"].is_string());
}

fn check_scim_error(answer: &Answer, status: u16) {
    let error = answer.json();
    assert_eq!(answer.status.as_u16(), status, "{error}");
    assert_eq!(answer.header("content-type"), "application/scim+json");
    assert_eq!(error["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
    assert_eq!(error["status"], status.to_string());
    assert!(error["detail"].is_string());
}

fn concrete(path: &str) -> String {
    let id = "0199f0c0-0000-7000-8000-000000000000";
    path.replace("{id}", id).replace("{code}", "not_found").replace("{name}", "User")
}

#[tokio::test]
async fn an_unknown_address_is_a_problem() {
    let answer = ask(api(), request("GET", "/api/v2/x").body(Body::empty()).unwrap()).await;
    check_problem(&answer, 404, "not_found");
    check_scim_error(&ask(api(), request("GET", "/scim/v2/x").body(Body::empty()).unwrap()).await, 404);
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
    let answer = ask(api(), request("DELETE", "/api/v1/me").body(Body::empty()).unwrap()).await;
    check_problem(&answer, 405, "method_not_allowed");
    assert!(answer.header("allow").contains("GET"));
}

#[tokio::test]
async fn every_route_but_the_public_ones_asks_for_credentials() {
    let router = api();
    for route in ROUTES.iter().filter(|route| route.access != Access::Public) {
        let asked = request(route.method, &concrete(route.path));
        let answer = ask(router.clone(), asked.body(Body::empty()).unwrap()).await;
        if route.path.starts_with("/scim/") {
            check_scim_error(&answer, 401);
        } else {
            check_problem(&answer, 401, "unauthenticated");
        }
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{}", route.path);
    }
}

#[tokio::test]
async fn what_is_no_api_key_is_refused_without_asking_the_database() {
    for value in ["Basic eDp5", "Bearer", "Bearer x", "Bearer clm_pat_0000000000000000000000000000000000000"]
    {
        let asked = request("GET", "/api/v1/me").header("authorization", value);
        let answer = ask(api(), asked.body(Body::empty()).unwrap()).await;
        check_problem(&answer, 401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_a_problem_to_be_retried() {
    let token = Token::generate(TokenKind::Personal, &Entropy::system());
    let asked = request("GET", "/api/v1/me").header("authorization", format!("Bearer {}", token.expose()));
    let answer = ask(api(), asked.body(Body::empty()).unwrap()).await;
    check_problem(&answer, 503, "unavailable");
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.json()["retryable"], true);
    assert!(!answer.json()["detail"].as_str().unwrap().contains("127.0.0.1"));
}

#[tokio::test]
async fn a_body_of_100_mib_is_refused_unread() {
    // A body that is read would panic.
    let body = Body::from_stream(futures_never());
    let asked = request("POST", "/api/v1/bootstrap").header("content-length", 100 * 1024 * 1024);
    let answer = ask(api(), asked.body(body).unwrap()).await;
    check_problem(&answer, 413, "body_too_large");
}

fn futures_never() -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::poll_fn(|_| panic!("the body was read"))
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = std::iter::repeat_n(chunk, 64).map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(futures::stream::iter(chunks));
    let asked = request("POST", "/api/v1/bootstrap").header("content-type", "application/json");
    let answer = ask(api(), asked.body(body).unwrap()).await;
    check_problem(&answer, 413, "body_too_large");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_problems() {
    let cases = [
        ("text/plain", "{}", 415, "unsupported_media_type"),
        ("application/json", "{", 400, "invalid_request"),
        ("application/json", "[]", 400, "invalid_request"),
        ("application/json", "{\"nonsense\": 1}", 400, "invalid_request"),
        ("application/json", "\u{0}", 400, "invalid_request"),
    ];
    for (content_type, body, status, code) in cases {
        let asked = request("POST", "/api/v1/bootstrap").header("content-type", content_type);
        check_problem(&ask(api(), asked.body(body.into()).unwrap()).await, status, code);
    }
}

#[tokio::test]
async fn every_error_code_has_a_page() {
    let router = api();
    for code in ErrorCode::ALL {
        let path = format!("/problems/{code}");
        let answer = ask(router.clone(), request("GET", &path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["code"], code.as_str());
    }
    let answer = ask(api(), request("GET", "/problems/x").body(Body::empty()).unwrap()).await;
    check_problem(&answer, 404, "not_found");
}

#[tokio::test]
async fn a_request_id_that_is_a_uuid_is_kept_and_anything_else_replaced() {
    let id = "0199f0c0-0000-7000-8000-000000000001";
    let answer =
        ask(api(), request("GET", "/x").header("x-request-id", id).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("x-request-id"), id);
    let forged = request("GET", "/x").header("x-request-id", "a line\tin the log");
    let answer = ask(api(), forged.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    for path in ["/problems", "/api/v1/me", "/x"] {
        let answer = ask(api(), request("GET", path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
        assert!(answer.header("strict-transport-security").starts_with("max-age="));
    }
}

fn endless_body() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
}

fn endless_bootstrap() -> Request<Body> {
    request("POST", "/api/v1/bootstrap")
        .header("content-type", "application/json")
        .body(endless_body())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_without_credentials_keep_only_each_other_waiting() {
    // Who sends slowly holds no place to run.
    let router =
        api_within(&Limits { concurrent_requests: 20, concurrent_per_caller: 20, ..Limits::default() });
    let slow: Vec<_> = (0..16).map(|_| tokio::spawn(ask(router.clone(), endless_bootstrap()))).collect();
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    check_problem(&ask(router.clone(), endless_bootstrap()).await, 503, "unavailable");
    let other = request("GET", "/problems").body(Body::empty()).unwrap();
    assert_eq!(ask(router.clone(), other).await.status, StatusCode::OK);
    // Without credentials the body of any other route is not waited for.
    let other = request("POST", "/api/v1/users").body(endless_body()).unwrap();
    check_problem(&ask(router, other).await, 401, "unauthenticated");
    assert!(slow.iter().all(|one| !one.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn a_body_without_credentials_has_five_seconds_and_4_kib() {
    let began = tokio::time::Instant::now();
    check_problem(&ask(api(), endless_bootstrap()).await, 503, "unavailable");
    assert!(began.elapsed() < std::time::Duration::from_secs(6));
    let asked = request("POST", "/api/v1/bootstrap").header("content-type", "application/json");
    let answer = ask(api(), asked.body(Body::from(vec![b' '; 4097])).unwrap()).await;
    check_problem(&answer, 413, "body_too_large");
}

#[tokio::test]
async fn an_address_that_sends_many_different_wrong_tokens_has_to_wait() {
    let router = api();
    let attempt = |address: &str, number: u32| {
        let peer: SocketAddr = address.parse().unwrap();
        let body = serde_json::json!({"token": format!("wrong {number}"), "username": "a", "email": "a@b.example",
            "organization_code": "a", "organization_name": "a"});
        request("POST", "/api/v1/bootstrap")
            .header("content-type", "application/json")
            .extension(ConnectInfo(peer))
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    for number in 0..60 {
        let answer = ask(router.clone(), attempt("192.0.2.1:1", number)).await;
        check_problem(&answer, 403, "bootstrap_token_invalid");
    }
    let answer = ask(router.clone(), attempt("192.0.2.1:2", 60)).await;
    check_problem(&answer, 429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "1");
    let answer = ask(router, attempt("192.0.2.2:1", 60)).await;
    check_problem(&answer, 403, "bootstrap_token_invalid");
}

#[tokio::test]
async fn who_asks_too_often_is_refused_before_the_database_is_asked() {
    let rate = Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(3).unwrap() };
    let router = api_within(&Limits { reads: rate, writes: rate, ..Limits::default() });
    let ask_from = |address: &str, method: &str| {
        let peer: SocketAddr = address.parse().unwrap();
        let token = Token::generate(TokenKind::Personal, &Entropy::system());
        let asked = request(method, "/api/v1/requests").extension(ConnectInfo(peer));
        let asked = asked.header("authorization", format!("Bearer {}", token.expose()));
        ask(router.clone(), asked.body(endless_body()).unwrap())
    };
    for _ in 0..3 {
        // The database is away.
        check_problem(&ask_from("192.0.2.1:1", "GET").await, 503, "unavailable");
    }
    // Another key, invented too, does not help.
    let answer = ask_from("192.0.2.1:2", "GET").await;
    check_problem(&answer, 429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "1");
    check_problem(&ask_from("192.0.2.1:1", "POST").await, 503, "unavailable");
    check_problem(&ask_from("[2001:db8::1]:1", "GET").await, 503, "unavailable");
}

#[tokio::test]
async fn the_served_description_names_the_address_of_the_installation() {
    let answer = ask(api(), request("GET", "/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["servers"][0]["url"], "https://clm.example.com:8443");
}

#[test]
fn the_page_of_error_codes_is_fresh() {
    let page = include_str!("../../../../docs/reference/error-codes.md");
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 5).collect();
    for code in ErrorCode::ALL {
        let kind = clm_core_web::problem_kinds::problem_kind(*code);
        let again = if code.is_retryable() { " ↻" } else { "" };
        let row = format!("| `{code}` | {}{again} | {} | {} |", kind.status.as_u16(), kind.title, kind.fix);
        assert!(rows.contains(&row.as_str()), "docs/reference/error-codes.md lacks\n{row}");
    }
    assert_eq!(
        rows.len(),
        ErrorCode::ALL.len(),
        "docs/reference/error-codes.md holds a code that does not exist, or one twice"
    );
}

#[test]
fn the_table_and_the_description_name_the_same_routes() {
    let document: Value = serde_json::from_str(clm_core_web::openapi::text()).unwrap();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let table: BTreeSet<(String, String)> = ROUTES
        .iter()
        // The description does not describe itself.
        .filter(|route| route.path != "/openapi.json")
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(described, table);
    assert_eq!(ROUTES.len(), table.len() + 1, "a route stands twice in the table");
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| walk(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(clm_core_web::openapi::text()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut references = BTreeSet::new();
    walk(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}

#[test]
fn the_committed_description_is_fresh() {
    let committed = include_str!("../../../../docs/reference/openapi.json");
    assert!(
        committed == clm_core_web::openapi::text(),
        "run `clm-core openapi > docs/reference/openapi.json`"
    );
}
