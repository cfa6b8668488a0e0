//! How often a long list is made: after each time it rests for a multiple of what it took, so that revocations that go on
//! for long do not keep the service at making lists. What comes meanwhile is in the next one.

use std::collections::HashMap;

use chrono::TimeDelta;
use clm_types::Time;
use uuid::Uuid;

/// Of the time that making a list took.
const MULTIPLE: i32 = 5;
/// No list rests for longer.
const LONGEST: TimeDelta = TimeDelta::minutes(1);

/// An authority and a shard.
type Scope = (Uuid, i16);

/// The scopes whose lists rest, and until when.
#[derive(Default)]
pub(crate) struct CrlRests(HashMap<Scope, Time>);

impl CrlRests {
    pub(crate) fn is_resting(&self, scope: Scope, now: Time) -> bool {
        // A rest that is longer than any is of a clock that was put back.
        self.0.get(&scope).is_some_and(|until| now < *until && *until - now <= LONGEST)
    }

    /// A list was made from `begun` to `ended`.
    pub(crate) fn begin(&mut self, scope: Scope, begun: Time, ended: Time) {
        self.0.retain(|_, until| ended < *until);
        let rest = ((ended - begun) * MULTIPLE).clamp(TimeDelta::zero(), LONGEST);
        self.0.insert(scope, ended + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn a_list_rests_for_a_multiple_of_what_it_took() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let (long, other) = ((Uuid::from_u128(1), 0), (Uuid::from_u128(1), 1));
        let mut rests = CrlRests::default();
        rests.begin(long, at(0), at(4));
        assert!(rests.is_resting(long, at(23)) && !rests.is_resting(long, at(24)));
        assert!(!rests.is_resting(other, at(4)), "each part has its own time");
        rests.begin(long, at(100), at(200));
        assert!(rests.is_resting(long, at(259)) && !rests.is_resting(long, at(260)));
        rests.begin(other, at(300), at(300));
        assert!(!rests.is_resting(other, at(300)), "a short list is made again at once");
        assert_eq!(rests.0.len(), 1);
        rests.begin(long, at(86_400), at(86_404));
        assert!(!rests.is_resting(long, at(400)), "the clock was put back by a day");
    }
}
