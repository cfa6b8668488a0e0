//! How many passes of argon2id this machine has the time for, measured at the start.

use std::time::{Duration, Instant};

use clm_core::passwords::PasswordCost;

/// Passwords that are hashed to measure: the quickest counts, for the machine may be busy with other things.
const SAMPLES: u32 = 3;

/// The cost that takes about so long.
pub(crate) fn tune(wanted: Duration) -> anyhow::Result<PasswordCost> {
    let mut quickest = Duration::MAX;
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        PasswordCost::LEAST.spend()?;
        quickest = quickest.min(begun.elapsed());
    }
    let cost = PasswordCost::times_least(wanted.as_secs_f64() / quickest.as_secs_f64());
    tracing::info!(?cost, least_milliseconds = quickest.as_millis(), "tuned the cost of passwords");
    Ok(cost)
}
