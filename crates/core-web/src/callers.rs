//! Who calls, and how much each caller may: rates of reads and writes, and of wrong passwords, keys and tokens.
//!
//! A caller is an API key, the rule that has given keys to workloads, or the user of a session, once the credential has
//! been found good; until then, and without any, it is an address. So who sends invented keys uses up what its address
//! may, and not what those may who share the address and are known.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clm_core::Ctx;
use clm_core::ip_range::network_of;
use clm_types::ErrorCode;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::failure::Failure;
use crate::limits::{Limits, Rate};

#[cfg(test)]
use governor::clock::FakeRelativeClock as Clock;
#[cfg(not(test))]
use governor::clock::MonotonicClock as Clock;

/// How long a wrong key or token is known as such, and an address that does nothing is remembered.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
/// How long a good credential is remembered that is not used.
const PROVEN_FOR: Duration = Duration::from_hours(24);
/// Slow bodies of one caller that are waited for at once.
const MOST_READING: usize = 16;

#[cfg(test)]
fn new_clock() -> Clock {
    Clock::default()
}

#[cfg(not(test))]
const fn new_clock() -> Clock {
    governor::clock::MonotonicClock
}

type Moment = <Clock as governor::clock::Clock>::Instant;
type Bucket = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Moment>>;

/// SHA-256 of a key or token.
pub(crate) type Presented = [u8; 32];

/// Whose budget a call is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// An API key.
    Key(Uuid),
    /// All API keys that a workload rule has given: a new token is no new budget.
    Rule(Uuid),
    /// The user of a session.
    User(Uuid),
    /// Whoever is at this address, or in this IPv6 network, and has not yet shown a good credential.
    Address(IpAddr),
}

impl Caller {
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(network_of(address))
    }

    fn of(ctx: &Ctx) -> Option<Self> {
        if let Some(rule) = ctx.actor.workload_rule_id {
            return Some(Self::Rule(rule.into()));
        }
        match (ctx.actor.api_key_id, ctx.actor.user_id) {
            (Some(key), _) => Some(Self::Key(key.into())),
            (None, Some(user)) => Some(Self::User(user.into())),
            (None, None) => None,
        }
    }
}

/// What a caller has left.
pub(crate) struct Budget {
    reads: Bucket,
    writes: Bucket,
    /// Places for calls that run.
    pub(crate) running: Arc<Semaphore>,
    /// Places for slow bodies.
    pub(crate) reading: Arc<Semaphore>,
}

/// The failures of an address.
struct Failures {
    bucket: Bucket,
    /// Nothing unproven is looked at until then.
    blocked_until: Mutex<Option<Moment>>,
}

/// Everybody who has called lately.
pub(crate) struct Callers {
    limits: Limits,
    clock: Clock,
    budgets: Cache<Caller, Arc<Budget>>,
    /// Credentials that were good when last looked at; says whose budget they use, and nothing else.
    proven: Cache<Presented, Caller>,
    failures: Cache<IpAddr, Arc<Failures>>,
    /// The answers to what was wrong. By address too: a key may be good from another one.
    answers: Cache<(IpAddr, Presented), Failure>,
}

impl Callers {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, new_clock())
    }

    fn with_clock(limits: &Limits, clock: Clock) -> Self {
        let most = limits.remembered_callers;
        // A budget that is forgotten is full again; by then it would be anyway.
        let refill = full_after(limits.reads).max(full_after(limits.writes));
        Self {
            budgets: Cache::builder().max_capacity(most).time_to_idle(REMEMBERED_FOR.max(refill)).build(),
            proven: Cache::builder().max_capacity(most).time_to_idle(PROVEN_FOR).build(),
            failures: Cache::builder().max_capacity(most).time_to_idle(REMEMBERED_FOR).build(),
            answers: Cache::builder().max_capacity(most).time_to_live(REMEMBERED_FOR).build(),
            limits: limits.clone(),
            clock,
        }
    }

    /// Whose budget a call uses that comes from this address with this credential.
    pub(crate) fn find(&self, address: IpAddr, presented: Option<&Presented>) -> Caller {
        presented.and_then(|presented| self.proven.get(presented)).unwrap_or_else(|| Caller::at(address))
    }

    /// Whether this was good when it was last looked at.
    pub(crate) fn is_proven(&self, presented: &Presented) -> bool {
        self.proven.contains_key(presented)
    }

    /// Takes one call from the caller's budget.
    pub(crate) fn admit(&self, caller: Caller, is_read: bool) -> Result<Arc<Budget>, Failure> {
        let budget = self.budgets.get_with(caller, || Arc::new(self.new_budget()));
        let bucket = if is_read { &budget.reads } else { &budget.writes };
        match bucket.check() {
            Ok(()) => Ok(budget),
            Err(early) => {
                let what = if is_read { "reads" } else { "changes" };
                let detail = format!("too many {what} were asked for in a short time");
                Err(limited(detail, early.wait_time_from(self.clock.now())))
            }
        }
    }

    fn new_budget(&self) -> Budget {
        let bucket =
            |rate: Rate| Bucket::direct_with_clock(quota(rate.per_second, rate.burst), self.clock.clone());
        Budget {
            reads: bucket(self.limits.reads),
            writes: bucket(self.limits.writes),
            running: Arc::new(Semaphore::new(self.limits.concurrent_per_caller)),
            reading: Arc::new(Semaphore::new(MOST_READING)),
        }
    }

    /// Fails if this failed before from this address, or if too much did.
    pub(crate) fn check(&self, address: IpAddr, presented: Option<Presented>) -> Result<(), Failure> {
        let address = network_of(address);
        if let Some(failure) = presented.and_then(|presented| self.answers.get(&(address, presented))) {
            return Err(failure);
        }
        let Some(failures) = self.failures.get(&address) else {
            return Ok(());
        };
        let until = *failures.blocked_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        match until {
            Some(until) if now < until => {
                let detail = "too many different wrong passwords, keys or tokens came from this address";
                Err(limited(detail, duration(now, until)))
            }
            _ => Ok(()),
        }
    }

    /// Notes what may have been a guess.
    pub(crate) fn note_guess(&self, address: IpAddr) {
        let failures = self.failures.get_with(network_of(address), || Arc::new(self.new_failures()));
        if let Err(early) = failures.bucket.check() {
            *failures.blocked_until.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(early.earliest_possible());
        }
    }

    /// Notes a failure, and its answer to what was presented.
    pub(crate) fn note_failure(&self, address: IpAddr, presented: Option<Presented>, failure: &Failure) {
        self.note_guess(address);
        let address = network_of(address);
        if let Some(presented) = presented {
            self.proven.invalidate(&presented);
            self.answers.insert((address, presented), failure.clone());
        }
    }

    fn new_failures(&self) -> Failures {
        let most = self.limits.failures_per_minute;
        // The one that finds it empty is the last one.
        let burst = NonZeroU32::new(most.get() - 1).unwrap_or(NonZeroU32::MIN);
        let bucket =
            Bucket::direct_with_clock(Quota::per_minute(most).allow_burst(burst), self.clock.clone());
        Failures { bucket, blocked_until: Mutex::new(None) }
    }

    /// Notes that a credential is good.
    pub(crate) fn note_success(&self, presented: Presented, ctx: &Ctx) {
        if let Some(caller) = Caller::of(ctx)
            && self.proven.get(&presented) != Some(caller)
        {
            self.proven.insert(presented, caller);
        }
    }
}

fn quota(per_second: NonZeroU32, burst: NonZeroU32) -> Quota {
    Quota::per_second(per_second).allow_burst(burst)
}

fn full_after(rate: Rate) -> Duration {
    quota(rate.per_second, rate.burst).burst_size_replenished_in()
}

fn limited(detail: impl Into<String>, wait: Duration) -> Failure {
    Failure::new(ErrorCode::RateLimited, detail).after(wait)
}

fn duration(from: Moment, until: Moment) -> Duration {
    governor::clock::Reference::duration_since(&until, from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn key(number: u32) -> Presented {
        let mut octets = [0; 32];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        octets
    }

    fn wrong() -> Failure {
        Failure::new(ErrorCode::Unauthenticated, "wrong")
    }

    fn code<T>(verdict: &Result<T, Failure>) -> Option<ErrorCode> {
        verdict.as_ref().err().map(|failure| failure.0.code)
    }

    fn few() -> Limits {
        let rate = |per_second, burst| Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Limits { reads: rate(10, 20), writes: rate(1, 2), remembered_callers: 1_000, ..Limits::default() }
    }

    #[test]
    fn reads_and_writes_have_budgets_of_their_own_that_fill_again() {
        let clock = Clock::default();
        let callers = Callers::with_clock(&few(), clock.clone());
        let caller = Caller::at(address("192.0.2.1"));
        for _ in 0..2 {
            assert_eq!(code(&callers.admit(caller, false)), None);
        }
        let refused = callers.admit(caller, false).err().unwrap();
        assert_eq!((refused.0.code, refused.1), (ErrorCode::RateLimited, Some(1)));
        for _ in 0..20 {
            assert_eq!(code(&callers.admit(caller, true)), None);
        }
        assert_eq!(code(&callers.admit(caller, true)), Some(ErrorCode::RateLimited));
        assert_eq!(code(&callers.admit(Caller::at(address("192.0.2.2")), true)), None);
        clock.advance(Duration::from_millis(1_001));
        assert_eq!(code(&callers.admit(caller, false)), None);
        assert_eq!(code(&callers.admit(caller, false)), Some(ErrorCode::RateLimited));
    }

    #[test]
    fn who_is_known_does_not_pay_for_those_behind_the_same_address() {
        let callers = Callers::new(&few());
        let shared = address("192.0.2.1");
        callers.proven.insert(key(1), Caller::Key(Uuid::from_u128(1)));
        for number in 2..100 {
            let _ = callers.admit(callers.find(shared, Some(&key(number))), true);
        }
        assert_eq!(
            code(&callers.admit(callers.find(shared, Some(&key(100))), true)),
            Some(ErrorCode::RateLimited)
        );
        assert_eq!(code(&callers.admit(callers.find(shared, Some(&key(1))), true)), None);
    }

    #[test]
    fn keys_of_one_rule_have_one_budget() {
        let callers = Callers::new(&few());
        let entropy = clm_types::Entropy::seeded(1);
        let now = clm_types::Clock::system().now();
        for (number, rule) in [(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, None)] {
            let mut ctx = Ctx::system(Uuid::from_u128(1).into(), now, &entropy);
            ctx.actor.api_key_id = Some(Uuid::from_u128(number.into()).into());
            ctx.actor.workload_rule_id = rule.map(|rule| Uuid::from_u128(rule).into());
            callers.note_success(key(number), &ctx);
        }
        let callers = [1, 2, 3, 4].map(|number| callers.find(address("192.0.2.1"), Some(&key(number))));
        assert_eq!(callers[0], callers[1]);
        assert_ne!(callers[0], callers[2]);
        assert_eq!(callers[3], Caller::Key(Uuid::from_u128(4)));
    }

    #[test]
    fn a_million_addresses_are_not_remembered() {
        let callers = Callers::new(&few());
        for number in 0..1_000_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            let _ = callers.admit(Caller::at(address), true);
            if number % 50 == 0 {
                callers.note_failure(address, Some(key(number)), &wrong());
            }
        }
        callers.budgets.run_pending_tasks();
        callers.failures.run_pending_tasks();
        callers.answers.run_pending_tasks();
        let most = callers.limits.remembered_callers;
        let counts =
            [callers.budgets.entry_count(), callers.failures.entry_count(), callers.answers.entry_count()];
        assert!(counts.iter().all(|count| (1..=most).contains(count)), "{counts:?}");
    }

    #[test]
    fn many_different_wrong_keys_stop_their_address_alone() {
        let clock = Clock::default();
        let (callers, own) = (Callers::with_clock(&few(), clock.clone()), address("192.0.2.1"));
        for number in 0..60 {
            assert_eq!(code(&callers.check(own, Some(key(number)))), None);
            callers.note_failure(own, Some(key(number)), &wrong());
        }
        let refused = callers.check(own, Some(key(1_000))).unwrap_err();
        assert_eq!((refused.0.code, refused.1), (ErrorCode::RateLimited, Some(1)));
        assert_eq!(code(&callers.check(address("192.0.2.2"), Some(key(1_000)))), None);
        clock.advance(Duration::from_millis(1_001));
        assert_eq!(code(&callers.check(own, Some(key(1_000)))), None);
        callers.note_failure(own, Some(key(1_000)), &wrong());
        callers.note_failure(own, Some(key(1_001)), &wrong());
        assert_eq!(code(&callers.check(own, Some(key(1_002)))), Some(ErrorCode::RateLimited));
    }

    #[test]
    fn one_wrong_key_sent_again_counts_once() {
        let (callers, own) = (Callers::new(&few()), address("192.0.2.1"));
        callers.note_failure(own, Some(key(1)), &wrong());
        assert_eq!(code(&callers.check(own, Some(key(1)))), Some(ErrorCode::Unauthenticated));
        assert_eq!(code(&callers.check(own, Some(key(2)))), None);
        assert_eq!(code(&callers.check(address("192.0.2.2"), Some(key(1)))), None);
    }
}
