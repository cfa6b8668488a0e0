//! Refused changes on record: beside the calls, not in their way, and no more of them than the audit log bears.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clm_core_db::audit::{self, NewAuditRow};
use clm_types::{ErrorCode, Refusal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::{Core, CoreError, Ctx};

/// How often what has gathered is written.
const PERIOD: Duration = Duration::from_secs(1);
/// Most entries that gather within a period; what is more is counted only.
const MOST_WAITING: usize = 100;
/// Most of them that are of one user, or of nobody who is known on one object, so that nobody's refusals hide those of others.
const MOST_OF_ONE: usize = 10;
/// Longest detail, in characters: it may repeat what the caller sent.
const LONGEST_DETAIL: usize = 500;

/// What has gathered.
pub(crate) struct Refusals {
    waiting: Mutex<Vec<NewAuditRow>>,
    dropped: AtomicU64,
}

impl Refusals {
    pub(crate) const fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()), dropped: AtomicU64::new(0) }
    }

    fn push(&self, row: NewAuditRow) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = waiting.iter().filter(|other| whose(other) == whose(&row)).count();
        if waiting.len() < MOST_WAITING && of_one < MOST_OF_ONE {
            waiting.push(row);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self) -> Vec<NewAuditRow> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whose refusal it is: of a user, or of nobody who is known on an object.
fn whose(row: &NewAuditRow) -> (Option<Uuid>, Option<Uuid>) {
    (row.actor_user_id, row.object_id.filter(|_| row.actor_user_id.is_none()))
}

impl Core {
    /// Has it put on record that a change was refused. Calls that cannot be read, and trouble of ours,
    /// are none.
    pub fn note_refusal(
        &self,
        ctx: &Ctx,
        (action, object_type): (&str, &str),
        object_id: Option<Uuid>,
        refusal: &Refusal,
    ) {
        if !is_of_record(refusal.code) {
            return;
        }
        let mut entry = AuditEntry::of(ctx, &self.entropy, action, object_type);
        if let Some(id) = object_id {
            entry = entry.object(id);
        }
        self.note_entry(entry, refusal);
    }

    /// The same for an entry that says more, whatever the refusal is.
    pub(crate) fn note_entry(&self, entry: AuditEntry, refusal: &Refusal) {
        let detail: String = refusal.to_string().chars().take(LONGEST_DETAIL).collect();
        self.refusals.push(entry.outcome("refused").detail(detail).row().clone());
    }

    /// Writes refusals down until told to stop; hands on how many more were too many for that.
    pub async fn run_refusals(self: Arc<Self>, shutdown: CancellationToken, report: impl Fn(u64) + Send) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
            if let Err(error) = self.write_refusals().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "refusals could not be put on record"
                );
            }
            let dropped = self.refusals.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "refusals were too many to be put on record");
                report(dropped);
            }
        }
    }

    /// Writes down what has gathered; how many entries.
    ///
    /// # Errors
    /// When the database fails; the entries then wait on, unless it will never take them.
    pub async fn write_refusals(&self) -> Result<usize, CoreError> {
        let rows = self.refusals.take();
        if rows.is_empty() {
            return Ok(0);
        }
        let entries = &rows;
        let written = self.in_system("write_refusals", |mut tx| async move {
            for row in entries {
                audit::insert(&mut tx, row).await?;
            }
            Ok((tx, ()))
        });
        match written.await {
            Ok(()) => Ok(rows.len()),
            Err(error) => {
                if error.is_retryable() {
                    for row in rows {
                        self.refusals.push(row);
                    }
                }
                Err(error)
            }
        }
    }
}

/// Whether somebody tried something and was told no.
const fn is_of_record(code: ErrorCode) -> bool {
    use ErrorCode as C;
    !code.is_retryable()
        && !matches!(
            code,
            C::InvalidRequest
                | C::BodyTooLarge
                | C::UnsupportedMediaType
                | C::MethodNotAllowed
                | C::IdempotencyKeyRequired
                | C::IdempotencyKeyReused
                | C::PreconditionRequired
                | C::PreconditionFailed
                | C::Internal
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(user: u128) -> NewAuditRow {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let entropy = clm_types::Entropy::seeded(1);
        let ctx = Ctx::system(Uuid::from_u128(1).into(), now, &entropy);
        let entry = AuditEntry::of(&ctx, &entropy, "request.create", "request");
        NewAuditRow { actor_user_id: Some(Uuid::from_u128(user)), ..entry.row().clone() }
    }

    #[test]
    fn neither_one_user_nor_all_together_flood_the_log() {
        let refusals = Refusals::new();
        for _ in 0..50 {
            refusals.push(row(1));
        }
        assert_eq!(refusals.take().len(), MOST_OF_ONE);
        for user in 0..1_000 {
            refusals.push(row(user));
        }
        assert_eq!(refusals.take().len(), MOST_WAITING);
        assert_eq!(refusals.dropped.load(Ordering::Relaxed), 40 + 900);
        refusals.push(row(1));
        assert_eq!(refusals.take().len(), 1);
    }

    #[test]
    fn refusals_of_nobody_who_is_known_do_not_hide_those_on_other_objects() {
        let refusals = Refusals::new();
        let on = |object: u128| NewAuditRow {
            actor_user_id: None,
            object_id: Some(Uuid::from_u128(object)),
            ..row(0)
        };
        for _ in 0..50 {
            refusals.push(on(1));
        }
        refusals.push(on(2));
        assert_eq!(refusals.take().len(), MOST_OF_ONE + 1);
        // Of somebody who is known, they are theirs, whatever they are about.
        for object in 0..50 {
            refusals.push(NewAuditRow { object_id: Some(Uuid::from_u128(object)), ..row(1) });
        }
        assert_eq!(refusals.take().len(), MOST_OF_ONE);
    }

    #[test]
    fn a_no_is_of_record_and_a_call_that_cannot_be_read_is_not() {
        for code in [ErrorCode::PermissionDenied, ErrorCode::SelfApproval, ErrorCode::NameNotAllowed] {
            assert!(is_of_record(code), "{code}");
        }
        for code in [ErrorCode::InvalidRequest, ErrorCode::Unavailable, ErrorCode::Internal] {
            assert!(!is_of_record(code), "{code}");
        }
    }
}
