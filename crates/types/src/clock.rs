//! Time as an argument.

use chrono::{DateTime, SubsecRound, Utc};
use std::sync::{Arc, Mutex};

/// A moment in UTC, in whole microseconds as PostgreSQL stores it.
pub type Time = DateTime<Utc>;

/// Where a process reads the time: the system, or a clock that a test moves by hand.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Fixed(Arc<Mutex<Time>>),
}

impl Clock {
    /// The wall clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn fixed(at: Time) -> Self {
        Self(Source::Fixed(Arc::new(Mutex::new(at.trunc_subsecs(6)))))
    }

    /// The current time in whole microseconds.
    pub fn now(&self) -> Time {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
            Source::System => Utc::now().trunc_subsecs(6),
            Source::Fixed(time) => *time.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        }
    }

    /// Moves a fixed clock forward; does nothing to the system's.
    pub fn advance(&self, by: chrono::TimeDelta) {
        if let Source::Fixed(time) = &self.0 {
            *time.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_by_hand() {
        let start = DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
        let clock = Clock::fixed(start);
        assert_eq!(clock.now().timestamp_subsec_nanos(), 123_456_000);
        clock.advance(chrono::TimeDelta::seconds(5));
        assert_eq!(clock.now().timestamp(), 1_700_000_005);
    }
}
