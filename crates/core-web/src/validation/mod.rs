//! What relying parties fetch, over plain HTTP and without credentials: revocation lists, OCSP answers,
//! certificates of authorities. Signed bytes and nothing else.

mod ca;
mod cached;
mod crl;
mod ocsp;

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clm_core::{Core, CoreError};
use clm_types::{AuthorityId, ErrorCode};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::metrics::HttpMetrics;
use crate::problem_kinds::problem_kind;

/// An OCSP request for one certificate has some hundred octets.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Longest wait for them.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Longest time for the answer.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// What the layer needs.
#[derive(Clone)]
struct Surroundings {
    metrics: HttpMetrics,
    permits: Arc<Semaphore>,
}

/// Answers `most` requests at once; more are told to try later.
pub(crate) fn router(core: Arc<Core>, metrics: HttpMetrics, most: usize) -> Router {
    let surroundings = Surroundings { metrics, permits: Arc::new(Semaphore::new(most)) };
    Router::new()
        .route("/crl/{file}", get(crl::serve))
        .route("/crl/{authority}/{file}", get(crl::serve_part))
        .route("/ca/{file}", get(ca::serve))
        .route("/ocsp/{authority}", post(ocsp::answer_post))
        // Base64 holds slashes.
        .route("/ocsp/{authority}/{*request}", get(ocsp::answer_get))
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(surroundings, surround))
        .with_state(core)
}

async fn surround(State(own): State<Surroundings>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let mut response = bounded(&own, request, next).await;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    own.metrics.observe(method.as_str(), &route, response.status().as_u16(), began.elapsed());
    response
}

async fn bounded(own: &Surroundings, request: Request, next: Next) -> Response {
    let is_ocsp = request.uri().path().starts_with("/ocsp/");
    // Who sends slowly holds no permit meanwhile.
    let request = match whole(request).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let Ok(_permit) = own.permits.try_acquire() else {
        return busy(is_ocsp);
    };
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => busy(is_ocsp),
    }
}

/// The request with its whole body.
async fn whole(request: Request) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(octets)) => Ok(Request::from_parts(parts, Body::from(octets))),
        Ok(Err(_)) => Err(Trouble(ErrorCode::BodyTooLarge).into_response()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

fn busy(is_ocsp: bool) -> Response {
    if is_ocsp { ocsp::try_later() } else { Trouble(ErrorCode::Unavailable).into_response() }
}

/// The authority in a file name with this ending.
fn authority_in(file: &str, ending: &str) -> Option<AuthorityId> {
    AuthorityId::from_str(file.strip_suffix(ending)?).ok()
}

/// Errors of this listener are short texts: its clients do not read problem documents.
struct Trouble(ErrorCode);

impl From<CoreError> for Trouble {
    fn from(error: CoreError) -> Self {
        if !matches!(error, CoreError::Refused(_)) {
            tracing::error!(%error, "a validation request failed");
        }
        Self(error.to_refusal().code)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let kind = problem_kind(self.0);
        let content_type = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (kind.status, content_type, format!("{}\n", kind.title)).into_response();
        if self.0.is_retryable() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
