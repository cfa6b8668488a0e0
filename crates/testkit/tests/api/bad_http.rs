//! What is wrong before any rule is asked: credentials, addresses, methods, media types, sizes.

use std::time::{Duration, Instant};

use reqwest::{Body, Method};
use serde_json::json;

use crate::answer::Answer;
use crate::house::{house, office};
use crate::person::{Person, fresh_key};

const REQUESTS: &str = "/api/v1/requests";

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused() {
    let office = office().await;
    let alice = &office.alice;
    let with = |value: String| {
        let call = alice.client.get(format!("{}/api/v1/me", alice.url)).header("authorization", value);
        alice.send(call)
    };
    let mut other_end = alice.key.clone();
    let last = if other_end.pop() == Some('0') { '1' } else { '0' };
    other_end.push(last);
    for value in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {}", alice.key),
        format!("Bearer {other_end}"),
        format!("Bearer {} {}", alice.key, alice.key),
        "Bearer clm_pat_000000000000000000000000000000000000".to_owned(),
        format!("Bearer {}", "x".repeat(10_000)),
    ] {
        let answer = with(value).await;
        answer.refused(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let nothing = alice.client.get(format!("{}/api/v1/me", alice.url));
    alice.send(nothing).await.refused(401, "unauthenticated");
    with(format!("bearer {}", alice.key)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_and_methods_are_problems_too() {
    let office = office().await;
    let alice = &office.alice;
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/requests",
        "/api/v1/requests/",
        "/api/v1/nothing",
        "/metrics",
        "/livez",
        "/api/v1/certificates/7",
        "/api/v1/certificates/%00",
        "/api/v1/certificates/%ff%fe",
        "/api/v1/requests/../certificates/x",
        "/crl/x.crl",
        "/problems/no_such_code",
    ] {
        let answer = alice.get(path).await;
        println!("{path}: {}", answer.text());
        answer.refused(404, "not_found");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/api/v1/certificates", "GET, HEAD"),
        (Method::PUT, REQUESTS, "POST, GET, HEAD"),
        (Method::POST, "/api/v1/me", "GET, HEAD"),
        (Method::PATCH, "/openapi.json", "GET, HEAD"),
        (Method::OPTIONS, "/api/v1/me", "GET, HEAD"),
        (Method::TRACE, "/api/v1/me", "GET, HEAD"),
        (Method::from_bytes(b"BREW").unwrap(), "/api/v1/me", "GET, HEAD"),
    ] {
        let answer = alice.send(alice.call(method.clone(), path)).await;
        println!("{method} {path}: {}", answer.text());
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_of_the_right_shape_are_refused() {
    let office = office().await;
    let rows = house().await.rows(&office.organization);
    let send = |media_type: Option<&'static str>, body: Vec<u8>| {
        let call =
            office.alice.call(Method::POST, REQUESTS).header("idempotency-key", fresh_key()).body(body);
        office.alice.send(match media_type {
            Some(media_type) => call.header("content-type", media_type),
            None => call,
        })
    };
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    let good = body.to_string().into_bytes();
    for media_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        send(media_type, good.clone()).await.refused(415, "unsupported_media_type");
    }
    let nested = [b"{\"custom_fields\":".repeat(500), b"1".to_vec(), b"}".repeat(500)].concat();
    let text = body.to_string();
    for octets in [
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"x\"".to_vec(),
        b"{}".to_vec(),
        b"".to_vec(),
        b"{\"profile\":\"\xff\xfe\"}".to_vec(),
        b"{\"profile\":\"tls-server\",}".to_vec(),
        format!("{text}{text}").into_bytes(),
        text.replacen('{', "{\"profile\":\"tls-client\",", 1).into_bytes(),
        text.replace("tls-server", "\\ud800").into_bytes(),
        nested,
        [&[0xef, 0xbb, 0xbf], good.as_slice()].concat(),
        good[..good.len() - 1].to_vec(),
    ] {
        let answer = send(Some("application/json"), octets).await;
        println!("{}", answer.text());
        answer.refused(400, "invalid_request");
    }
    assert_eq!(house().await.rows(&office.organization), rows);
    send(Some("application/json; charset=utf-8"), good).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mib_is_refused_soon_and_not_kept() {
    const SIZE: u64 = 100 << 20;
    let office = office().await;
    let nobody = Person { key: "nobody".to_owned(), ..office.alice.clone() };
    let core = house().await.installation.core.pid().unwrap().number();
    let before = resident_octets(core);
    let began = Instant::now();
    let too_large = (413, "body_too_large");
    for (person, unannounced) in [(&office.alice, too_large), (&nobody, (401, "unauthenticated"))] {
        for announced in [true, false] {
            let (blocks, sent) = blocks(SIZE);
            let call = person.call(Method::POST, REQUESTS).header("idempotency-key", fresh_key());
            let call = call.header("content-type", "application/json").body(Body::wrap_stream(blocks));
            let call = if announced { call.header("content-length", SIZE) } else { call };
            match call.send().await {
                Ok(response) => {
                    let (status, problem) = if announced { too_large } else { unannounced };
                    Answer::read(response).await.refused(status, problem);
                }
                // Who stops reading in the middle may have closed before the client has heard why.
                Err(error) => assert!(!announced, "{error:?}"),
            }
            let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
            assert!(sent < SIZE / 4, "{sent} octets went out");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let grown = resident_octets(core).saturating_sub(before);
    assert!(grown < 60 << 20, "the service grew by {grown} octets");
}

/// A stream of this many octets, and how many of them were asked for.
fn blocks(
    size: u64,
) -> (
    impl futures::Stream<Item = Result<Vec<u8>, std::io::Error>> + Send + 'static,
    std::sync::Arc<std::sync::atomic::AtomicU64>,
) {
    const BLOCK: u64 = 64 * 1024;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&sent);
    let blocks = (0..size / BLOCK).map(move |_| {
        count.fetch_add(BLOCK, std::sync::atomic::Ordering::Relaxed);
        Ok(vec![b' '; 64 * 1024])
    });
    (futures::stream::iter(blocks), sent)
}

/// What a process occupies.
fn resident_octets(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_is_explained_and_the_description_is_served() {
    let office = office().await;
    let alice = &office.alice;
    for code in clm_types::ErrorCode::ALL {
        let kind = alice.get(&format!("/problems/{code}")).await;
        assert_eq!(kind.status, 200, "{code}");
        assert!(kind.text().contains(code.as_str()), "{code}");
    }
    let description = alice.get("/openapi.json").await.expect(200);
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let answer = alice.get("/api/v1/me").await;
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    let id = "0198f000-0000-7000-8000-00000000abcd";
    let call = alice.call(Method::GET, "/api/v1/me").header("x-request-id", id);
    assert_eq!(alice.send(call).await.header("x-request-id"), id);
}
