//! The outermost layer of the API: limits, request id, time limit, security headers, the problem document, one
//! log line and one measurement per request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clm_api::problem::PROBLEM_MEDIA_TYPE;
use clm_api::{FieldError, Problem};
use clm_types::ErrorCode;
use tracing::Instrument;
use uuid::Uuid;

use crate::failure::Failure;
use crate::limits::Limits;
use crate::linger::lingering;
use crate::metrics::HttpMetrics;
use crate::problem_kinds::problem_kind;
use crate::scim::{self, ScimType};
use crate::wait::Arrival;

/// Seconds after which it is worth trying again, unless it is known better.
const RETRY_AFTER: u64 = 2;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the layer needs.
#[derive(Clone)]
pub(crate) struct Surroundings {
    metrics: HttpMetrics,
    core: Arc<clm_core::Core>,
    body_bytes: usize,
    request_time: Duration,
}

impl Surroundings {
    pub(crate) fn new(core: Arc<clm_core::Core>, metrics: HttpMetrics, limits: &Limits) -> Self {
        Self { metrics, core, body_bytes: limits.body_bytes, request_time: limits.request_time }
    }
}

/// The id of the request, as it stands in headers, problems, log lines and audit entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub(crate) Uuid);

/// The layer.
pub(crate) async fn surround(State(own): State<Surroundings>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers(), &own.core);
    request.extensions_mut().insert(RequestId(id));
    request.extensions_mut().insert(Arrival { at: began.into(), request_time: own.request_time });
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id, %method, route);
    let response = limited(&own, request, next).instrument(span.clone()).await;
    let response = finish(response, id, &path);
    let (status, elapsed) = (response.status(), began.elapsed());
    own.metrics.observe(method.as_str(), &route, status.as_u16(), elapsed);
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| {
        // A flood is in the measurements; it shall not fill the log too.
        if is_turned_away(status) {
            tracing::debug!(status = status.as_u16(), milliseconds, "turned away");
        } else {
            tracing::info!(status = status.as_u16(), milliseconds, "answered");
        }
    });
    response
}

fn is_turned_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

async fn limited(own: &Surroundings, request: Request, next: Next) -> Response {
    let request = lingering(request);
    if content_length(request.headers()).is_some_and(|length| length > own.body_bytes) {
        return too_large(own.body_bytes).into_response();
    }
    match tokio::time::timeout(own.request_time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(ErrorCode::Unavailable, "the request took too long").into_response(),
    }
}

/// The refusal of a body over the limit, in octets.
pub(crate) fn too_large(most: usize) -> Failure {
    Failure::new(ErrorCode::BodyTooLarge, format!("the body is larger than {most} octets"))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    Some(length.parse().unwrap_or(usize::MAX))
}

/// The caller's `x-request-id` if it is a UUID, else a new one.
fn request_id(headers: &HeaderMap, core: &clm_core::Core) -> Uuid {
    let sent = headers.get(&X_REQUEST_ID).and_then(|value| value.to_str().ok());
    sent.and_then(|text| Uuid::parse_str(text).ok())
        .unwrap_or_else(|| clm_types::ids::new_uuid(core.clock.now(), &core.entropy))
}

fn finish(response: Response, id: Uuid, path: &str) -> Response {
    let mut response = render_failure(response, id, path);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(X_REQUEST_ID, value);
    }
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    let cache = headers.entry(header::CACHE_CONTROL);
    cache.or_insert(HeaderValue::from_static("no-store"));
    response
}

const SECURITY_HEADERS: &[(HeaderName, &str)] = &[
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Turns a failure, also one that the framework made without a body of ours, into a problem document or SCIM's error.
fn render_failure(response: Response, id: Uuid, path: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let is_ours = |value: &HeaderValue| value == PROBLEM_MEDIA_TYPE || value == scim::MEDIA_TYPE;
    if response.headers().get(header::CONTENT_TYPE).is_some_and(is_ours) {
        return response;
    }
    let known = response.extensions().get::<Failure>().cloned();
    let failure = known.unwrap_or_else(|| Failure::of_status(status));
    let scim_type = response.extensions().get::<ScimType>().copied();
    let mut rendered = render(&failure, scim_type, id, path);
    if let Some(allow) = response.headers().get(header::ALLOW) {
        rendered.headers_mut().insert(header::ALLOW, allow.clone());
    }
    rendered
}

fn render(failure: &Failure, scim_type: Option<ScimType>, id: Uuid, path: &str) -> Response {
    let status = problem_kind(failure.0.code).status;
    let (media_type, body) = if scim::is_ours(path) {
        (scim::MEDIA_TYPE, serde_json::to_vec(&scim::error_body(&failure.0, status, scim_type)))
    } else {
        (PROBLEM_MEDIA_TYPE, serde_json::to_vec(&problem(failure, id, path)))
    };
    let content_type = [(header::CONTENT_TYPE, media_type)];
    let body = body.unwrap_or_default();
    let mut response = (status, content_type, body).into_response();
    let headers = response.headers_mut();
    if failure.0.code.is_retryable() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(failure.1.unwrap_or(RETRY_AFTER)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn problem(failure: &Failure, id: Uuid, path: &str) -> Problem {
    let refusal = &failure.0;
    let kind = problem_kind(refusal.code);
    let errors = refusal.field.iter().map(|pointer| FieldError {
        pointer: pointer.clone(),
        code: refusal.code.to_string(),
        detail: refusal.detail.clone(),
    });
    Problem {
        kind: format!("/problems/{}", refusal.code),
        title: kind.title.to_owned(),
        status: kind.status.as_u16(),
        detail: refusal.detail.clone(),
        instance: Some(path.to_owned()),
        code: refusal.code.to_string(),
        request_id: id.to_string(),
        retryable: refusal.code.is_retryable(),
        hint: Some(refusal.hint.clone().unwrap_or_else(|| kind.fix.to_owned())),
        errors: errors.collect(),
    }
}

/// A handler that panicked: logged, and no word of it to the caller.
#[expect(clippy::needless_pass_by_value, reason = "the shape that the layer wants")]
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    tracing::error!(panic = text, "a handler panicked");
    Failure::new(ErrorCode::Internal, "an error of the service itself").into_response()
}
