//! The process's metrics registry.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// All metrics of the process, named `clm_…`.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// A registry with `clm_build_info` for `program` at `version`.
    pub fn new(program: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("clm");
        let build = Info::new([("program", program), ("version", version)]);
        registry.register("build", "What runs here", build);
        Self(Arc::new(Mutex::new(registry)))
    }

    /// Adds metrics: `register` gets the registry, whose prefix is `clm`.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn names_carry_the_prefix_and_counters_end_in_total() {
        let metrics = Metrics::new("clm-core", "1.2.3");
        let counter = Counter::<u64>::default();
        metrics.register(|registry| registry.register("requests", "Requests", counter.clone()));
        counter.inc();
        let text = metrics.encode().unwrap();
        assert!(text.contains("clm_requests_total 1"), "{text}");
        assert!(text.contains("clm_build_info{program=\"clm-core\",version=\"1.2.3\"} 1"), "{text}");
    }
}
