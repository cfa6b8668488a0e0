//! Bodies that come in: JSON objects whose names are compared without regard to case (RFC 7643 §2.1).

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use clm_types::ErrorCode;
use serde_json::{Map, Value};

use super::failure::{MEDIA_TYPE, ScimFailure};
use crate::failure::Failure;

/// The members of a body.
#[derive(Debug)]
pub(super) struct Members(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Members {
    type Rejection = ScimFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, ScimFailure> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if ![MEDIA_TYPE, "application/json"].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
            let detail = format!("the body must be {MEDIA_TYPE} or application/json");
            return Err(Failure::new(ErrorCode::UnsupportedMediaType, detail).into());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Failure::new(ErrorCode::BodyTooLarge, "the body could not be read in full"))?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(ScimFailure::syntax("the body is no JSON object")),
            Err(error) => Err(ScimFailure::syntax(format!("the body cannot be read: {error}"))),
        }
    }
}

impl Members {
    /// The value of a member; null is none.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        member(&self.0, name)
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ScimFailure> {
        self.get(name).map(|value| text(name, value)).transpose()
    }
}

/// A member of an object, whatever the case of its name.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

/// A value that must be a text.
pub(super) fn text(name: &str, value: &Value) -> Result<String, ScimFailure> {
    let found = value.as_str().map(str::to_owned);
    found.ok_or_else(|| ScimFailure::value(format!("{name} must be a text")))
}

/// A value that must be true or false; some clients send it as a text.
pub(super) fn truth(name: &str, value: &Value) -> Result<bool, ScimFailure> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ScimFailure::value(format!("{name} must be true or false"))),
    }
}

/// A value or the values in it.
pub(super) fn each(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}
