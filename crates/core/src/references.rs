//! Whether what a request points to in Core exists and is active.

use std::sync::Arc;

use clm_core_db::PgConnection;
use clm_core_db::references::{self, ReferenceRow};
use clm_core_db::requests::InstanceRow;
use clm_types::{ErrorCode, OrganizationId, Refusal, Time, UserId, WorkflowKind};

use crate::cache::ShortCache;
use crate::{Core, CoreError, Ctx, IDENTITY_BELIEVED};

/// References found lately; those not found are looked up again each time. Foreign keys and the
/// integrity job stand behind it.
pub(crate) type ReferenceCache = ShortCache<(OrganizationId, UserId), ReferenceRow>;

/// An empty cache.
pub(crate) fn new_cache() -> ReferenceCache {
    ShortCache::new(10_000, IDENTITY_BELIEVED)
}

impl Core {
    /// Fails unless `owner` is an active user of the organization.
    ///
    /// # Errors
    /// `organization_not_found`, `organization_not_active`, `user_not_found`, `user_not_active`.
    pub(crate) async fn check_owner(&self, ctx: &Ctx, owner: UserId) -> Result<(), CoreError> {
        let row = self.find_references(ctx, owner).await?;
        Ok(check_reference(&row)?)
    }

    /// What a request points to, found lately or now.
    pub(crate) async fn find_references(
        &self,
        ctx: &Ctx,
        owner: UserId,
    ) -> Result<Arc<ReferenceRow>, CoreError> {
        let key = (ctx.organization_id, owner);
        if let Some(row) = self.references.get(&key) {
            return Ok(row);
        }
        let generation = self.references.generation();
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = references::find(&mut tx, key.0.into(), owner.into(), ctx.now).await?;
        let row = found.ok_or_else(organization_not_found)?;
        let row = Arc::new(row);
        if check_reference(&row).is_ok() {
            self.references.insert(generation, &key, Arc::clone(&row));
        }
        Ok(row)
    }
}

/// Whether an operation that was asked for earlier may still be carried out: its requester and, where a certificate
/// is to be made, its owner are active users of an active organization; gives why not.
///
/// The policy is not asked again: what was asked under one version is governed by it to the end, even when another
/// has superseded it since. The approvers decide on what they see, and Secure is shown that version.
pub(crate) async fn recheck(
    conn: &mut PgConnection,
    row: &InstanceRow,
    now: Time,
) -> Result<Option<Refusal>, CoreError> {
    let makes = row.instance_type.parse().is_ok_and(WorkflowKind::makes_certificate);
    let people = [
        ("requester", "/requester_user_id", Some(row.requester_user_id)),
        ("owner", "/owner_user_id", row.owner_user_id.filter(|_| makes)),
    ];
    for (role, field, user_id) in people {
        let Some(user_id) = user_id else { continue };
        let found = references::find(conn, row.organization_id, user_id, now).await?;
        let checked = found.ok_or_else(organization_not_found).and_then(|it| check_person(&it, role, field));
        if let Err(refusal) = checked {
            return Ok(Some(refusal));
        }
    }
    Ok(None)
}

fn organization_not_found() -> Refusal {
    Refusal::new(ErrorCode::OrganizationNotFound, "there is no such organization, or you are not in it")
}

fn check_reference(row: &ReferenceRow) -> Result<(), Refusal> {
    check_person(row, "owner", "/owner_user_id")
}

fn check_person(row: &ReferenceRow, role: &str, field: &str) -> Result<(), Refusal> {
    if row.organization_status != "active" {
        return Err(Refusal::new(
            ErrorCode::OrganizationNotActive,
            format!("the organization is {}", row.organization_status),
        ));
    }
    match row.user_status.as_deref() {
        Some("active") => Ok(()),
        Some(status) => {
            Err(Refusal::new(ErrorCode::UserNotActive, format!("the {role} is {status}")).field(field))
        }
        None => Err(Refusal::new(ErrorCode::UserNotFound, "User not found")
            .hint(format!("the {role} must be a user of this organization"))
            .field(field)),
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
            license_max_authorities: None,
            subscription_status: "active".to_owned(),
            subscription_expires_at: None,
            user_status: user.map(str::to_owned),
        };
        let code = |row: &ReferenceRow| check_reference(row).err().map(|refusal| refusal.code);
        assert_eq!(code(&row("active", Some("active"))), None);
        assert_eq!(code(&row("active", None)), Some(ErrorCode::UserNotFound));
        assert_eq!(code(&row("active", Some("disabled"))), Some(ErrorCode::UserNotActive));
        assert_eq!(code(&row("suspended", Some("active"))), Some(ErrorCode::OrganizationNotActive));
    }
}
