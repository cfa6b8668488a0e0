//! `Prefer: wait=<seconds>` (RFC 7240 §4.3): how long the caller wants to wait for the end.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use tokio::time::Instant;

use crate::failure::Failure;

/// Longest wait, from the arrival of the request: its answer must be made before the time limit of
/// [`crate::surroundings`].
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// When the request came in; put there by [`crate::surroundings`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival(pub(crate) Instant);

/// Until when the caller waits. The wish counts from the arrival, so what reading and carrying out the request took
/// is part of it.
pub(crate) struct WaitUntil(pub(crate) Instant);

impl<S: Send + Sync> FromRequestParts<S> for WaitUntil {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let arrival = parts.extensions.get::<Arrival>().map_or_else(Instant::now, |arrival| arrival.0);
        Ok(Self(arrival + wish(&parts.headers)))
    }
}

fn wish(headers: &HeaderMap) -> Duration {
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
    use axum::http::{HeaderValue, Request};

    #[test]
    fn a_wish_to_wait_is_found_among_others_and_bounded() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            wish(&headers).as_secs()
        };
        assert_eq!(asked("respond-async, wait=10"), 10);
        assert_eq!(asked("Wait=99999"), 50);
        assert_eq!(asked("return=minimal"), 0);
        assert_eq!(asked("wait=soon"), 0);
    }

    #[tokio::test]
    async fn the_wait_counts_from_the_arrival() {
        let arrival = Instant::now().checked_sub(Duration::from_secs(15)).unwrap();
        let request = Request::builder().header("prefer", "wait=50").extension(Arrival(arrival));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let until = WaitUntil::from_request_parts(&mut parts, &()).await.unwrap();
        assert_eq!(until.0, arrival + LONGEST_WAIT);
    }
}
