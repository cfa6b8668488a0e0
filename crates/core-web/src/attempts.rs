//! Failed sign-ins, bounded per address. Who sends one wrong key again and again is told so without asking the
//! database; who sends many different ones has to wait.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clm_types::ErrorCode;
use moka::sync::Cache;

use crate::failure::Failure;

/// Failures that count, from the first one of an address.
pub(crate) const WINDOW: Duration = Duration::from_mins(1);
/// Different wrong keys or tokens that an address may send within the window.
const MOST_FAILURES: u32 = 60;
/// Addresses and keys that are remembered.
const REMEMBERED: u64 = 10_000;

/// SHA-256 of a key or token.
type Presented = [u8; 32];

/// The failures of the last minute.
pub(crate) struct Attempts {
    by_address: Cache<IpAddr, Arc<AtomicU32>>,
    /// By address too: a key may be good from another one.
    answers: Cache<(IpAddr, Presented), Failure>,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self {
            by_address: Cache::builder().max_capacity(REMEMBERED).time_to_live(WINDOW).build(),
            answers: Cache::builder().max_capacity(REMEMBERED).time_to_live(WINDOW).build(),
        }
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

    fn key(number: u32) -> Option<Presented> {
        let mut octets = [0; 32];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        Some(octets)
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
            assert_eq!(code(&attempts.check(own, key(number))), None);
            attempts.note(own, key(number), &wrong());
        }
        assert_eq!(code(&attempts.check(own, key(1_000))), Some(ErrorCode::RateLimited));
        assert_eq!(code(&attempts.check(address("192.0.2.2"), key(1_000))), None);
    }

    #[test]
    fn one_wrong_key_sent_again_counts_once() {
        let (attempts, own) = (Attempts::new(), address("192.0.2.1"));
        attempts.note(own, key(1), &wrong());
        assert_eq!(code(&attempts.check(own, key(1))), Some(ErrorCode::Unauthenticated));
        assert_eq!(code(&attempts.check(own, key(2))), None);
        assert_eq!(code(&attempts.check(address("192.0.2.2"), key(1))), None);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:2")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
    }
}
