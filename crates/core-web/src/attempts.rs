//! Failed sign-ins, bounded per address. Who sends one wrong key again and again is told so without asking the
//! database; who sends many different ones has to wait.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clm_types::ErrorCode;
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Failures that count, from the first one of an address.
pub(crate) const WINDOW: Duration = Duration::from_mins(1);
/// Different wrong keys or tokens that an address may send within the window.
const MOST_FAILURES: u32 = 60;
/// Bodies that an address without credentials may send at a time.
const MOST_READING: usize = 16;
/// Addresses and keys that are remembered.
const REMEMBERED: u64 = 10_000;

/// SHA-256 of a key or token.
type Presented = [u8; 32];

/// The failures of the last minute.
pub(crate) struct Attempts {
    by_address: Cache<IpAddr, Arc<AtomicU32>>,
    /// By address too: a key may be good from another one.
    answers: Cache<(IpAddr, Presented), Failure>,
    /// Places for bodies that are being read.
    reading: Cache<IpAddr, Arc<Semaphore>>,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self {
            by_address: Cache::builder().max_capacity(REMEMBERED).time_to_live(WINDOW).build(),
            answers: Cache::builder().max_capacity(REMEMBERED).time_to_live(WINDOW).build(),
            reading: Cache::builder().max_capacity(REMEMBERED).time_to_idle(WINDOW).build(),
        }
    }

    /// A place to read a body from this address; none when it has too many under way, that others may find one.
    pub(crate) fn begin_reading(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let places = self.reading.get_with(network(address), || Arc::new(Semaphore::new(MOST_READING)));
        places.try_acquire_owned().ok()
    }

    /// Fails if this failed before from this address, or if too much did.
    pub(crate) fn check(&self, address: IpAddr, presented: Option<Presented>) -> Result<(), Failure> {
        let address = network(address);
        if let Some(failure) = presented.and_then(|presented| self.answers.get(&(address, presented))) {
            return Err(failure);
        }
        let failures = self.by_address.get(&address).map_or(0, |count| count.load(Ordering::Relaxed));
        if failures < MOST_FAILURES {
            return Ok(());
        }
        let detail = "too many different wrong keys or tokens came from this address";
        Err(Failure::new(ErrorCode::RateLimited, detail))
    }

    /// Notes a failure, and its answer to what was presented.
    pub(crate) fn note(&self, address: IpAddr, presented: Option<Presented>, failure: &Failure) {
        let address = network(address);
        self.by_address.get_with(address, Arc::default).fetch_add(1, Ordering::Relaxed);
        if let Some(presented) = presented {
            self.answers.insert((address, presented), failure.clone());
        }
    }
}

/// Whoever has one IPv6 address has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
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

    fn code(verdict: &Result<(), Failure>) -> Option<ErrorCode> {
        verdict.as_ref().err().map(|failure| failure.0.code)
    }

    #[test]
    fn many_different_wrong_keys_stop_their_address_alone() {
        let (attempts, own) = (Attempts::new(), address("192.0.2.1"));
        for number in 0..MOST_FAILURES {
            assert_eq!(code(&attempts.check(own, Some(key(number)))), None);
            attempts.note(own, Some(key(number)), &wrong());
        }
        assert_eq!(code(&attempts.check(own, Some(key(1_000)))), Some(ErrorCode::RateLimited));
        assert_eq!(code(&attempts.check(address("192.0.2.2"), Some(key(1_000)))), None);
    }

    #[test]
    fn slow_bodies_of_one_address_leave_room_for_others() {
        let (attempts, own) = (Attempts::new(), address("192.0.2.1"));
        let mut places: Vec<_> = (0..MOST_READING).map(|_| attempts.begin_reading(own).unwrap()).collect();
        assert!(attempts.begin_reading(own).is_none());
        assert!(attempts.begin_reading(address("192.0.2.2")).is_some());
        places.pop();
        assert!(attempts.begin_reading(own).is_some());
    }

    #[test]
    fn one_wrong_key_sent_again_counts_once() {
        let (attempts, own) = (Attempts::new(), address("192.0.2.1"));
        attempts.note(own, Some(key(1)), &wrong());
        assert_eq!(code(&attempts.check(own, Some(key(1)))), Some(ErrorCode::Unauthenticated));
        assert_eq!(code(&attempts.check(own, Some(key(2)))), None);
        assert_eq!(code(&attempts.check(address("192.0.2.2"), Some(key(1)))), None);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:2")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
    }
}
