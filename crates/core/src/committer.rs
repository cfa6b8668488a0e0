//! Group commit: writes that wait at the same time go into the database as one statement and one commit.
//!
//! Nobody waits when nobody else does. What fails together for any reason but a lost database is written again one by
//! one, so that a bad write fails alone, and a commit that takes long does not hold up those after it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clm_core_db::intents::{self, IntentRow};
use clm_core_db::records::{self, AppliedRow, IssuedEffect};
use clm_core_db::{DbError, PgPool};
use clm_types::{ErrorCode, Refusal};
use futures::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::CoreError;
use crate::records::report_unapproved;

/// Writes that wait at most; more are held back at the caller.
const QUEUE: usize = 1024;
/// Writes of one commit at most.
const LARGEST_BATCH: usize = 64;
/// Commits of one kind at once.
const MOST_AT_ONCE: usize = 8;
/// Writes of one batch that are done one by one, at once: the pool is there for others too.
const ALONE_AT_ONCE: usize = 2;
/// How long a commit is waited for before the next one begins beside it.
const PATIENCE: Duration = Duration::from_millis(50);

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

async fn write_intents(app: PgPool, mut waiting: mpsc::Receiver<Waiting<IntentRow, ()>>) {
    let mut commits = Commits::default();
    let mut batch = Vec::with_capacity(LARGEST_BATCH);
    while waiting.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
        let mut organizations = BTreeMap::<Uuid, Vec<_>>::new();
        for waiting in batch.drain(..) {
            organizations.entry(waiting.write.instance.organization_id).or_default().push(waiting);
        }
        for (id, intents) in organizations {
            let app = app.clone();
            commits.begin(async move { write_together(&app, id, intents).await }).await;
        }
        commits.await_patiently().await;
    }
}

/// The intents of one organization.
async fn write_together(app: &PgPool, organization_id: Uuid, intents: Vec<Waiting<IntentRow, ()>>) {
    let rows: Vec<&IntentRow> = intents.iter().map(|waiting| &waiting.write).collect();
    match insert_intents(app, organization_id, &rows).await {
        Ok(()) => {
            for waiting in intents {
                waiting.answer(Ok(()));
            }
        }
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
    let mut commits = Commits::default();
    let mut batch = Vec::with_capacity(LARGEST_BATCH);
    while waiting.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
        let (system, issued) = (system.clone(), std::mem::take(&mut batch));
        commits.begin(async move { apply_together(&system, issued).await }).await;
        commits.await_patiently().await;
    }
}

/// What this commit did not do is done one by one, each waiting for whoever holds its operation; an operation that is
/// completed already is found so.
async fn apply_together(system: &PgPool, issued: Vec<Waiting<IssuedEffect, bool>>) {
    let rows: Vec<&IssuedEffect> = issued.iter().map(|waiting| &waiting.write).collect();
    let applied = match apply_issued(system, &rows).await {
        Ok(applied) => applied,
        Err(error @ DbError::Unavailable(_)) => return fail(issued, error),
        Err(_) => Vec::new(),
    };
    report_unapproved(&applied);
    let applied: HashSet<Uuid> = applied.into_iter().map(|row| row.operation_id).collect();
    let is_applied =
        |waiting: &Waiting<IssuedEffect, bool>| applied.contains(&waiting.write.issued.operation_id);
    let (done, left): (Vec<_>, Vec<_>) = issued.into_iter().partition(is_applied);
    for waiting in done {
        waiting.answer(Ok(true));
    }
    stream::iter(left).for_each_concurrent(ALONE_AT_ONCE, |waiting| apply_alone(system, waiting)).await;
}

async fn apply_issued(system: &PgPool, rows: &[&IssuedEffect]) -> Result<Vec<AppliedRow>, DbError> {
    let mut conn = system.acquire().await?;
    records::apply_issued(&mut conn, rows, false).await
}

async fn apply_alone(system: &PgPool, waiting: Waiting<IssuedEffect, bool>) {
    let effect = &waiting.write;
    let outcome = clm_pg::transaction(system, "apply_issued", |mut tx| async move {
        records::lock_operation(&mut tx, effect.issued.operation_id).await?;
        let applied = records::apply_issued(&mut tx, &[effect], false).await?;
        Ok::<_, CoreError>((tx, applied))
    });
    let outcome = outcome.await.map(|applied| {
        report_unapproved(&applied);
        !applied.is_empty()
    });
    waiting.answer(outcome);
}

/// Commits under way.
#[derive(Default)]
struct Commits(JoinSet<()>);

impl Commits {
    /// Begins one, as soon as there are few enough.
    async fn begin(&mut self, commit: impl Future<Output = ()> + Send + 'static) {
        while self.0.len() >= MOST_AT_ONCE {
            self.0.join_next().await;
        }
        self.0.spawn(commit);
    }

    /// Waits for all of them, so that meanwhile the next batch grows; not for those that somebody holds up.
    async fn await_patiently(&mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        // What goes on longer goes on beside the next batch.
        let _ = tokio::time::timeout(PATIENCE, all).await;
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
