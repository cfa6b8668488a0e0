//! What organizations have subscribed to: plan, state, end and limits. Operators of the installation say so.

use clm_core_db::organizations::{self, SubscriptionRow};
use clm_core_db::{audit, notices};
use clm_types::{ErrorCode, OrganizationId, Permission, Refusal, SubscriptionStatus, Time};
use serde_json::{Value, json};

use crate::audit::AuditEntry;
use crate::error::has_changed;
use crate::fields::check_code;
use crate::organizations::{Organization, find_organization};
use crate::{Core, CoreError, Ctx};

/// A whole subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What was bought.
    pub plan: String,
    /// Its state.
    pub status: SubscriptionStatus,
    /// When it ends; none: never.
    pub expires_at: Option<Time>,
    /// Most certificates that are active or on hold; none: no limit.
    pub max_certificates: Option<i32>,
    /// Most members; none: no limit.
    pub max_users: Option<i32>,
    /// Most authorities; none: no limit.
    pub max_authorities: Option<i32>,
}

impl Subscription {
    fn check(&self) -> Result<(), Refusal> {
        check_code(&self.plan, "/plan")?;
        let limits = [
            (self.max_certificates, "/max_certificates"),
            (self.max_users, "/max_users"),
            (self.max_authorities, "/max_authorities"),
        ];
        match limits.into_iter().find(|(limit, _)| limit.is_some_and(|most| most < 0)) {
            Some((_, field)) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "a limit is 0 or more, or null for none")
                    .field(field))
            }
            None => Ok(()),
        }
    }
}

impl Core {
    /// Says what an organization has subscribed to. Needs the permission everywhere. A limit below what there is, and the
    /// end of a subscription, end nothing: they refuse what is new.
    ///
    /// # Errors
    /// `permission_denied`, `organization_not_found`, `precondition_failed`, `invalid_request`.
    pub async fn set_subscription(
        &self,
        ctx: &Ctx,
        id: OrganizationId,
        version: i64,
        new: &Subscription,
    ) -> Result<Organization, CoreError> {
        ctx.require_global(Permission::OrganizationWrite)?;
        new.check()?;
        // Noted where it counts.
        let inside = &Ctx { organization_id: id, ..ctx.clone() };
        let organization = self
            .in_system("set_subscription", |mut tx| async move {
                let old = find_organization(&mut tx, id).await?;
                let row = SubscriptionRow {
                    plan: &new.plan,
                    status: new.status.as_str(),
                    expires_at: new.expires_at,
                    max_certificates: new.max_certificates,
                    max_users: new.max_users,
                    max_authorities: new.max_authorities,
                };
                organizations::set_subscription(&mut tx, id.0, version, &row, ctx.now)
                    .await
                    .map_err(has_changed)?;
                let organization = find_organization(&mut tx, id).await?;
                let action = "organization.set_subscription";
                let entry = AuditEntry::of(inside, &self.entropy, action, "organization")
                    .object(id)
                    .before(in_words(&old))
                    .after(in_words(&organization));
                audit::insert(&mut tx, entry.row()).await?;
                notices::send(&mut tx, notices::IDENTITY).await?;
                Ok((tx, organization))
            })
            .await?;
        self.identities.clear();
        self.references.clear();
        Ok(organization)
    }
}

fn in_words(row: &Organization) -> Value {
    json!({
        "plan": row.subscription_plan,
        "status": row.subscription_status,
        "expires_at": row.subscription_expires_at,
        "max_certificates": row.license_max_certificates,
        "max_users": row.license_max_users,
        "max_authorities": row.license_max_authorities,
    })
}
