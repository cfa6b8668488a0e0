//! Versions of resources: weak tags (RFC 7644 §3.14), since a resource is not sent the same octet for octet.

use axum::extract::FromRequestParts;
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use clm_types::{ErrorCode, Refusal};

use super::failure::ScimFailure;

/// The tag of a version.
pub(super) fn tag(version: i64) -> String {
    format!("W/\"{version}\"")
}

/// The version that the caller wants to change, from `If-Match`; none: whichever there is.
pub(super) struct Wanted(pub(super) Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = ScimFailure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ScimFailure> {
        let Some(value) = parts.headers.get(IF_MATCH) else {
            return Ok(Self(None));
        };
        let refusal =
            || Refusal::new(ErrorCode::PreconditionFailed, "If-Match names no version of this resource");
        Ok(value.to_str().ok().and_then(parse).ok_or_else(refusal)?)
    }
}

fn parse(text: &str) -> Option<Wanted> {
    let text = text.trim();
    if text == "*" {
        return Some(Wanted(None));
    }
    let strong = text.strip_prefix("W/").unwrap_or(text);
    strong.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(|version| Wanted(Some(version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_back_weak_or_strong() {
        assert_eq!(parse(&tag(7)).unwrap().0, Some(7));
        assert_eq!(parse("\"7\"").unwrap().0, Some(7));
        assert_eq!(parse("*").unwrap().0, None);
        assert!(parse("7").is_none() && parse("W/\"x\"").is_none());
    }
}
