//! Bodies that nobody reads to their end. Over HTTP/1.1 the end of the connection would reach a caller who is still sending
//! before the answer does (RFC 9112 §9.6); so the rest is read for a while, and nothing of it is kept.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::Version;
use axum::http::header::EXPECT;
use futures::{Stream, StreamExt};

/// How long the rest of a body that is not wanted may still come in (one of each connection, which are limited in number),
const LINGER: Duration = Duration::from_secs(10);
/// and how much of it: more than a client sends before it looks for an answer.
const MOST_OCTETS: usize = 32 << 20;

/// The request with a body whose rest is read when it is dropped before its end.
pub(crate) fn lingering(request: Request) -> Request {
    // Over HTTP/2 only the stream ends; and who asks first whether to send shall not be told so by reading.
    let asks_first = request.headers().contains_key(EXPECT);
    if request.version() != Version::HTTP_11 || asks_first || request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::from_stream(Lingering { rest: body.into_data_stream(), has_ended: false }))
}

struct Lingering {
    rest: BodyDataStream,
    has_ended: bool,
}

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.rest.poll_next_unpin(context));
        self.has_ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut rest = mem::replace(&mut self.rest, Body::empty().into_data_stream());
        let rest = async move {
            let mut octets = 0;
            while let Some(Ok(part)) = rest.next().await
                && octets < MOST_OCTETS
            {
                octets += part.len();
            }
        };
        tokio::spawn(tokio::time::timeout(LINGER, rest));
    }
}
