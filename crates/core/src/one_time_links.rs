//! One-time links: how a user who knows no password sets one. An invitation for a new user, a reset for another.

use std::sync::Arc;

use chrono::TimeDelta;
use clm_core_db::one_time_links::{self, NewLinkRow};
use clm_core_db::sign_in::{self, SignInRow};
use clm_core_db::{PgConnection, audit, role_assignments, users};
use clm_types::{ErrorCode, Permission, Refusal, Time, UserId, ids};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::audit::AuditEntry;
use crate::email_messages::{Outbox, Recipient};
use crate::email_texts::EmailText;
use crate::identity::union;
use crate::sign_in::Visitor;
use crate::tokens::{Token, TokenKind};
use crate::users::{User, find_for_change};
use crate::{Core, CoreError, Ctx};

/// How long an invitation can be used,
const INVITATION: TimeDelta = TimeDelta::days(3);
/// and a reset.
const RESET: TimeDelta = TimeDelta::hours(1);

/// A link, shown this once.
pub struct OneTimeLink {
    /// What stands in it.
    pub token: Token,
    /// What it is for.
    pub terms: LinkTerms,
}

/// What a link is good for.
#[derive(Debug, Clone, Copy)]
pub struct LinkTerms {
    /// `invitation` or `password_reset`.
    pub purpose: &'static str,
    /// When it ends.
    pub expires_at: Time,
}

fn invalid_link() -> Refusal {
    Refusal::new(
        ErrorCode::LinkInvalid,
        "the link is wrong, used, replaced by a newer one, or its time is over",
    )
    .hint("ask an administrator for a new one: clm user link USER")
}

impl Core {
    /// Makes a link by which a user sets a password; older ones end. Whoever has it can act as the user, so only those who may
    /// do no less get one, and for users who decide on requests only administrators of all organizations.
    pub async fn create_link(&self, ctx: &Ctx, user_id: UserId) -> Result<OneTimeLink, CoreError> {
        let token = Token::generate(TokenKind::Link, &self.entropy);
        let terms = self.make_link(ctx, user_id, &token, None).await?;
        Ok(OneTimeLink { token, terms })
    }

    /// Makes a link as [`Self::create_link`] does, and sends it to the user's address: who makes it does not see it.
    ///
    /// # Errors
    /// `mail_not_configured`; `rate_limited` when the user was sent many within the hour.
    pub async fn send_link(&self, ctx: &Ctx, user_id: UserId) -> Result<LinkTerms, CoreError> {
        let outbox = Arc::clone(self.outbox()?);
        let token = Token::generate(TokenKind::Link, &self.entropy);
        self.make_link(ctx, user_id, &token, Some(&outbox)).await
    }

    async fn make_link(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        token: &Token,
        outbox: Option<&Outbox>,
    ) -> Result<LinkTerms, CoreError> {
        ctx.require(Permission::UserWrite)?;
        ctx.require_unrestricted()?;
        let token_hash = &token.hash();
        self.in_system("make_link", |mut tx| async move {
            let user = find_for_change(&mut tx, ctx, user_id).await?;
            check_may_reset(&mut tx, ctx, user_id).await?;
            let terms = terms(&user.status, ctx.now)?;
            one_time_links::revoke_all(&mut tx, user_id.0, ctx.now).await?;
            let row = NewLinkRow {
                id: ids::new_uuid(ctx.now, &self.entropy),
                user_id: user_id.0,
                purpose: terms.purpose,
                token_hash,
                made_by: ctx.actor.user_id.map(Into::into),
                expires_at: terms.expires_at,
                created_at: ctx.now,
            };
            one_time_links::insert(&mut tx, &row).await?;
            let way = match outbox {
                Some(outbox) => {
                    write_link(outbox, &mut tx, &user, &EmailText::Link { token, terms }, ctx.now).await?;
                    ", sent by e-mail"
                }
                None => "",
            };
            let entry = AuditEntry::of(ctx, &self.entropy, "link.create", "user")
                .object(user_id)
                .detail(format!("{}{way}", terms.purpose));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, terms))
        })
        .await
    }

    /// Sets the password of whom a link is for, and ends their sessions. A second factor stays.
    ///
    /// # Errors
    /// `link_invalid`, `password_too_weak`, `invalid_request`.
    pub async fn use_link(
        &self,
        token: &str,
        password: &Zeroizing<String>,
        visitor: &Visitor,
    ) -> Result<(), CoreError> {
        let now = self.clock.now();
        let token =
            Token::parse(token).filter(|token| token.kind() == TokenKind::Link).ok_or_else(invalid_link)?;
        let (user, home) = self.whose_link(&token, now).await?;
        let (ctx, user_id) = (&visitor.ctx(now, home), UserId(user.id));
        let new = self.prepare_password(&user, password).await?;
        let (token_hash, new) = (&token.hash(), &new);
        self.in_system("use_link", |mut tx| async move {
            let link =
                one_time_links::find_usable(&mut tx, token_hash, now).await?.ok_or_else(invalid_link)?;
            // A link that was asked for does not suffice for those who decide by now.
            if link.made_by.is_none() && decides(&mut tx, link.user_id, now).await? {
                return Err(invalid_link().into());
            }
            one_time_links::note_use(&mut tx, link.id, now).await?;
            self.replace_password(&mut tx, ctx, user_id, new).await?;
            self.end_sessions(&mut tx, ctx, user_id, None, "password_changed").await?;
            let entry =
                AuditEntry::of(ctx, &self.entropy, "link.use", "user").object(user_id).detail(link.purpose);
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    async fn whose_link(&self, token: &Token, now: Time) -> Result<(SignInRow, Option<Uuid>), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let link =
            one_time_links::find_usable(&mut tx, &token.hash(), now).await?.ok_or_else(invalid_link)?;
        let user = sign_in::find_by_id(&mut tx, link.user_id).await?.ok_or_else(invalid_link)?;
        if user.status == "disabled" {
            return Err(invalid_link().into());
        }
        let home = users::find_home(&mut tx, link.user_id).await?;
        Ok((user, home))
    }
}

async fn write_link(
    outbox: &Outbox,
    conn: &mut PgConnection,
    user: &User,
    text: &EmailText<'_>,
    now: Time,
) -> Result<(), CoreError> {
    let to = Recipient { user_id: user.id, username: &user.username, address: &user.email };
    if outbox.write(conn, to, text, now).await? { Ok(()) } else { Err(sent_too_often().into()) }
}

/// Fails if the link would let its maker decide in somebody's name.
async fn check_may_reset(conn: &mut PgConnection, ctx: &Ctx, user_id: UserId) -> Result<(), CoreError> {
    if decides(conn, user_id.0, ctx.now).await? {
        ctx.require_global(Permission::UserWrite)?;
    }
    Ok(())
}

/// Whether a user decides on requests, now or later, as administrators do.
pub(crate) async fn decides(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<bool, CoreError> {
    let held = role_assignments::list_held_from(conn, user_id, now).await?;
    Ok(union(held.iter()).contains(Permission::RequestApprove))
}

/// What a link for a user in this state is good for.
fn terms(status: &str, now: Time) -> Result<LinkTerms, Refusal> {
    match status {
        "disabled" => Err(not_active(status)),
        "invited" => Ok(LinkTerms { purpose: "invitation", expires_at: now + INVITATION }),
        _ => Ok(LinkTerms { purpose: "password_reset", expires_at: now + RESET }),
    }
}

fn sent_too_often() -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "this user was sent many links within the hour")
        .hint("wait, or write the link into a file: clm user link USER --link-file FILE")
}

fn not_active(status: &str) -> Refusal {
    Refusal::new(ErrorCode::UserNotActive, format!("the user is {status}"))
        .hint("let the user in first: clm user enable")
}
