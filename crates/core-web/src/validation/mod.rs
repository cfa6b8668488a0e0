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
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clm_core::{Core, CoreError};
use clm_types::{AuthorityId, ErrorCode};
use tower_http::catch_panic::CatchPanicLayer;

use crate::metrics::HttpMetrics;
use crate::problem_kinds::problem_kind;

/// An OCSP request for one certificate has some hundred octets.
const MAX_BODY_BYTES: usize = 16 * 1024;
const TIME_LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn router(core: Arc<Core>, metrics: HttpMetrics) -> Router {
    Router::new()
        .route("/crl/{file}", get(crl::serve))
        .route("/ca/{file}", get(ca::serve))
        .route("/ocsp/{authority}", post(ocsp::answer_post))
        // Base64 holds slashes.
        .route("/ocsp/{authority}/{*request}", get(ocsp::answer_get))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(metrics, surround))
        .with_state(core)
}

async fn surround(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let answer = tokio::time::timeout(TIME_LIMIT, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    metrics.observe(method.as_str(), &route, response.status().as_u16(), began.elapsed());
    response
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
        (kind.status, content_type, format!("{}\n", kind.title)).into_response()
    }
}
