//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110 §8.8.3, §13.1): the tag is the row's version.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clm_types::{ErrorCode, Refusal};
use serde::Serialize;

use crate::failure::Failure;

/// The version that the caller has read, from `If-Match`.
pub(crate) struct IfMatch(pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let value = parts.headers.get(IF_MATCH).ok_or_else(|| {
            Refusal::new(ErrorCode::PreconditionRequired, "the header If-Match is missing")
                .hint("read the object first and send its ETag")
        })?;
        let version = value.to_str().ok().and_then(parse_tag);
        let refusal =
            || Refusal::new(ErrorCode::PreconditionFailed, "If-Match names no version of this object");
        Ok(Self(version.ok_or_else(refusal)?))
    }
}

/// An object with its version: answers with an `ETag`, or with 304 when the caller has this version.
pub(crate) struct Versioned<T> {
    pub(crate) version: i64,
    pub(crate) body: T,
}

impl<T: Serialize> Versioned<T> {
    pub(crate) fn answer(self, asked: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.version);
        let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let is_known = known.is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag));
        if is_known {
            return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
        }
        ([(ETAG, tag)], Json(self.body)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        self.answer(&HeaderMap::new())
    }
}

fn parse_tag(tag: &str) -> Option<i64> {
    tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_strong_tag_of_a_number_is_a_version() {
        assert_eq!(parse_tag("\"7\""), Some(7));
        for tag in ["7", "W/\"7\"", "*", "\"x\"", "\"1\", \"2\"", ""] {
            assert_eq!(parse_tag(tag), None, "{tag}");
        }
    }
}
