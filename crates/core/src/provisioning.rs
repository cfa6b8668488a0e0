//! Provisioning clients (SCIM): what they may, and how they read lists.
//!
//! A client is an API key with the permission `user:provision`. The key's scopes are to hold nothing else; how far it reaches
//! follows from the roles of its user: it touches nobody who holds more, and hands out by groups nothing that its user does
//! not hold.

use clm_core_db::{PgConnection, role_assignments};
use clm_types::{ErrorCode, OrganizationId, Permission, Refusal, UserId};
use uuid::Uuid;

use crate::actor::PermissionSet;
use crate::identity::union;
use crate::roles::check_withdrawal;
use crate::{Core, CoreError, Ctx};

/// Rows of one page at most.
pub const LARGEST_WINDOW: u32 = 200;
/// A list is entered in its midst no farther than this; from page to page it can be read to its end.
const FARTHEST_ENTRY: u32 = 10_000;

/// Which part of a list: from an index on, which begins with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first one.
    pub start: u32,
    /// How many, [`LARGEST_WINDOW`] at most.
    pub count: u32,
}

/// Part of a list.
#[derive(Debug, Clone)]
pub struct Windowed<T> {
    /// How many there are altogether.
    pub total: i64,
    /// Those asked for.
    pub items: Vec<T>,
}

/// Where the next page of a list begins: list, filter and index.
pub(crate) type BookmarkKey = (OrganizationId, String, u32);

/// What is kept of a list that somebody reads page by page, so that each page costs no more than the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bookmark {
    /// The last row of the page before.
    pub(crate) after: Uuid,
    /// How many rows there were.
    pub(crate) total: i64,
}

impl Window {
    /// The key of the bookmark at its beginning.
    pub(crate) fn key(self, ctx: &Ctx, list: &str) -> BookmarkKey {
        (ctx.organization_id, list.to_owned(), self.start)
    }

    /// How many rows lie before it.
    ///
    /// # Errors
    /// `invalid_request` when they are too many to be skipped.
    pub(crate) fn skipped(self) -> Result<i64, Refusal> {
        if self.start <= FARTHEST_ENTRY {
            return Ok(i64::from(self.start) - 1);
        }
        let detail = format!("a list is read from its beginning, or entered at {FARTHEST_ENTRY} at most");
        Err(Refusal::new(ErrorCode::InvalidRequest, detail)
            .field("/startIndex")
            .hint("read page by page from startIndex=1, or filter"))
    }
}

impl Core {
    /// Leaves a bookmark after a page.
    pub(crate) fn leave_bookmark(
        &self,
        ctx: &Ctx,
        list: &str,
        window: Window,
        page: (usize, Option<Uuid>, i64),
    ) {
        let (length, after, total) = page;
        if let (Some(after), Ok(length)) = (after, u32::try_from(length)) {
            let next = Window { start: window.start.saturating_add(length), ..window };
            self.bookmarks.insert(next.key(ctx, list), Bookmark { after, total });
        }
    }
}

/// Fails unless it is a provisioning client that asks.
pub(crate) fn require_client(ctx: &Ctx) -> Result<(), Refusal> {
    ctx.require(Permission::UserProvision)?;
    if ctx.actor.api_key_id.is_some() {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::PermissionDenied, "provisioning is for API keys, not for sessions")
        .hint("make one for the user of the provisioning client: clm key create"))
}

/// What the client's user holds in the organization, whatever the key's scopes.
pub(crate) async fn held_by_client(conn: &mut PgConnection, ctx: &Ctx) -> Result<PermissionSet, CoreError> {
    let held = role_assignments::list_held(conn, ctx.user_id()?.0, ctx.now).await?;
    Ok(union(held.iter().filter(|role| role.holds_in(ctx.organization_id.0))))
}

/// Fails for somebody who holds more in the organization than the client's user, and for that user itself.
pub(crate) async fn check_reach(conn: &mut PgConnection, ctx: &Ctx, id: UserId) -> Result<(), CoreError> {
    if ctx.actor.user_id == Some(id) {
        return Err(Refusal::new(ErrorCode::PermissionDenied, "this is the provisioning client's own user")
            .hint("an administrator changes it: clm user")
            .into());
    }
    let theirs = role_assignments::list_held_from(conn, id.0, ctx.now).await?;
    let theirs = union(theirs.iter().filter(|role| role.holds_in(ctx.organization_id.0)));
    Ok(check_withdrawal(theirs, held_by_client(conn, ctx).await?)?)
}
