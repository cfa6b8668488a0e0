//! Answers that more than one noun gives.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ETAG, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Longest wait that `Prefer: wait` gets.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// 201 with the address of what was made, and its version if it has one.
pub(crate) fn created<T: Serialize>(location: &str, version: Option<i64>, body: T) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    locate(&mut response, location);
    if let Some(tag) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// 202: it is recorded and goes on; look at `location`.
pub(crate) fn accepted<T: Serialize>(location: &str, body: T) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    locate(&mut response, location);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

fn locate(response: &mut Response, location: &str) {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, value);
    }
}

/// How long the caller wants to wait for the end: `Prefer: wait=<seconds>` (RFC 7240 §4.3).
pub(crate) fn wait(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wishes = preferences.flat_map(|value| value.split([',', ';'])).filter_map(|wish| {
        let seconds = wish.trim().to_ascii_lowercase();
        seconds.strip_prefix("wait=").and_then(|text| text.trim_matches('"').parse().ok())
    });
    wishes.next().map_or(Duration::ZERO, Duration::from_secs).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_wait_is_found_among_others_and_bounded() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            wait(&headers).as_secs()
        };
        assert_eq!(asked("respond-async, wait=10"), 10);
        assert_eq!(asked("Wait=99999"), 50);
        assert_eq!(asked("return=minimal"), 0);
        assert_eq!(asked("wait=soon"), 0);
    }
}
