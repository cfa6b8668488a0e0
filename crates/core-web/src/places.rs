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
/// Slow bodies of all callers that are waited for at once.
const MOST_READING: usize = 256;
/// How long who has sent a slow body waits for a place to run.
const RETURN_TIME: Duration = Duration::from_secs(1);

/// All there are.
pub(crate) struct Places {
    running: Arc<Semaphore>,
    reading: Semaphore,
    waiting: Arc<Semaphore>,
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

    /// Waits for the rest of a slow body without a place to run, then for such a place.
    pub(crate) async fn leave_meanwhile<T>(
        &self,
        budget: &Budget,
        permit: Permit,
        reading: impl Future<Output = Result<T, Failure>>,
    ) -> Result<(T, Permit), Failure> {
        drop(permit);
        let slow = |_| Failure::new(ErrorCode::Unavailable, "too many slow bodies are being read");
        let own = budget.reading.try_acquire().map_err(slow)?;
        let all = self.reading.try_acquire().map_err(slow)?;
        let whole = reading.await?;
        drop((own, all));
        let (running, of_caller) = (Arc::clone(&self.running), Arc::clone(&budget.running));
        let entered = async { tokio::try_join!(running.acquire_owned(), of_caller.acquire_owned()) };
        match tokio::time::timeout(RETURN_TIME, entered).await {
            Ok(Ok((all, own))) => Ok((whole, self.permit(vec![all, own]))),
            _ => Err(busy()),
        }
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

    #[test]
    fn who_only_waits_lets_others_run() {
        let places = Places::new(1);
        let own = budget([192, 0, 2, 1]);
        let waits = places.enter(&own);
        assert!(waits.as_ref().is_ok_and(Permit::begin_waiting));
        assert_eq!(code(&places.enter(&own)), None);
    }
}
