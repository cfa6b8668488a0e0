//! E-mail to users: written in the commit of what it tells of, sent by a worker of any process.
//!
//! A worker that dies between handing a message over and noting so leaves it to be sent once more: never lost, and after
//! each such death possibly there twice, with the same Message-ID.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::email_messages::{self, ClaimedEmailRow, NewEmailRow};
use clm_core_db::sign_in::{self, SignInRow};
use clm_core_db::{DbError, PgConnection};
use clm_types::{Entropy, ErrorCode, Refusal, Time, ids};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::email_texts::EmailText;
use crate::mailer::{Letter, MailFault, Mailer};
use crate::sealed_secrets::SecretsKeys;
use crate::{Core, CoreError};

/// Messages that are handed over at once.
const BATCH: usize = 8;
/// Longer than handing over takes (`[mail] timeout_seconds` is 60 at most, and two minutes for the answer): others take a
/// message when its worker died.
const LEASE: TimeDelta = TimeDelta::minutes(5);
/// How long the outbox is left alone when nothing is due.
const IDLE: Duration = Duration::from_secs(2);
/// Tries of a message that may have been taken each time. Otherwise it is tried until its time is over.
const MOST_UNANSWERED: i32 = 3;
/// First and longest wait between two tries.
const FIRST_BACKOFF: TimeDelta = TimeDelta::seconds(5);
const LONGEST_BACKOFF: TimeDelta = TimeDelta::minutes(15);
/// How long after their time messages are given up that no worker has given up.
const LEFT: TimeDelta = TimeDelta::hours(1);
/// How long it is known what became of a message, and the most rows deleted at once.
const KEPT: TimeDelta = TimeDelta::days(30);
const DELETED_AT_ONCE: i64 = 1_000;
/// Why a message was given up that did not come to be sent.
const TIME_OVER: &str = "its time was over before it could be sent";

/// How e-mail leaves, if it does.
pub struct Mail {
    /// Who takes it.
    pub mailer: Mailer,
    /// The address of this service, as messages name it.
    pub service_url: String,
}

/// Where messages are written.
pub(crate) struct Outbox {
    mailer: Mailer,
    pub(crate) service_url: String,
    secrets_keys: Arc<SecretsKeys>,
    entropy: Entropy,
    /// Messages that were not written, for there were many.
    suppressed: AtomicU64,
}

/// To whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipient<'a> {
    pub(crate) user_id: Uuid,
    pub(crate) username: &'a str,
    pub(crate) address: &'a str,
}

impl<'a> From<&'a SignInRow> for Recipient<'a> {
    fn from(user: &'a SignInRow) -> Self {
        Self { user_id: user.id, username: &user.username, address: &user.email }
    }
}

/// What became of messages that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmailReport {
    /// Taken by the mail server.
    pub sent: u64,
    /// To be tried again.
    pub retried: u64,
    /// Given up.
    pub dead: u64,
    /// Not sent yet; none where the database does not tell.
    pub waiting: Option<u64>,
    /// Not written since the last report: the user was sent many within the hour.
    pub suppressed: u64,
}

enum End {
    Sent,
    Retried,
    Dead,
    /// It could not be noted: tried again when the lease ends.
    Unknown,
}

impl EmailReport {
    const fn add(&mut self, end: &End) {
        match end {
            End::Sent => self.sent += 1,
            End::Retried => self.retried += 1,
            End::Dead => self.dead += 1,
            End::Unknown => {}
        }
    }

    /// Whether more may be due.
    const fn is_full(&self) -> bool {
        self.sent + self.retried + self.dead >= BATCH as u64
    }
}

fn place(id: Uuid) -> String {
    format!("email_messages/{id}")
}

/// The refusal of what only e-mail does, where none is sent.
pub(crate) fn no_mail() -> Refusal {
    Refusal::new(ErrorCode::MailNotConfigured, "this installation sends no e-mail")
        .hint("ask an administrator for a link: clm user link USER --link-file FILE")
}

impl Outbox {
    pub(crate) fn new(mail: Mail, secrets_keys: Arc<SecretsKeys>, entropy: Entropy) -> Self {
        let Mail { mailer, service_url } = mail;
        Self { mailer, service_url, secrets_keys, entropy, suppressed: AtomicU64::new(0) }
    }

    /// Writes a message, in an open transaction. Not if the user was sent too many of the kind within the hour: then false.
    pub(crate) async fn write(
        &self,
        conn: &mut PgConnection,
        recipient: Recipient<'_>,
        text: &EmailText<'_>,
        now: Time,
    ) -> Result<bool, CoreError> {
        if let Some(most) = text.most_an_hour() {
            let since = now - TimeDelta::hours(1);
            let written = email_messages::find_written(conn, recipient.user_id, text.kind(), since).await?;
            if written.lately >= most {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                let (user_id, kind) = (recipient.user_id, text.kind());
                tracing::warn!(%user_id, kind, "a message was not written: the user was sent many within the hour");
                return Ok(false);
            }
        }
        let id = ids::new_uuid(now, &self.entropy);
        let content = self.seal(id, &text.content(recipient.username, &self.service_url, now))?;
        let row = NewEmailRow {
            id,
            user_id: recipient.user_id,
            kind: text.kind(),
            recipient: recipient.address,
            content: &content,
            expires_at: text.expires_at(now),
            created_at: now,
        };
        email_messages::insert(conn, &row).await?;
        Ok(true)
    }

    /// The first line is the subject.
    fn seal(&self, id: Uuid, (subject, text): &(&str, Zeroizing<String>)) -> Result<Vec<u8>, CoreError> {
        let plain = Zeroizing::new([subject.as_bytes(), b"\n", text.as_bytes()].concat());
        self.secrets_keys.seal(&self.entropy, &place(id), &plain)
    }

    async fn hand_over(&self, row: &ClaimedEmailRow, now: Time) -> Result<(), MailFault> {
        if row.expires_at <= now {
            return Err(MailFault::Refused(TIME_OVER.to_owned()));
        }
        let sealed = row.content.as_deref().unwrap_or_default();
        let plain = self.secrets_keys.open(&place(row.id), sealed);
        // Perhaps another process has the key.
        let plain = plain.map_err(|error| MailFault::Failed(error.to_string()))?;
        let content = std::str::from_utf8(&plain).ok().and_then(|plain| plain.split_once('\n'));
        let Some((subject, text)) = content else {
            return Err(MailFault::Refused("the message cannot be read".to_owned()));
        };
        let (recipient, written_at) = (row.recipient.as_str(), row.created_at);
        let letter = Letter { id: row.id, recipient, subject, text, written_at };
        self.mailer.send(&letter).await
    }
}

impl Core {
    /// Whether e-mail leaves this installation.
    ///
    /// # Errors
    /// `mail_not_configured`.
    pub(crate) fn outbox(&self) -> Result<&Arc<Outbox>, Refusal> {
        self.outbox.as_ref().ok_or_else(no_mail)
    }

    /// Tells a user by e-mail, in an open transaction; nothing happens where none is sent.
    pub(crate) async fn tell_by_email(
        &self,
        conn: &mut PgConnection,
        user_id: Uuid,
        text: &EmailText<'_>,
        now: Time,
    ) -> Result<(), CoreError> {
        let Some(outbox) = &self.outbox else {
            return Ok(());
        };
        if let Some(user) = sign_in::find_by_id(conn, user_id).await? {
            outbox.write(conn, Recipient::from(&user), text, now).await?;
        }
        Ok(())
    }

    /// Sends what is due until told to stop; finishes what it has begun.
    pub async fn run_email_messages(
        self: Arc<Self>,
        shutdown: CancellationToken,
        note: impl Fn(EmailReport),
    ) {
        if self.outbox.is_none() {
            return shutdown.cancelled().await;
        }
        while !shutdown.is_cancelled() {
            let report = self.send_due_email().await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the outbox cannot be read");
                EmailReport::default()
            });
            note(report);
            if report.is_full() {
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
    }

    /// Sends a few messages that are due, at once.
    ///
    /// # Errors
    /// When no message can be taken from the database.
    pub async fn send_due_email(&self) -> Result<EmailReport, CoreError> {
        let Some(outbox) = &self.outbox else {
            return Ok(EmailReport::default());
        };
        let now = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let limit = i64::try_from(BATCH).unwrap_or(1);
        let claimed = email_messages::claim(&mut conn, now, now + LEASE, limit).await?;
        drop(conn);
        let suppressed = outbox.suppressed.swap(0, Ordering::Relaxed);
        let mut report = EmailReport { suppressed, ..EmailReport::default() };
        for end in join_all(claimed.iter().map(|row| self.send_one(outbox, row))).await {
            report.add(&end);
        }
        report.waiting = self.count_waiting().await.ok();
        Ok(report)
    }

    async fn count_waiting(&self) -> Result<u64, DbError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(email_messages::count_waiting(&mut conn).await?.unsigned_abs())
    }

    async fn send_one(&self, outbox: &Outbox, row: &ClaimedEmailRow) -> End {
        let outcome = outbox.hand_over(row, self.clock.now()).await;
        self.note_outcome(row, outcome).await.unwrap_or_else(|error| {
            tracing::warn!(message_id = %row.id, error = &error as &dyn std::error::Error,
                "what became of a message could not be noted");
            End::Unknown
        })
    }

    async fn note_outcome(
        &self,
        row: &ClaimedEmailRow,
        outcome: Result<(), MailFault>,
    ) -> Result<End, DbError> {
        let now = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let (error, may_be_tried) = match outcome {
            Ok(()) => {
                email_messages::mark_sent(&mut conn, row.held(), now).await?;
                return Ok(End::Sent);
            }
            Err(MailFault::Failed(error)) => (error, true),
            Err(MailFault::Unanswered(error)) => (error, row.attempts < MOST_UNANSWERED),
            Err(MailFault::Refused(error)) => (error, false),
        };
        // No address and no words of the server: they are in the row.
        tracing::warn!(message_id = %row.id, kind = row.kind, attempts = row.attempts, given_up = !may_be_tried,
            "a message was not taken by the mail server");
        if may_be_tried {
            let send_at = now + backoff(row.attempts, &self.entropy);
            email_messages::retry(&mut conn, row.held(), send_at, &error, now).await?;
            return Ok(End::Retried);
        }
        email_messages::bury(&mut conn, row.held(), &error, now).await?;
        Ok(End::Dead)
    }

    /// Deletes what became of messages long ago, and gives up what nobody sends any more. How many were deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_email_messages(&self) -> Result<u64, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let now = self.clock.now();
        let left =
            email_messages::bury_expired(&mut conn, now - LEFT, TIME_OVER, now, DELETED_AT_ONCE).await?;
        if left > 0 {
            tracing::warn!(left, "messages were given up that nobody has sent");
        }
        let before = now - KEPT;
        Ok(email_messages::delete_finished(&mut conn, before, DELETED_AT_ONCE).await?)
    }
}

/// Doubles, with jitter so that what failed together does not come back together.
fn backoff(attempts: i32, entropy: &Entropy) -> TimeDelta {
    let doublings = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    let longest = (FIRST_BACKOFF * (1_i32 << doublings)).min(LONGEST_BACKOFF);
    let jitter = i32::from(u16::from_be_bytes(entropy.bytes())) * 100 / i32::from(u16::MAX);
    longest / 2 + longest * jitter / 200
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::Clock;

    #[test]
    fn waits_between_tries_grow_and_stay_bounded() {
        let entropy = Entropy::seeded(1);
        for attempts in [0, 1, 2, 5, 9, 30, i32::MAX] {
            let wait = backoff(attempts, &entropy);
            assert!(wait >= FIRST_BACKOFF / 2 && wait <= LONGEST_BACKOFF, "{attempts}: {wait}");
        }
        assert!(backoff(20, &entropy) >= LONGEST_BACKOFF / 2);
    }

    #[test]
    fn news_is_tried_for_two_days_with_never_a_long_pause() {
        let entropy = Entropy::seeded(1);
        let start = Clock::system().now();
        let end = EmailText::PasswordChanged { address: None }.expires_at(start);
        assert_eq!(end - start, TimeDelta::days(2));
        let waits = (1..).scan(start, |at, attempts| {
            *at += backoff(attempts, &entropy);
            (*at < end).then_some(*at)
        });
        let tries: Vec<_> = std::iter::once(start).chain(waits).collect();
        assert!((190..400).contains(&tries.len()), "{}", tries.len());
        assert!(end - *tries.last().unwrap() <= LONGEST_BACKOFF);
    }
}
