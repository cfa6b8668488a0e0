//! Group commit: writes that wait at the same time go into the database as one statement and one commit.
//!
//! Nobody waits when nobody else does. What fails together for any reason but a lost database is written again one by
//! one, so that a bad write fails alone.

use std::collections::BTreeMap;

use clm_core_db::intents::{self, IntentRow};
use clm_core_db::records::{self, IssuedEffect};
use clm_core_db::{DbError, PgPool};
use clm_types::{ErrorCode, Refusal};
use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::CoreError;

/// Writes that wait at most; more are held back at the caller.
const QUEUE: usize = 1024;
/// Writes of one commit at most.
const LARGEST_BATCH: usize = 64;
/// How often a statement is tried that lost against another one.
const ATTEMPTS: u32 = 4;

/// The queues' entrances.
pub(crate) struct Committer {
    intents: mpsc::Sender<Waiting<IntentRow, ()>>,
    issued: mpsc::Sender<Waiting<IssuedEffect, bool>>,
}

struct Waiting<W, O> {
    write: W,
    done: oneshot::Sender<Result<O, CoreError>>,
}

impl<W, O> Waiting<W, O> {
    fn answer(self, outcome: Result<O, CoreError>) {
        // A caller that has gone away does not care.
        let _ = self.done.send(outcome);
    }
}

impl Committer {
    /// Starts the tasks that commit; they end when the last entrance is dropped.
    pub(crate) fn start(app: PgPool, system: PgPool) -> Self {
        let (intents, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_intents(app, waiting));
        let (issued, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_issued(system, waiting));
        Self { intents, issued }
    }

    /// Commits an intent. After `unavailable` it may be there nevertheless: its operation id tells.
    pub(crate) async fn insert_intent(&self, intent: IntentRow) -> Result<(), CoreError> {
        commit(&self.intents, intent).await
    }

    /// Reflects an issued certificate. True if this call did it.
    pub(crate) async fn apply_issued(&self, effect: IssuedEffect) -> Result<bool, CoreError> {
        commit(&self.issued, effect).await
    }
}

async fn commit<W, O>(queue: &mpsc::Sender<Waiting<W, O>>, write: W) -> Result<O, CoreError> {
    let (done, outcome) = oneshot::channel();
    queue.send(Waiting { write, done }).await.map_err(|_| unavailable())?;
    outcome.await.map_err(|_| unavailable())?
}

/// An organization's intents make one commit; organizations do not wait for each other.
async fn write_intents(app: PgPool, mut waiting: mpsc::Receiver<Waiting<IntentRow, ()>>) {
    let mut batch = Vec::with_capacity(LARGEST_BATCH);
    while waiting.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
        let mut organizations = BTreeMap::<Uuid, Vec<_>>::new();
        for waiting in batch.drain(..) {
            organizations.entry(waiting.write.instance.organization_id).or_default().push(waiting);
        }
        join_all(organizations.into_iter().map(|(id, intents)| write_together(&app, id, intents))).await;
    }
}

async fn write_together(app: &PgPool, organization_id: Uuid, intents: Vec<Waiting<IntentRow, ()>>) {
    let rows: Vec<&IntentRow> = intents.iter().map(|waiting| &waiting.write).collect();
    match insert_intents(app, organization_id, &rows).await {
        Ok(()) => intents.into_iter().for_each(|waiting| waiting.answer(Ok(()))),
        Err(error) if is_of_all(&error, intents.len()) => fail(intents, error),
        Err(_) => {
            for waiting in intents {
                let outcome = insert_intents(app, organization_id, &[&waiting.write]).await;
                waiting.answer(outcome.map_err(Into::into));
            }
        }
    }
}

async fn insert_intents(app: &PgPool, organization_id: Uuid, rows: &[&IntentRow]) -> Result<(), DbError> {
    let mut conn = app.acquire().await?;
    intents::insert_all(&mut conn, organization_id, rows).await
}

async fn write_issued(system: PgPool, mut waiting: mpsc::Receiver<Waiting<IssuedEffect, bool>>) {
    let mut batch = Vec::with_capacity(LARGEST_BATCH);
    while waiting.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
        let rows: Vec<&IssuedEffect> = batch.iter().map(|waiting| &waiting.write).collect();
        match apply_issued(&system, &rows).await {
            Ok(applied) => {
                for waiting in batch.drain(..) {
                    let done = applied.contains(&waiting.write.issued.operation_id);
                    waiting.answer(Ok(done));
                }
            }
            Err(error) if is_of_all(&error, batch.len()) => fail(batch.drain(..), error),
            Err(_) => {
                for waiting in batch.drain(..) {
                    let outcome = apply_issued(&system, &[&waiting.write]).await;
                    waiting.answer(outcome.map(|applied| !applied.is_empty()).map_err(Into::into));
                }
            }
        }
    }
}

async fn apply_issued(system: &PgPool, rows: &[&IssuedEffect]) -> Result<Vec<Uuid>, DbError> {
    let mut attempt = 1;
    loop {
        let mut conn = system.acquire().await?;
        match records::apply_issued(&mut conn, rows, false).await {
            Err(DbError::Serialization(_)) if attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// Whether there is no use in trying one by one.
const fn is_of_all(error: &DbError, writes: usize) -> bool {
    writes == 1 || matches!(error, DbError::Unavailable(_))
}

fn fail<W, O>(waiting: impl IntoIterator<Item = Waiting<W, O>>, error: DbError) {
    let mut error = Some(error);
    for waiting in waiting {
        waiting.answer(Err(error.take().map_or_else(unavailable, Into::into)));
    }
}

fn unavailable() -> CoreError {
    Refusal::new(ErrorCode::Unavailable, "Core's database cannot be reached now")
        .hint("try the same request again in a few seconds")
        .into()
}
