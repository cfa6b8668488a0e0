//! The edge of the Core Service: the REST API, SCIM, and what relying parties fetch (CRL, OCSP, CA certificates).
//!
//! A handler parses, calls one rule of `clm-core` and renders. Everything that all routes have in common is in the
//! layers: the surroundings (limits, request id, problem document) outside, the gate (credentials,
//! permission, idempotency) inside, both driven by the table in [`routes`].

mod answer;
mod api;
mod callers;
mod etag;
mod extract;
mod failure;
mod gate;
mod idempotency;
mod limits;
mod linger;
mod metrics;
pub mod openapi;
mod paging;
mod pem;
mod places;
pub mod problem_kinds;
mod problems;
mod refusals;
pub mod routes;
mod scim;
mod surroundings;
mod validation;
mod wait;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use clm_core::Core;
use tower_http::catch_panic::CatchPanicLayer;

pub use failure::Failure;
pub use limits::{Limits, Rate};
pub use metrics::HttpMetrics;

use gate::Gate;
use surroundings::Surroundings;

/// What the handlers work with.
#[derive(Clone, FromRef)]
pub struct Edge {
    /// The rules.
    pub core: Arc<Core>,
    /// Where callers reach the API, without a slash at the end.
    pub public_url: PublicUrl,
    /// Where relying parties reach the validation listener, without a slash at the end.
    pub validation_url: ValidationUrl,
}

/// Base address of the API listener.
#[derive(Debug, Clone)]
pub struct PublicUrl(pub Arc<str>);

/// Base address of the validation listener.
#[derive(Debug, Clone)]
pub struct ValidationUrl(pub Arc<str>);

/// The API listener's routes.
pub fn api_router(edge: Edge, metrics: HttpMetrics, limits: &Limits) -> Router {
    let surroundings = Surroundings::new(Arc::clone(&edge.core), metrics, limits);
    let description = openapi::answer_at(&edge.public_url);
    let (router, _) = routes().split_for_parts();
    router
        .route("/openapi.json", get(async move || description))
        .route_layer(from_fn_with_state(Gate::new(Arc::clone(&edge.core), limits), gate::guard))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(CatchPanicLayer::custom(surroundings::panicked))
        .layer(from_fn_with_state(surroundings, surroundings::surround))
        .with_state(edge)
}

/// The validation listener's routes: public, signed bytes and nothing else.
pub fn validation_router(core: Arc<Core>, metrics: HttpMetrics, limits: &Limits) -> Router {
    validation::router(core, metrics, limits.concurrent_validations)
}

fn routes() -> utoipa_axum::router::OpenApiRouter<Edge> {
    utoipa_axum::router::OpenApiRouter::new()
        .merge(problems::router())
        .nest("/api/v1", api::router())
        .nest("/scim/v2", scim::router())
}
