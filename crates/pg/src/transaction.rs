//! Named transactions, tried again when they lose against another one.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};

use crate::DbError;
use crate::error::is_serialization_failure;

const ATTEMPTS: u32 = 6;

/// An open transaction; dropped without [`commit`], it rolls back.
pub type Tx = Transaction<'static, Postgres>;

/// Begins a transaction that is not retried.
pub async fn begin(pool: &PgPool) -> Result<Tx, DbError> {
    Ok(pool.begin().await?)
}

/// Begins a transaction that reads one snapshot of the database, and cannot write.
pub async fn begin_snapshot(pool: &PgPool) -> Result<Tx, DbError> {
    Ok(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
}

/// Begins a transaction all of whose statements see the database as the first one did. It is not retried.
pub async fn begin_repeatable_read(pool: &PgPool) -> Result<Tx, DbError> {
    Ok(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?)
}

/// Lifts the limits on the time of a statement, and between two, until the transaction ends: for work that grows with the data.
pub async fn lift_time_limits(tx: &mut Tx) -> Result<(), DbError> {
    sqlx::query(
        "SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)",
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Commits. After an error the outcome is unknown: the caller must be idempotent.
pub async fn commit(tx: Tx) -> Result<(), DbError> {
    Ok(tx.commit().await?)
}

/// Runs `body` in a transaction and commits what it did, or nothing.
///
/// The body takes the transaction and hands it back with its result, so that the commit cannot be
/// forgotten (and its future has no lifetime of its own, which `Send` handlers need).
///
/// When the database reports a serialization failure or a deadlock (40001, 40P01), anywhere in the
/// chain of the error, the whole body runs again after a short wait, six times at most. The body
/// must therefore have no effect outside the transaction. `name` stands in the log.
pub async fn transaction<T, E, F, Fut>(pool: &PgPool, name: &'static str, mut body: F) -> Result<T, E>
where
    F: FnMut(Tx) -> Fut,
    Fut: Future<Output = Result<(Tx, T), E>>,
    E: std::error::Error + From<DbError> + 'static,
{
    let mut attempt = 1;
    loop {
        match attempt_once(pool, &mut body).await {
            Err(error) if attempt < ATTEMPTS && is_serialization_failure(&error) => {
                tracing::debug!(transaction = name, attempt, "transaction lost, trying again");
                tokio::time::sleep(backoff(attempt)).await;
                attempt += 1;
            }
            Err(error) => {
                tracing::debug!(transaction = name, attempt, "transaction rolled back");
                return Err(error);
            }
            Ok(value) => return Ok(value),
        }
    }
}

async fn attempt_once<T, E, F, Fut>(pool: &PgPool, body: &mut F) -> Result<T, E>
where
    F: FnMut(Tx) -> Fut,
    Fut: Future<Output = Result<(Tx, T), E>>,
    E: From<DbError>,
{
    let (tx, value) = body(begin(pool).await?).await?;
    commit(tx).await?;
    Ok(value)
}

/// Doubles per attempt, with jitter so that two losers do not meet again.
fn backoff(attempt: u32) -> Duration {
    let step = Duration::from_millis(2 << attempt);
    step / 2 + step.mul_f64(jitter() / 2.0)
}

/// A number from 0 up to 1 out of the hasher's random seed: good enough to spread retries, and
/// nothing else depends on it.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handlers of a web server need futures that may move between threads.
    #[test]
    fn a_transaction_may_run_on_any_thread_and_borrow_its_arguments() {
        fn is_send(_: impl Future<Output = Result<u64, DbError>> + Send) {}
        async fn rename(pool: &PgPool, name: &str, ids: &[i64]) -> Result<u64, DbError> {
            transaction(pool, "rename", |mut tx| async move {
                let mut count = 0;
                for id in ids {
                    let query = sqlx::query("UPDATE t SET name = $1 WHERE id = $2").bind(name).bind(id);
                    count += query.execute(&mut *tx).await?.rows_affected();
                }
                Ok((tx, count))
            })
            .await
        }
        async fn owned(pool: PgPool) -> Result<u64, DbError> {
            rename(&pool, "a", &[1]).await
        }
        let pool = |runtime: &tokio::runtime::Runtime| {
            let _guard = runtime.enter();
            PgPool::connect_lazy("postgres://localhost/none").unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        is_send(owned(pool(&runtime)));
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempt in 1..ATTEMPTS {
            let step = Duration::from_millis(2 << attempt);
            let wait = backoff(attempt);
            assert!(wait >= step / 2 && wait <= step, "{attempt}: {wait:?}");
        }
    }
}
