//! Whether what a request points to in Core exists and is active.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::certificates;
use clm_core_db::references::{self, ReferenceRow};
use clm_types::{ErrorCode, OrganizationId, Refusal, UserId};

use crate::cache::ShortCache;
use crate::{Core, CoreError, Ctx};

/// References found lately; those not found are looked up again each time. Foreign keys and the
/// integrity job stand behind it.
pub(crate) type ReferenceCache = ShortCache<(OrganizationId, UserId), ReferenceRow>;

/// An empty cache.
pub(crate) fn new_cache() -> ReferenceCache {
    ShortCache::new(10_000, Duration::from_secs(5))
}

impl Core {
    /// Fails unless the organization may ask for certificates and `owner` is an active user in it.
    ///
    /// # Errors
    /// `organization_not_found`, `organization_not_active`, `user_not_found`, `user_not_active`,
    /// `license_limit_reached`.
    pub(crate) async fn check_references(&self, ctx: &Ctx, owner: UserId) -> Result<(), CoreError> {
        let row = self.find_references(ctx, owner).await?;
        check_reference(&row)?;
        match row.license_max_certificates {
            Some(most) => self.check_license(ctx, most.into()).await,
            None => Ok(()),
        }
    }

    /// Fails unless `owner` is an active user of the organization.
    ///
    /// # Errors
    /// `organization_not_found`, `organization_not_active`, `user_not_found`, `user_not_active`.
    pub(crate) async fn check_owner(&self, ctx: &Ctx, owner: UserId) -> Result<(), CoreError> {
        let row = self.find_references(ctx, owner).await?;
        Ok(check_reference(&row)?)
    }

    async fn find_references(&self, ctx: &Ctx, owner: UserId) -> Result<Arc<ReferenceRow>, CoreError> {
        let key = (ctx.organization_id, owner);
        if let Some(row) = self.references.get(&key) {
            return Ok(row);
        }
        let generation = self.references.generation();
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = references::find(&mut tx, key.0.into(), owner.into(), ctx.now).await?;
        let row = found.ok_or_else(|| {
            Refusal::new(
                ErrorCode::OrganizationNotFound,
                "there is no such organization, or you are not in it",
            )
        })?;
        let row = Arc::new(row);
        if check_reference(&row).is_ok() {
            self.references.insert(generation, &key, Arc::clone(&row));
        }
        Ok(row)
    }

    async fn check_license(&self, ctx: &Ctx, most: i64) -> Result<(), CoreError> {
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        if certificates::count_active(&mut tx, most).await? < most {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::LicenseLimitReached,
            format!(
                "the organization's subscription is for {most} active certificates, and it has that many"
            ),
        )
        .hint("revoke certificates that are no longer used, or extend the subscription")
        .into())
    }
}

fn check_reference(row: &ReferenceRow) -> Result<(), Refusal> {
    if row.organization_status != "active" {
        return Err(Refusal::new(
            ErrorCode::OrganizationNotActive,
            format!("the organization is {}", row.organization_status),
        ));
    }
    match row.user_status.as_deref() {
        Some("active") => Ok(()),
        Some(status) => {
            Err(Refusal::new(ErrorCode::UserNotActive, format!("the owner is {status}"))
                .field("/owner_user_id"))
        }
        None => Err(Refusal::new(ErrorCode::UserNotFound, "User not found")
            .hint("the owner must be a user of this organization")
            .field("/owner_user_id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_active_user_of_an_active_organization_may_own() {
        let row = |organization: &str, user: Option<&str>| ReferenceRow {
            organization_status: organization.to_owned(),
            license_max_certificates: None,
            user_status: user.map(str::to_owned),
        };
        let code = |row: &ReferenceRow| check_reference(row).err().map(|refusal| refusal.code);
        assert_eq!(code(&row("active", Some("active"))), None);
        assert_eq!(code(&row("active", None)), Some(ErrorCode::UserNotFound));
        assert_eq!(code(&row("active", Some("disabled"))), Some(ErrorCode::UserNotActive));
        assert_eq!(code(&row("suspended", Some("active"))), Some(ErrorCode::OrganizationNotActive));
    }
}
