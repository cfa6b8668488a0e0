//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110 §8.8.3, §13.1). The tag of what can be changed is the row's version;
//! the tag of what changes by itself as well is a digest of the body.

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clm_core::CoreError;
use clm_types::{ErrorCode, Refusal};
use serde::Serialize;

use crate::failure::Failure;

/// Which version the caller wants to change, from `If-Match`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`: whichever there is.
    Any,
    /// The one that was read.
    Version(i64),
}

impl IfMatch {
    /// The version to change; none: whichever there is, and it need not have been read.
    pub(crate) const fn named(&self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::Version(version) => Some(*version),
        }
    }

    /// The version to change; `current` is asked only when any will do.
    pub(crate) async fn version(
        self,
        current: impl Future<Output = Result<i64, CoreError>>,
    ) -> Result<i64, Failure> {
        match self {
            Self::Any => Ok(current.await?),
            Self::Version(version) => Ok(version),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let value = parts.headers.get(IF_MATCH).ok_or_else(|| {
            Refusal::new(ErrorCode::PreconditionRequired, "the header If-Match is missing")
                .hint("read the object first and send its ETag")
        })?;
        let asked = value.to_str().ok().and_then(parse_condition);
        let refusal =
            || Refusal::new(ErrorCode::PreconditionFailed, "If-Match names no version of this object");
        Ok(asked.ok_or_else(refusal)?)
    }
}

/// As [`IfMatch`], for actions that may be asked for without having read: without the header, on whichever version.
pub(crate) struct OptionalIfMatch(pub(crate) IfMatch);

impl<S: Send + Sync> FromRequestParts<S> for OptionalIfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        if !parts.headers.contains_key(IF_MATCH) {
            return Ok(Self(IfMatch::Any));
        }
        IfMatch::from_request_parts(parts, state).await.map(Self)
    }
}

/// Fails if `If-Match` is there and does not name the tag that this object is shown with.
pub(crate) fn check_digest<T: Serialize>(body: &T, asked: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = asked.get(IF_MATCH) else { return Ok(()) };
    let tag = digest_of(body)?.0;
    let mut named = value.to_str().unwrap_or_default().split(',').map(str::trim);
    if named.any(|one| one == "*" || one == tag) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::PreconditionFailed, "it has changed since you read it"))
}

/// An object with its version: answers with an `ETag`, or with 304 when the caller has this version.
pub(crate) struct Versioned<T> {
    pub(crate) version: i64,
    pub(crate) body: T,
}

impl<T: Serialize> Versioned<T> {
    pub(crate) fn answer(self, asked: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.version);
        if is_known(asked, &tag) {
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

/// An object whose version does not count every change of what is shown: tagged by its octets.
pub(crate) fn digested<T: Serialize>(body: &T, asked: &HeaderMap) -> Result<Response, Failure> {
    let (tag, octets) = digest_of(body)?;
    if is_known(asked, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let headers = [(ETAG, tag), (CONTENT_TYPE, "application/json".to_owned())];
    Ok((headers, octets).into_response())
}

fn digest_of<T: Serialize>(body: &T) -> Result<(String, Vec<u8>), Failure> {
    let octets = serde_json::to_vec(body)
        .map_err(|_| Failure::new(ErrorCode::Internal, "an error of the service itself"))?;
    Ok((tag_of(&octets), octets))
}

/// The tag of these octets.
pub(crate) fn tag_of(octets: &[u8]) -> String {
    of_digest(digest(&SHA256, octets).as_ref())
}

/// The tag of octets with this SHA-256.
pub(crate) fn of_digest(sha256: &[u8]) -> String {
    format!("\"{}\"", hex::encode(sha256))
}

/// Whether `If-None-Match` names this tag. The comparison is weak (RFC 9110 §13.1.2): an intermediary that packs the
/// body may have weakened the tag.
pub(crate) fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let values = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = values.flat_map(|tags| tags.split(',')).map(str::trim);
    known.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn parse_condition(text: &str) -> Option<IfMatch> {
    let text = text.trim();
    if text == "*" {
        return Some(IfMatch::Any);
    }
    text.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(IfMatch::Version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_a_strong_tag_of_a_number_is_a_version_and_a_star_is_any() {
        assert_eq!(parse_condition("\"7\""), Some(IfMatch::Version(7)));
        assert_eq!(parse_condition("*"), Some(IfMatch::Any));
        for tag in ["7", "W/\"7\"", "\"*\"", "\"x\"", "\"1\", \"2\"", ""] {
            assert_eq!(parse_condition(tag), None, "{tag}");
        }
    }

    #[test]
    fn who_has_the_version_strong_weak_or_among_others_gets_no_body() {
        let status = |known: &'static str| {
            let mut asked = HeaderMap::new();
            asked.insert(IF_NONE_MATCH, HeaderValue::from_static(known));
            Versioned { version: 5, body: "five" }.answer(&asked).status().as_u16()
        };
        for known in ["\"5\"", "W/\"5\"", "\"4\", W/\"5\"", "*"] {
            assert_eq!(status(known), 304, "{known}");
        }
        for unknown in ["\"4\"", "W/\"4\"", "5", "\"55\""] {
            assert_eq!(status(unknown), 200, "{unknown}");
        }
    }

    #[test]
    fn a_digested_object_that_changed_is_sent_again() {
        let first = digested(&"one approval", &HeaderMap::new()).unwrap();
        let mut asked = HeaderMap::new();
        asked.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(digested(&"one approval", &asked).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(digested(&"two approvals", &asked).unwrap().status(), StatusCode::OK);
    }
}
