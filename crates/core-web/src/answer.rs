//! Answers that more than one noun gives.

use axum::Json;
use axum::http::header::{ETAG, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::idempotency::ShownOnce;

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

/// An answer with something that is shown this once: a repeat of the call does not get it.
pub(crate) fn shown_once(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.extensions_mut().insert(ShownOnce);
    response
}

fn locate(response: &mut Response, location: &str) {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, value);
    }
}
