//! Signed bytes with the headers that let caches keep them for a while (RFC 9111, RFC 5019 §6).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use clm_types::Time;

use crate::etag;

/// Longest time that a cache may keep an answer without asking again: a revocation must get through.
const MOST_AGE: Duration = Duration::from_mins(1);

/// Bytes that are valid for some time.
pub(crate) struct Cached {
    /// Their entity tag.
    pub(crate) tag: String,
    pub(crate) bytes: Bytes,
    pub(crate) content_type: &'static str,
    /// When they were made.
    pub(crate) this_update: Option<Time>,
    /// When they are to be replaced.
    pub(crate) next_update: Option<Time>,
}

impl Cached {
    /// The answer at `now`; 304 when the caller has these bytes already.
    pub(crate) fn answer(self, asked: &HeaderMap, now: Time) -> Response {
        let tag = self.tag;
        let age = max_age(self.next_update, now);
        let mut response = if etag::is_known(asked, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(CONTENT_TYPE, self.content_type)], self.bytes).into_response()
        };
        let expires = now + TimeDelta::seconds(i64::try_from(age).unwrap_or(0));
        let cache_control = format!("public, max-age={age}, no-transform, must-revalidate");
        let headers = response.headers_mut();
        let texts = [(ETAG, tag), (CACHE_CONTROL, cache_control), (EXPIRES, http_date(expires))];
        let made = self.this_update.map(|time| (LAST_MODIFIED, http_date(time)));
        for (name, text) in texts.into_iter().chain(made) {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Seconds that a cache may keep it.
fn max_age(next_update: Option<Time>, now: Time) -> u64 {
    let left = next_update.map_or(MOST_AGE, |end| (end - now).to_std().unwrap_or_default());
    left.min(MOST_AGE).as_secs()
}

/// IMF-fixdate (RFC 9110 §5.6.7).
fn http_date(time: Time) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::IF_NONE_MATCH;

    fn now() -> Time {
        chrono::DateTime::from_timestamp(784_111_777, 0).unwrap()
    }

    fn cached(seconds: i64) -> Cached {
        Cached {
            tag: etag::tag_of(b"crl"),
            bytes: Bytes::from_static(b"crl"),
            content_type: "application/pkix-crl",
            this_update: Some(now()),
            next_update: Some(now() + TimeDelta::seconds(seconds)),
        }
    }

    #[test]
    fn a_cache_keeps_nothing_beyond_its_end_nor_for_long() {
        let age = |seconds| cached(seconds).answer(&HeaderMap::new(), now()).headers()[CACHE_CONTROL].clone();
        assert_eq!(age(10), "public, max-age=10, no-transform, must-revalidate");
        assert_eq!(age(-5), "public, max-age=0, no-transform, must-revalidate");
        assert_eq!(age(86_400), "public, max-age=60, no-transform, must-revalidate");
    }

    #[test]
    fn who_has_the_bytes_gets_no_body() {
        let first = cached(60).answer(&HeaderMap::new(), now());
        assert_eq!(first.headers()[LAST_MODIFIED], "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut asked = HeaderMap::new();
        asked.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(cached(60).answer(&asked, now()).status(), StatusCode::NOT_MODIFIED);
    }
}
