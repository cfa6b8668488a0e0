//! What the service measures beside its HTTP requests.

use std::sync::atomic::AtomicU64;

use clm_core::email_messages::EmailReport;
use clm_core::integrity::IntegrityReport;
use clm_service::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The last comparison of both databases.
#[derive(Clone, Default)]
pub(crate) struct IntegrityMetrics {
    open: Gauge<u64, AtomicU64>,
    alarms: Gauge<u64, AtomicU64>,
    compared: Gauge<u64, AtomicU64>,
    last_success: Gauge,
}

impl IntegrityMetrics {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let open = self.open.clone();
            registry.register("integrity_open", "Findings of the last run that are open", open);
            let alarms = self.alarms.clone();
            registry.register("integrity_alarms", "Findings of the last run that need a person", alarms);
            let compared = self.compared.clone();
            registry.register("integrity_compared", "Certificates compared by the last run", compared);
            let last_success = self.last_success.clone();
            registry.register(
                "integrity_last_success_timestamp_seconds",
                "When the last run ended",
                last_success,
            );
        });
    }

    pub(crate) fn note(&self, report: &IntegrityReport) {
        self.open.set(report.open);
        self.alarms.set(report.alarms);
        self.compared.set(report.compared);
        self.last_success.set(report.finished_at.timestamp());
    }
}

/// What became of e-mail.
#[derive(Clone, Default)]
pub(crate) struct EmailMetrics {
    sent: Counter,
    retried: Counter,
    failed: Counter,
    suppressed: Counter,
    waiting: Gauge<u64, AtomicU64>,
}

impl EmailMetrics {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register("emails_sent", "Messages that the mail server took", self.sent.clone());
            let retried = self.retried.clone();
            registry.register("emails_retried", "Tries that failed and will be repeated", retried);
            registry.register("emails_failed", "Messages that were given up", self.failed.clone());
            let suppressed = self.suppressed.clone();
            let help = "Messages that were not written, for their reader was sent many within the hour";
            registry.register("emails_suppressed", help, suppressed);
            let waiting = self.waiting.clone();
            registry.register("emails_waiting", "Messages of all processes that are not sent yet", waiting);
        });
    }

    pub(crate) fn note(&self, report: EmailReport) {
        self.sent.inc_by(report.sent);
        self.retried.inc_by(report.retried);
        self.failed.inc_by(report.dead);
        self.suppressed.inc_by(report.suppressed);
        if let Some(waiting) = report.waiting {
            self.waiting.set(waiting);
        }
    }
}

/// Refused changes that are not in the audit log.
pub(crate) fn count_dropped_refusals(metrics: &Metrics) -> Counter {
    let dropped = Counter::default();
    metrics.register(|registry| {
        let help = "Refused changes that were too many to be put on record";
        registry.register("audit_refusals_dropped", help, dropped.clone());
    });
    dropped
}
