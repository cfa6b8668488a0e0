//! What a user is told in the product itself.

use clm_core_db::notifications;
use clm_types::{ErrorCode, NotificationId, Permission, Refusal};

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
