//! How much the listeners take: sizes, times, rates and numbers.

use std::num::NonZeroU32;
use std::time::Duration;

/// What a caller may do again and again.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

/// What callers of the API may do.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Calls of a caller that change nothing.
    pub reads: Rate,
    /// Calls of a caller that may change something.
    pub writes: Rate,
    /// Different wrong passwords, keys and tokens from one address.
    pub failures_per_minute: NonZeroU32,
    /// Callers, and credentials known to be good, that are remembered.
    pub remembered_callers: u64,
    /// Calls that run at once; more are turned away with 503.
    pub concurrent_requests: usize,
    /// Of them, those of one caller; more are turned away with 429.
    pub concurrent_per_caller: usize,
    /// Questions to the validation listener that are answered at once.
    pub concurrent_validations: usize,
    /// Largest body that is read.
    pub body_bytes: usize,
    /// Longest wait for the whole body.
    pub body_time: Duration,
    /// Longest time from the head of a request to its answer.
    pub request_time: Duration,
}

const fn number(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reads: Rate { per_second: number(200), burst: number(1_000) },
            writes: Rate { per_second: number(100), burst: number(500) },
            failures_per_minute: number(60),
            remembered_callers: 50_000,
            concurrent_requests: 256,
            concurrent_per_caller: 128,
            concurrent_validations: 512,
            body_bytes: 1024 * 1024,
            body_time: Duration::from_secs(10),
            request_time: Duration::from_mins(1),
        }
    }
}
