//! What a user is told in the product itself.

use clm_core_db::notifications::{self, About, NewNotificationRow};
use clm_core_db::{DbError, PgConnection, users};
use clm_types::{Entropy, ErrorCode, NotificationId, Permission, Refusal, Time, ids};
use uuid::Uuid;

use crate::page::{Page, PageRequest};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::notifications::NotificationRow as Notification;

impl Core {
    /// A page of the caller's messages in this organization, newest first.
    ///
    /// # Errors
    /// `permission_denied`.
    pub async fn list_notifications(
        &self,
        ctx: &Ctx,
        unread_only: bool,
        page: PageRequest,
    ) -> Result<Page<Notification>, CoreError> {
        ctx.require(Permission::NotificationRead)?;
        let user = ctx.user_id()?.into();
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = notifications::list(&mut tx, user, unread_only, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// Marks one of the caller's messages as read; again changes nothing.
    ///
    /// # Errors
    /// `permission_denied`, `not_found`.
    pub async fn mark_notification_read(&self, ctx: &Ctx, id: NotificationId) -> Result<(), CoreError> {
        ctx.require(Permission::NotificationRead)?;
        let user = ctx.user_id()?.into();
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        if !notifications::mark_read(&mut tx, id.into(), user, ctx.now).await? {
            return Err(Refusal::new(ErrorCode::NotFound, "there is no such notification").into());
        }
        Ok(clm_pg::commit(tx).await?)
    }
}

/// What users are told that is of no one certificate or operation.
pub(crate) struct Message<'a> {
    /// `noun.verb`.
    pub(crate) kind: &'static str,
    /// `low`, `normal`, `high`, `critical`.
    pub(crate) priority: &'static str,
    /// One line.
    pub(crate) title: &'a str,
    /// The rest.
    pub(crate) body: &'a str,
}

/// Tells users, each in the organization that they work in unless they name another; who has none is not told.
pub(crate) async fn tell_at_home(
    conn: &mut PgConnection,
    entropy: &Entropy,
    now: Time,
    user_ids: &[Uuid],
    message: &Message<'_>,
) -> Result<(), DbError> {
    for (user_id, home) in users::list_homes(conn, user_ids).await? {
        let row = NewNotificationRow {
            id: ids::new_uuid(now, entropy),
            user_id,
            kind: message.kind,
            priority: message.priority,
            title: message.title.to_owned(),
            body: message.body.to_owned(),
        };
        let about = About { organization_id: home, certificate_id: None, operation_id: None };
        notifications::insert_all(conn, &[row], about, now).await?;
    }
    Ok(())
}
