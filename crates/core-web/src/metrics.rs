//! Measurements of the HTTP listeners.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "the names of the OpenTelemetry convention")]
struct HttpLabels {
    http_request_method: String,
    http_route: String,
    http_response_status_code: u16,
}

/// Durations of requests by route (never by path), method and status.
#[derive(Clone)]
pub struct HttpMetrics {
    durations: Family<HttpLabels, Histogram, fn() -> Histogram>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self { durations: Family::new_with_constructor(histogram) }
    }
}

impl HttpMetrics {
    /// Makes the measurements visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "http_server_request_duration",
            "Time from request to answer",
            Unit::Seconds,
            self.durations.clone(),
        );
    }

    pub(crate) fn observe(&self, method: &str, route: &str, status: u16, elapsed: Duration) {
        let labels = HttpLabels {
            http_request_method: known_method(method).to_owned(),
            http_route: route.to_owned(),
            http_response_status_code: status,
        };
        self.durations.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }
}

/// Callers may invent methods; labels may not grow by that.
fn known_method(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
        _ => "other",
    }
}

fn histogram() -> Histogram {
    // The buckets of the OpenTelemetry convention for http.server.request.duration.
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0])
}
