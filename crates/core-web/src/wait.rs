//! `Prefer: wait=<seconds>` (RFC 7240 §4.3): how long the caller wants to wait for the end.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::places::Permit;

/// Left of a request's time for its answer, when its caller has waited as long as may be.
const FOR_THE_ANSWER: Duration = Duration::from_secs(10);

/// When the request came in, and how long it may take; put there by [`crate::surroundings`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) request_time: Duration,
}

/// Until when the caller waits. The wish counts from the arrival, so what reading and carrying out the request took
/// is part of it.
pub(crate) struct WaitUntil {
    pub(crate) until: Instant,
    /// What to give back while waiting.
    permit: Option<Permit>,
}

impl WaitUntil {
    /// Whether there is time left, and a place to wait in. Others run meanwhile.
    pub(crate) fn begin(&self) -> bool {
        Instant::now() < self.until && self.permit.as_ref().is_none_or(Permit::begin_waiting)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WaitUntil {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let arrival = parts.extensions.get::<Arrival>().copied();
        let longest =
            arrival.map_or(Duration::ZERO, |arrival| arrival.request_time.saturating_sub(FOR_THE_ANSWER));
        let began = arrival.map_or_else(Instant::now, |arrival| arrival.at);
        let permit = parts.extensions.get::<Permit>().cloned();
        Ok(Self { until: began + wish(&parts.headers).min(longest), permit })
    }
}

fn wish(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wishes = preferences.flat_map(|value| value.split([',', ';'])).filter_map(|wish| {
        let seconds = wish.trim().to_ascii_lowercase();
        seconds.strip_prefix("wait=").and_then(|text| text.trim_matches('"').parse().ok())
    });
    wishes.next().map_or(Duration::ZERO, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Request};

    #[test]
    fn a_wish_to_wait_is_found_among_others() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            wish(&headers).as_secs()
        };
        assert_eq!(asked("respond-async, wait=10"), 10);
        assert_eq!(asked("Wait=99999"), 99_999);
        assert_eq!(asked("return=minimal"), 0);
        assert_eq!(asked("wait=soon"), 0);
    }

    #[tokio::test]
    async fn the_wait_counts_from_the_arrival_and_leaves_time_for_the_answer() {
        let at = Instant::now().checked_sub(Duration::from_secs(15)).unwrap();
        for (wish, wait) in [("wait=20", 20), ("wait=60", 50)] {
            let arrival = Arrival { at, request_time: Duration::from_mins(1) };
            let request = Request::builder().header("prefer", wish).extension(arrival);
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let wait_until = WaitUntil::from_request_parts(&mut parts, &()).await.unwrap();
            assert_eq!(wait_until.until, at + Duration::from_secs(wait));
        }
    }
}
