//! E-mail to users: written in the commit of what it tells of, sent by a worker of any process.
//!
//! A worker that dies between handing a message over and noting so leaves it to be sent once more: never lost, and after
//! each such death possibly there twice, with the same Message-ID.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_core_db::email_messages::{self, ClaimedEmailRow, NewEmailRow};
use clm_core_db::sign_in::{self, SignInRow};
use clm_core_db::{DbError, PgConnection};
use clm_types::{Entropy, ErrorCode, Refusal, Time, ids};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::email_texts::EmailText;
use crate::mailer::{Letter, MailFault, Mailer};
use crate::sealed_secrets::SecretsKeys;
use crate::{Core, CoreError};

/// Messages that are handed over at once.
const BATCH: usize = 8;
/// Longer than handing over takes (`[mail] timeout_seconds` is 60 at most): others take a message when its worker died.
const LEASE: TimeDelta = TimeDelta::minutes(3);
/// How long the outbox is left alone when nothing is due.
const IDLE: Duration = Duration::from_secs(2);
/// Tries before a message is given up.
const MOST_TRIES: i32 = 30;
/// First and longest wait between two tries.
const FIRST_BACKOFF: TimeDelta = TimeDelta::seconds(5);
const LONGEST_BACKOFF: TimeDelta = TimeDelta::minutes(15);
/// Messages of one kind to one user in an hour; more are not written.
const MOST_AN_HOUR: i64 = 10;
/// How long it is known what became of a message, and the most rows deleted at once.
const KEPT: TimeDelta = TimeDelta::days(30);
const DELETED_AT_ONCE: i64 = 1_000;

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
    wake: Notify,
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
    /// Not sent yet.
    pub waiting: u64,
}

enum End {
    Sent,
    Retried,
    Dead,
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
        Self { mailer, service_url, secrets_keys, entropy, wake: Notify::new() }
    }

    /// Writes a message, in an open transaction. Not if the user was written too often of the same within the hour: then false.
    pub(crate) async fn write(
        &self,
        conn: &mut PgConnection,
        recipient: Recipient<'_>,
        text: &EmailText<'_>,
        now: Time,
    ) -> Result<bool, CoreError> {
        let since = now - TimeDelta::hours(1);
        let written = email_messages::find_written(conn, recipient.user_id, text.kind(), since).await?;
        if written.lately >= MOST_AN_HOUR {
            return Ok(false);
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
        self.wake.notify_one();
        Ok(true)
    }

    /// The first line is the subject.
    fn seal(&self, id: Uuid, (subject, text): &(&str, Zeroizing<String>)) -> Result<Vec<u8>, CoreError> {
        let plain = Zeroizing::new([subject.as_bytes(), b"\n", text.as_bytes()].concat());
        self.secrets_keys.seal(&self.entropy, &place(id), &plain)
    }

    async fn hand_over(&self, row: &ClaimedEmailRow, now: Time) -> Result<(), MailFault> {
        if row.expires_at <= now {
            return Err(MailFault::Refused("its time was over before it could be sent".to_owned()));
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
        let Some(outbox) = self.outbox.clone() else {
            return shutdown.cancelled().await;
        };
        while !shutdown.is_cancelled() {
            let report = self.send_due_email().await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the outbox cannot be read");
                EmailReport::default()
            });
            note(report);
            if report.sent > 0 {
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = outbox.wake.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
    }

    /// Sends a few messages that are due, at once.
    ///
    /// # Errors
    /// When the database fails; what was not noted is tried again when its lease ends.
    pub async fn send_due_email(&self) -> Result<EmailReport, CoreError> {
        let Some(outbox) = &self.outbox else {
            return Ok(EmailReport::default());
        };
        let now = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let limit = i64::try_from(BATCH).unwrap_or(1);
        let claimed = email_messages::claim(&mut conn, now, now + LEASE, limit).await?;
        drop(conn);
        let ends = join_all(claimed.iter().map(|row| self.send_one(outbox, row))).await;
        let mut report = EmailReport::default();
        for end in ends {
            match end? {
                End::Sent => report.sent += 1,
                End::Retried => report.retried += 1,
                End::Dead => report.dead += 1,
            }
        }
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let waiting = email_messages::count_waiting(&mut conn).await?;
        Ok(EmailReport { waiting: waiting.unsigned_abs(), ..report })
    }

    async fn send_one(&self, outbox: &Outbox, row: &ClaimedEmailRow) -> Result<End, CoreError> {
        let outcome = outbox.hand_over(row, self.clock.now()).await;
        let now = self.clock.now();
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let (error, may_be_tried) = match outcome {
            Ok(()) => {
                email_messages::mark_sent(&mut conn, row.held(), now).await?;
                return Ok(End::Sent);
            }
            Err(MailFault::Failed(error)) => (error, row.attempts < MOST_TRIES),
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

    /// Deletes what became of messages long ago. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_email_messages(&self) -> Result<u64, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let before = self.clock.now() - KEPT;
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

    #[test]
    fn waits_between_tries_grow_and_stay_bounded() {
        let entropy = Entropy::seeded(1);
        for attempts in [0, 1, 2, 5, 9, 30, i32::MAX] {
            let wait = backoff(attempts, &entropy);
            assert!(wait >= FIRST_BACKOFF / 2 && wait <= LONGEST_BACKOFF, "{attempts}: {wait}");
        }
        assert!(backoff(20, &entropy) >= LONGEST_BACKOFF / 2);
    }
}
