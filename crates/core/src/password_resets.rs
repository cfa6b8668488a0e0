//! A new password for whoever forgot theirs: a one-time link to the address that is on record.
//!
//! Whoever asks is answered before anything is looked at, so that neither answer nor time tells who is a user.

use std::sync::Arc;

use chrono::TimeDelta;
use clm_core_db::one_time_links::{self, NewLinkRow};
use clm_core_db::sign_in::{self, SignInRow};
use clm_core_db::{PgConnection, audit, email_messages, users};
use clm_types::{Time, ids};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::audit::AuditEntry;
use crate::email_messages::{Outbox, Recipient};
use crate::email_texts::EmailText;
use crate::one_time_links::decides;
use crate::sign_in::Visitor;
use crate::tokens::{Token, TokenKind};
use crate::{Core, CoreError, Ctx};

/// How long such a link can be used.
const LIFETIME: TimeDelta = TimeDelta::minutes(30);
/// Messages to one user in an hour, whoever asks.
const MOST_AN_HOUR: i64 = 3;
/// Questions that are looked into at once: few, for each holds a connection of the database.
const MOST_AT_ONCE: usize = 2;
/// Questions that wait for that; more are dropped.
const MOST_WAITING: usize = 256;

/// Whose password.
pub enum Forgetful {
    /// The name to sign in with.
    Username(String),
    /// The address on record.
    Email(String),
}

/// What is done for whoever asks.
enum Course {
    Link,
    /// E-mail does not suffice for this user; they are told so.
    Told,
    Nothing(&'static str),
}

/// Room for questions that nobody has signed in for.
pub(crate) struct Places {
    waiting: Arc<Semaphore>,
    at_once: Semaphore,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self { waiting: Arc::new(Semaphore::new(MOST_WAITING)), at_once: Semaphore::new(MOST_AT_ONCE) }
    }
}

impl Core {
    /// Takes down that somebody forgot a password. Nothing is looked at before this returns; what was begun goes on by itself.
    /// When too many ask, the question is dropped, and the answer is the same.
    ///
    /// # Errors
    /// `mail_not_configured`.
    pub fn begin_password_reset(
        self: &Arc<Self>,
        whose: Forgetful,
        visitor: Visitor,
    ) -> Result<JoinHandle<()>, CoreError> {
        let outbox = Arc::clone(self.outbox()?);
        let place = Arc::clone(&self.password_resets.waiting).try_acquire_owned();
        let core = Arc::clone(self);
        Ok(tokio::spawn(async move {
            let Ok(_place) = place else {
                return tracing::warn!("too many ask for a new password at once: one was not heard");
            };
            let _turn = core.password_resets.at_once.acquire().await;
            if let Err(error) = core.reset_password(&outbox, &whose, &visitor).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a new password could not be sent");
            }
        }))
    }

    async fn reset_password(
        &self,
        outbox: &Outbox,
        whose: &Forgetful,
        visitor: &Visitor,
    ) -> Result<(), CoreError> {
        let now = self.clock.now();
        self.in_system("reset_password", |mut tx| async move {
            let found = match whose {
                Forgetful::Username(name) => sign_in::find(&mut tx, name).await?,
                Forgetful::Email(address) => sign_in::find_by_email(&mut tx, address).await?,
            };
            let Some(user) = found else {
                self.note_reset(&mut tx, &visitor.ctx(now, None), None, "there is no such user").await?;
                return Ok((tx, ()));
            };
            let home = users::find_home(&mut tx, user.id).await?;
            let ctx = &visitor.ctx(now, home);
            // One at a time for each user, and as it stands now; it waits for nobody.
            let Some(user) = sign_in::lock_if_free(&mut tx, user.id).await? else {
                self.note_reset(&mut tx, ctx, Some(&user), "the user is being changed by another call")
                    .await?;
                return Ok((tx, ()));
            };
            let detail = match course(&mut tx, &user, now).await? {
                Course::Link => {
                    self.send_reset(&mut tx, ctx, outbox, &user).await?;
                    "a link was sent"
                }
                Course::Told => {
                    let text = EmailText::PasswordResetRefused { address: ctx.address };
                    outbox.write(&mut tx, Recipient::from(&user), &text, now).await?;
                    "users who decide on requests get no link by e-mail"
                }
                Course::Nothing(reason) => reason,
            };
            self.note_reset(&mut tx, ctx, Some(&user), detail).await?;
            Ok((tx, ()))
        })
        .await
    }

    async fn send_reset(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        outbox: &Outbox,
        user: &SignInRow,
    ) -> Result<(), CoreError> {
        // A link that an administrator has made stays: nobody ends it from outside.
        one_time_links::revoke_asked_for(conn, user.id, ctx.now).await?;
        let token = Token::generate(TokenKind::Link, &self.entropy);
        let expires_at = ctx.now + LIFETIME;
        let row = NewLinkRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            user_id: user.id,
            purpose: "password_reset",
            token_hash: &token.hash(),
            made_by: None,
            expires_at,
            created_at: ctx.now,
        };
        one_time_links::insert(conn, &row).await?;
        let text = EmailText::PasswordReset { token: &token, expires_at, address: ctx.address };
        outbox.write(conn, Recipient::from(user), &text, ctx.now).await?;
        Ok(())
    }

    async fn note_reset(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        user: Option<&SignInRow>,
        detail: &str,
    ) -> Result<(), CoreError> {
        let entry = AuditEntry::of(ctx, &self.entropy, "password.ask", "user").detail(detail);
        let entry = match user {
            Some(user) => entry.object(user.id),
            None => entry.of_installation(),
        };
        let entry = if detail == "a link was sent" { entry } else { entry.outcome("refused") };
        Ok(audit::insert(conn, entry.row()).await?)
    }
}

/// Only an active user who has a password gets another one by e-mail; and not one who decides on requests, for whom no
/// administrator of an organization may make a link either.
async fn course(conn: &mut PgConnection, user: &SignInRow, now: Time) -> Result<Course, CoreError> {
    if user.status != "active" {
        return Ok(Course::Nothing("the user is not active"));
    }
    if user.password_hash.is_none() {
        return Ok(Course::Nothing("the user signs in without a password"));
    }
    if decides(conn, user.id, now).await? {
        return Ok(if is_too_often(conn, user, "password.reset_refused", now).await? {
            Course::Nothing("the user was told already")
        } else {
            Course::Told
        });
    }
    if is_too_often(conn, user, "password.reset", now).await? {
        return Ok(Course::Nothing("a message waits already, or three were written within the hour"));
    }
    Ok(Course::Link)
}

async fn is_too_often(
    conn: &mut PgConnection,
    user: &SignInRow,
    kind: &str,
    now: Time,
) -> Result<bool, CoreError> {
    let written = email_messages::find_written(conn, user.id, kind, now - TimeDelta::hours(1)).await?;
    Ok(written.waits || written.lately >= MOST_AN_HOUR)
}
