//! What the subscription of an organization limits: members and active certificates.
//!
//! Counting and adding happen in one transaction that holds the organization: two at once would each find room for
//! the last one.

use clm_core_db::intents::{self, IntentRow};
use clm_core_db::{DbError, PgConnection, organizations, references, users};
use clm_types::{CertificateId, ErrorCode, OrganizationId, Refusal, Time, UserId, WorkflowKind};

use crate::renewals::check_not_renewed;
use crate::{Core, CoreError, Ctx};

impl Core {
    /// Writes an intent: together with others that wait, or, where certificates are limited or an old one
    /// is to be replaced, in a transaction that looks at those.
    ///
    /// # Errors
    /// `license_limit_reached`, `certificate_already_renewed`.
    pub(crate) async fn write_intent(
        &self,
        ctx: &Ctx,
        intent: IntentRow,
        renewal_of: Option<CertificateId>,
    ) -> Result<(), CoreError> {
        let is_limited = self.is_limited(ctx, &intent).await?;
        if !is_limited && renewal_of.is_none() {
            return self.committer.insert_intent(intent).await;
        }
        let intent = &intent;
        self.in_tenant(ctx.organization_id, "write_intent", |mut tx| async move {
            if let Some(old) = renewal_of {
                check_not_renewed(&mut tx, old).await?;
            }
            if is_limited {
                check_certificates(&mut tx, ctx.organization_id, ctx.now).await?;
            }
            intents::insert_all(&mut tx, ctx.organization_id.into(), &[intent]).await?;
            Ok((tx, ()))
        })
        .await
    }

    /// Whether the intent is of a certificate, in an organization that may have so many only.
    async fn is_limited(&self, ctx: &Ctx, intent: &IntentRow) -> Result<bool, CoreError> {
        let instance = &intent.instance;
        let Some(owner) = instance.owner_user_id else {
            return Ok(false);
        };
        if !instance.instance_type.parse().is_ok_and(WorkflowKind::makes_certificate) {
            return Ok(false);
        }
        let known = self.find_references(ctx, UserId(owner)).await?;
        Ok(known.license_max_certificates.is_some())
    }
}

/// Holds the organization and fails unless it may have one more certificate.
///
/// # Errors
/// `license_limit_reached`.
pub(crate) async fn check_certificates(
    conn: &mut PgConnection,
    id: OrganizationId,
    now: Time,
) -> Result<(), CoreError> {
    organizations::lock(conn, id.0).await?;
    let organization = organizations::find(conn, id.0).await?;
    let Some(most) = organization.and_then(|it| it.license_max_certificates).map(i64::from) else {
        return Ok(());
    };
    if references::count_licensed(conn, id.0, now, most).await? < most {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::LicenseLimitReached,
        format!("the organization's subscription is for {most} certificates that are active or on hold, and it has that many"),
    )
    .hint("revoke certificates that are no longer used, or extend the subscription")
    .into())
}

/// Holds the organization if its members are limited, and fails unless it may have one more.
///
/// # Errors
/// `license_limit_reached`.
pub(crate) async fn check_users(conn: &mut PgConnection, id: OrganizationId) -> Result<(), CoreError> {
    let limit = async |conn: &mut PgConnection| -> Result<Option<i64>, DbError> {
        let organization = organizations::find(conn, id.0).await?;
        Ok(organization.and_then(|it| it.license_max_users).map(i64::from))
    };
    if limit(conn).await?.is_none() {
        return Ok(());
    }
    organizations::lock(conn, id.0).await?;
    let (Some(most), members) = (limit(conn).await?, users::count_in_organization(conn, id.0).await?) else {
        return Ok(());
    };
    if members < most {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::LicenseLimitReached,
        format!("the organization has {members} members, its subscription allows {most}"),
    )
    .into())
}
