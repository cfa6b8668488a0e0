//! `[limits]` of `core.toml`.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::ensure;
use clm_core_web::{Limits, Rate};
use serde::Deserialize;

use crate::connections::MostConnections;

/// How much the listeners take. Every key has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    reads_per_second: NonZeroU32,
    reads_burst: NonZeroU32,
    writes_per_second: NonZeroU32,
    writes_burst: NonZeroU32,
    failures_per_minute: NonZeroU32,
    remembered_callers: u64,
    concurrent_requests: usize,
    concurrent_per_caller: usize,
    concurrent_validations: usize,
    connections: usize,
    connections_per_address: usize,
    head_seconds: u64,
    body_seconds: u64,
    request_seconds: u64,
    body_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let usual = Limits::default();
        Self {
            reads_per_second: usual.reads.per_second,
            reads_burst: usual.reads.burst,
            writes_per_second: usual.writes.per_second,
            writes_burst: usual.writes.burst,
            failures_per_minute: usual.failures_per_minute,
            remembered_callers: usual.remembered_callers,
            concurrent_requests: usual.concurrent_requests,
            concurrent_per_caller: usual.concurrent_per_caller,
            concurrent_validations: usual.concurrent_validations,
            connections: 4_096,
            connections_per_address: 512,
            head_seconds: 15,
            body_seconds: usual.body_time.as_secs(),
            request_seconds: usual.request_time.as_secs(),
            body_bytes: usual.body_bytes,
        }
    }
}

/// What the listeners themselves heed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListenerLimits {
    pub(crate) connections: MostConnections,
    /// Longest wait for the head of a request, and for the next one on a kept connection.
    pub(crate) head_time: Duration,
}

impl LimitsConfig {
    /// What the routes heed.
    pub(crate) fn limits(&self) -> anyhow::Result<Limits> {
        self.check()?;
        Ok(Limits {
            reads: rate("reads", self.reads_per_second, self.reads_burst)?,
            writes: rate("writes", self.writes_per_second, self.writes_burst)?,
            failures_per_minute: self.failures_per_minute,
            remembered_callers: self.remembered_callers,
            concurrent_requests: self.concurrent_requests,
            concurrent_per_caller: self.concurrent_per_caller,
            concurrent_validations: self.concurrent_validations,
            body_bytes: self.body_bytes,
            body_time: Duration::from_secs(self.body_seconds),
            request_time: Duration::from_secs(self.request_seconds),
        })
    }

    /// What the listeners heed.
    pub(crate) fn of_listeners(&self) -> ListenerLimits {
        let connections =
            MostConnections { in_all: self.connections, per_address: self.connections_per_address };
        ListenerLimits { connections, head_time: Duration::from_secs(self.head_seconds) }
    }

    fn check(&self) -> anyhow::Result<()> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        within("remembered_callers", self.remembered_callers, 100..=1_000_000)?;
        within("concurrent_requests", count(self.concurrent_requests), 1..=10_000)?;
        within(
            "concurrent_per_caller",
            count(self.concurrent_per_caller),
            1..=count(self.concurrent_requests),
        )?;
        within("concurrent_validations", count(self.concurrent_validations), 1..=10_000)?;
        within("connections", count(self.connections), 1..=60_000)?;
        within("connections_per_address", count(self.connections_per_address), 1..=count(self.connections))?;
        within("head_seconds", self.head_seconds, 1..=120)?;
        within("body_seconds", self.body_seconds, 1..=120)?;
        // Some operations are waited for at once for ten seconds.
        within("request_seconds", self.request_seconds, 15..=300)?;
        within("body_bytes", count(self.body_bytes), 64 * 1024..=16 * 1024 * 1024)
    }
}

fn rate(what: &str, per_second: NonZeroU32, burst: NonZeroU32) -> anyhow::Result<Rate> {
    ensure!(burst >= per_second, "{what}_burst is less than {what}_per_second: {burst} < {per_second}");
    Ok(Rate { per_second, burst })
}

fn within(key: &str, value: u64, range: RangeInclusive<u64>) -> anyhow::Result<()> {
    let (least, most) = (range.start(), range.end());
    ensure!(range.contains(&value), "{key} is {value}; it must be from {least} to {most}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Limits> {
        toml::from_str::<LimitsConfig>(text)?.limits()
    }

    #[test]
    fn the_defaults_hold_and_each_key_can_be_set() {
        assert_eq!(read("").unwrap().concurrent_requests, 256);
        let limits = read("writes_per_second = 5\nwrites_burst = 5\nbody_bytes = 65536").unwrap();
        assert_eq!((limits.writes.per_second.get(), limits.body_bytes), (5, 65_536));
    }

    #[test]
    fn what_would_stop_the_service_or_limit_nothing_is_refused() {
        for (text, key) in [
            ("reads_per_second = 0", "reads_per_second"),
            ("reads_burst = 10", "reads_burst"),
            ("writes_per_second = 100000", "writes_burst"),
            ("failures_per_minute = -1", "failures_per_minute"),
            ("concurrent_requests = 0", "concurrent_requests"),
            ("concurrent_per_caller = 257", "concurrent_per_caller"),
            ("connections_per_address = 100000", "connections_per_address"),
            ("remembered_callers = 1000000000", "remembered_callers"),
            ("head_seconds = 0", "head_seconds"),
            ("request_seconds = 5", "request_seconds"),
            ("body_bytes = 1000000000", "body_bytes"),
            ("requests = 5", "requests"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
