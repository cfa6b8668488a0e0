//! Places for what goes on at once: as many as the service can serve well. Who finds none is told so at once, for a queue
//! would only make everybody late.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clm_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::callers::Budget;
use crate::failure::Failure;

/// Calls that wait for the end of an operation, as `Prefer: wait` asks for.
const MOST_WAITING: usize = 512;
/// Slow bodies of all callers with credentials that are waited for at once.
const MOST_READING: usize = 256;
/// Slow bodies without credentials that are waited for at once.
const MOST_READING_ANONYMOUS: usize = 64;
/// How long who has sent a slow body waits for a place among their own calls.
const RETURN_TIME: Duration = Duration::from_secs(1);

/// All there are.
pub(crate) struct Places {
    running: Arc<Semaphore>,
    reading: Semaphore,
    reading_anonymous: Semaphore,
    waiting: Arc<Semaphore>,
}

/// Whose slow bodies: those without credentials take no places from others.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    Authenticated,
    Anonymous,
}

/// The right to run. Who works on after the caller has hung up keeps a copy for that time.
#[derive(Clone)]
pub(crate) struct Permit {
    held: Arc<Mutex<Vec<OwnedSemaphorePermit>>>,
    waiting: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(most_running: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(most_running)),
            reading: Semaphore::new(MOST_READING),
            reading_anonymous: Semaphore::new(MOST_READING_ANONYMOUS),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }

    /// A place to run.
    pub(crate) fn enter(&self, budget: &Budget) -> Result<Permit, Failure> {
        let all = Arc::clone(&self.running).try_acquire_owned().map_err(|_| busy())?;
        let own = Arc::clone(&budget.running).try_acquire_owned().map_err(|_| {
            let detail = "too many calls of this caller run at once";
            Failure::new(ErrorCode::RateLimited, detail).after(Duration::from_secs(1))
        })?;
        Ok(self.permit(vec![all, own]))
    }

    /// Waits for the rest of a slow body without a place to run, then takes such a place.
    pub(crate) async fn leave_meanwhile<T>(
        &self,
        budget: &Budget,
        pool: Reading,
        permit: Permit,
        reading: impl Future<Output = Result<T, Failure>>,
    ) -> Result<(T, Permit), Failure> {
        drop(permit);
        let slow = |_| Failure::new(ErrorCode::Unavailable, "too many slow bodies are being read");
        let own = budget.reading.try_acquire().map_err(slow)?;
        let pool = match pool {
            Reading::Authenticated => &self.reading,
            Reading::Anonymous => &self.reading_anonymous,
        };
        let all = pool.try_acquire().map_err(slow)?;
        let whole = reading.await?;
        drop((own, all));
        // Who waits for a place among their own calls keeps none from others meanwhile.
        let of_caller = Arc::clone(&budget.running).acquire_owned();
        let Ok(Ok(own)) = tokio::time::timeout(RETURN_TIME, of_caller).await else {
            return Err(busy());
        };
        let all = Arc::clone(&self.running).try_acquire_owned().map_err(|_| busy())?;
        Ok((whole, self.permit(vec![all, own])))
    }

    fn permit(&self, held: Vec<OwnedSemaphorePermit>) -> Permit {
        Permit { held: Arc::new(Mutex::new(held)), waiting: Arc::clone(&self.waiting) }
    }
}

impl Permit {
    /// Lets others run while this call only waits. False when too many wait already.
    pub(crate) fn begin_waiting(&self) -> bool {
        let Ok(waiting) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return false;
        };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = vec![waiting];
        true
    }
}

fn busy() -> Failure {
    Failure::new(ErrorCode::Unavailable, "too many requests run at once")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use futures::poll;

    use super::*;
    use crate::callers::{Caller, Callers};
    use crate::limits::Limits;

    fn budget(of: [u8; 4]) -> Arc<Budget> {
        let limits = Limits { concurrent_per_caller: 2, ..Limits::default() };
        Callers::new(&limits).admit(Caller::at(of.into()), true).unwrap_or_else(|_| unreachable!())
    }

    fn code(entered: &Result<Permit, Failure>) -> Option<ErrorCode> {
        entered.as_ref().err().map(|failure| failure.0.code)
    }

    #[test]
    fn nobody_gets_all_places_and_nobody_queues_for_one() {
        let places = Places::new(3);
        let (greedy, other) = (budget([192, 0, 2, 1]), budget([192, 0, 2, 2]));
        let held = [places.enter(&greedy), places.enter(&greedy)];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(code(&places.enter(&greedy)), Some(ErrorCode::RateLimited));
        let last = places.enter(&other);
        assert_eq!(code(&last), None);
        assert_eq!(code(&places.enter(&other)), Some(ErrorCode::Unavailable));
        drop(held);
        assert_eq!(code(&places.enter(&other)), None);
    }

    #[tokio::test]
    async fn who_waits_among_their_own_calls_holds_no_place_of_others() {
        let places = Places::new(3);
        let (greedy, other) = (budget([192, 0, 2, 1]), budget([192, 0, 2, 2]));
        let (first, slow) = (places.enter(&greedy).unwrap(), places.enter(&greedy).unwrap());
        let mut second = None;
        let body = async {
            second = Some(places.enter(&greedy).unwrap());
            Ok(())
        };
        let mut returning = pin!(places.leave_meanwhile(&greedy, Reading::Authenticated, slow, body));
        assert!(poll!(&mut returning).is_pending());
        let held = places.enter(&other);
        assert_eq!(code(&held), None);
        // With a place among their own, but none among all.
        drop(first);
        let last = places.enter(&other);
        assert_eq!(code(&last), None);
        assert!(returning.await.is_err_and(|failure| failure.0.code == ErrorCode::Unavailable));
    }

    #[tokio::test]
    async fn slow_bodies_without_credentials_keep_nobody_else_waiting() {
        let places = Places::new(1);
        let budgets: Vec<_> = (0..=MOST_READING_ANONYMOUS)
            .map(|number| budget([192, 0, 2, u8::try_from(number).unwrap_or_default()]))
            .collect();
        let slow = |budget: usize, pool| {
            let budget = &budgets[budget];
            let permit = places.enter(budget).unwrap();
            Box::pin(places.leave_meanwhile(budget, pool, permit, pending::<Result<(), Failure>>()))
        };
        let mut held = Vec::new();
        for number in 0..MOST_READING_ANONYMOUS {
            let mut one = slow(number, Reading::Anonymous);
            assert!(poll!(&mut one).is_pending());
            held.push(one);
        }
        let refused = slow(MOST_READING_ANONYMOUS, Reading::Anonymous).await.err().unwrap();
        assert_eq!(refused.0.code, ErrorCode::Unavailable);
        assert!(poll!(slow(MOST_READING_ANONYMOUS, Reading::Authenticated)).is_pending());
    }

    #[test]
    fn who_only_waits_lets_others_run() {
        let places = Places::new(1);
        let own = budget([192, 0, 2, 1]);
        let waits = places.enter(&own);
        assert!(waits.as_ref().is_ok_and(Permit::begin_waiting));
        assert_eq!(code(&places.enter(&own)), None);
    }
}
