//! The validation listener, judged from outside.

use crate::harness::{ask, request, validation};
use axum::body::Body;
use axum::http::StatusCode;

const AUTHORITY: &str = "0199f0c0-0000-7000-8000-000000000000";
/// OCSPResponse with the status malformedRequest (RFC 6960 §4.2.1).
const MALFORMED: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x01];

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
}
