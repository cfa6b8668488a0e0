//! The validation listener, judged from outside.

use std::net::TcpListener;
use std::time::Duration;

use crate::harness::{ask, request, validation, validation_over};
use axum::body::{Body, Bytes};
use axum::http::StatusCode;

const AUTHORITY: &str = "0199f0c0-0000-7000-8000-000000000000";
/// OCSPResponse with the status malformedRequest (RFC 6960 §4.2.1).
const MALFORMED: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x01];
/// The same with tryLater.
const TRY_LATER: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x03];

#[tokio::test]
async fn nothing_but_the_signed_bytes_is_served() {
    for path in ["/", "/api/v1/me", "/openapi.json", "/metrics", "/crl", "/crl/x.crl", "/crl/../ca/x.crt"] {
        let answer = ask(validation(), request("GET", path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let wrong_ending = format!("/ca/{AUTHORITY}.exe");
    let answer = ask(validation(), request("GET", &wrong_ending).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_malformed_ocsp_request_has_an_ocsp_answer() {
    let path = format!("/ocsp/{AUTHORITY}");
    let asked = request("POST", &path).header("content-type", "application/ocsp-request");
    let answer = ask(validation(), asked.body(Body::from("junk")).unwrap()).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/ocsp-response"));
    assert_eq!(answer.body, MALFORMED);
    for encoded in ["anVuaw==", "anVuaw%3D%3D", "!!!", "a/b/c"] {
        let path = format!("/ocsp/{AUTHORITY}/{encoded}");
        let answer = ask(validation(), request("GET", &path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.body, MALFORMED, "{encoded}");
        assert!(!answer.headers.contains_key("cache-control"));
    }
}

#[tokio::test]
async fn an_ocsp_request_of_another_media_type_or_size_is_refused() {
    let path = format!("/ocsp/{AUTHORITY}");
    let asked = request("POST", &path).header("content-type", "text/plain");
    let answer = ask(validation(), asked.body(Body::from("junk")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let asked = request("POST", &path).header("content-type", "application/ocsp-request");
    let answer = ask(validation(), asked.body(Body::from(vec![0; 20_000])).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_crl_that_cannot_be_fetched_is_a_matter_of_time() {
    let path = format!("/crl/{AUTHORITY}.crl");
    let answer = ask(validation(), request("GET", &path).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn lists_of_parts_and_deltas_have_one_address_each() {
    for (file, status) in [
        ("7.crl", StatusCode::SERVICE_UNAVAILABLE),
        ("7-delta.crl", StatusCode::SERVICE_UNAVAILABLE),
        ("0-delta.crl", StatusCode::SERVICE_UNAVAILABLE),
        ("0.crl", StatusCode::NOT_FOUND),
        ("07.crl", StatusCode::NOT_FOUND),
        ("-1.crl", StatusCode::NOT_FOUND),
        ("70000.crl", StatusCode::NOT_FOUND),
        ("x.crl", StatusCode::NOT_FOUND),
        ("7.crt", StatusCode::NOT_FOUND),
    ] {
        let path = format!("/crl/{AUTHORITY}/{file}");
        let answer = ask(validation(), request("GET", &path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{file}");
    }
}

#[tokio::test]
async fn a_listener_that_is_too_busy_says_so_at_once() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = validation_over(&format!("https://{}", silent.local_addr().unwrap()));
    let path = format!("/crl/{AUTHORITY}.crl");
    let crl = || request("GET", &path).body(Body::empty()).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..512 {
        let mut one = Box::pin(ask(router.clone(), crl()));
        assert!(futures::poll!(&mut one).is_pending());
        waiting.push(one);
    }
    let answer = ask(router.clone(), crl()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
    let asked =
        request("POST", &format!("/ocsp/{AUTHORITY}")).header("content-type", "application/ocsp-request");
    let answer = ask(router.clone(), asked.body(Body::from("junk")).unwrap()).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/ocsp-response"));
    assert_eq!(answer.body, TRY_LATER);
    drop(waiting);
    let answer = ask(router, request("GET", "/crl/x.crl").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_never_end_keep_nobody_waiting() {
    let router = validation();
    let endless = || {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let asked = request("POST", &format!("/ocsp/{AUTHORITY}"));
        asked.header("content-type", "application/ocsp-request").body(body).unwrap()
    };
    let began = tokio::time::Instant::now();
    let slow: Vec<_> = (0..600).map(|_| ask(router.clone(), endless())).collect();
    let malformed =
        request("POST", &format!("/ocsp/{AUTHORITY}")).header("content-type", "application/ocsp-request");
    let malformed = ask(router.clone(), malformed.body(Body::from("junk")).unwrap());
    let (slow, quick) = tokio::join!(futures::future::join_all(slow), malformed);
    assert_eq!(quick.body, MALFORMED);
    assert!(slow.iter().all(|answer| answer.status == StatusCode::REQUEST_TIMEOUT));
    assert!(began.elapsed() < Duration::from_secs(6));
}
