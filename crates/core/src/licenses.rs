//! What the subscription of an organization limits: members, active certificates and authorities; and what its end means.
//!
//! Counting and adding happen in one transaction that holds the organization: two at once would each find room for
//! the last one. A subscription that has ended, and a limit below what there is, end nothing: they refuse what is new.

use clm_core_db::intents::{self, IntentRow};
use clm_core_db::organizations::OrganizationRow;
use clm_core_db::{PgConnection, organizations, references, users};
use clm_types::{
    CertificateId, ErrorCode, OrganizationId, Refusal, SubscriptionStatus, Time, UserId, WorkflowKind,
};
use clm_x509::Profile;

use crate::renewals::check_not_renewed;
use crate::{Core, CoreError, Ctx};

impl Core {
    /// Writes an intent: together with others that wait, or, where certificates are limited or an old one
    /// is to be replaced, in a transaction that looks at those.
    ///
    /// # Errors
    /// `license_limit_reached`, `subscription_ended`, `certificate_already_renewed`.
    pub(crate) async fn write_intent(
        &self,
        ctx: &Ctx,
        intent: IntentRow,
        profile: Option<&str>,
        renewal_of: Option<CertificateId>,
    ) -> Result<(), CoreError> {
        let is_limited = self.is_limited(ctx, &intent, profile).await?;
        if !is_limited && renewal_of.is_none() {
            return self.committer.insert_intent(intent).await;
        }
        let intent = &intent;
        self.in_tenant(ctx.organization_id, "write_intent", |mut tx| async move {
            if let Some(old) = renewal_of {
                check_not_renewed(&mut tx, old).await?;
            }
            if is_limited {
                check_certificates(&mut tx, ctx.organization_id, profile, renewal_of, ctx.now).await?;
            }
            intents::insert_all(&mut tx, ctx.organization_id.into(), &[intent]).await?;
            Ok((tx, ()))
        })
        .await
    }

    /// Whether the intent is of a certificate, in an organization that may have so many only; fails for one that is shut, as far
    /// as is believed, or whose subscription has ended.
    async fn is_limited(
        &self,
        ctx: &Ctx,
        intent: &IntentRow,
        profile: Option<&str>,
    ) -> Result<bool, CoreError> {
        let instance = &intent.instance;
        let Some(owner) = instance.owner_user_id else {
            return Ok(false);
        };
        if !instance.instance_type.parse().is_ok_and(WorkflowKind::makes_certificate) {
            return Ok(false);
        }
        let known = self.find_references(ctx, UserId(owner)).await?;
        check_open(&known.organization_status)?;
        check_status(&known.subscription_status, known.subscription_expires_at, ctx.now)?;
        let of_authorities = known.license_max_authorities.is_some() && profile.is_some_and(makes_authority);
        Ok(known.license_max_certificates.is_some() || of_authorities)
    }
}

/// Fails when the subscription has ended. A bill that is late ends nothing, whatever the date.
fn check_status(status: &str, expires_at: Option<Time>, now: Time) -> Result<(), Refusal> {
    let known: Option<SubscriptionStatus> = status.parse().ok();
    let is_over = known.is_some_and(SubscriptionStatus::is_over);
    let is_late = known == Some(SubscriptionStatus::PastDue);
    if is_late || (!is_over && expires_at.is_none_or(|end| now < end)) {
        return Ok(());
    }
    let detail = match expires_at {
        Some(end) if !is_over => format!("the organization's subscription ended at {end}"),
        _ => format!("the organization's subscription is {status}"),
    };
    Err(Refusal::new(ErrorCode::SubscriptionEnded, detail)
        .hint("what there is stays and can be read and revoked; an operator renews the subscription"))
}

/// Fails for an organization that is suspended or closed.
fn check_open(status: &str) -> Result<(), Refusal> {
    if status == "active" {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::OrganizationNotActive, format!("the organization is {status}")))
}

/// Holds the organization, and fails unless something new may be made in it.
async fn hold(
    conn: &mut PgConnection,
    id: OrganizationId,
    now: Time,
) -> Result<Option<OrganizationRow>, CoreError> {
    organizations::lock(conn, id.0).await?;
    let Some(organization) = organizations::find(conn, id.0).await? else {
        return Ok(None);
    };
    check_open(&organization.status)?;
    check_status(&organization.subscription_status, organization.subscription_expires_at, now)?;
    Ok(Some(organization))
}

/// For somebody who is to come in: the state of the organization, and how full it is, are not theirs to know.
pub(crate) fn without_reason(error: CoreError, instead: Refusal) -> CoreError {
    match error {
        CoreError::Refused(refusal)
            if matches!(
                refusal.code,
                ErrorCode::LicenseLimitReached
                    | ErrorCode::SubscriptionEnded
                    | ErrorCode::OrganizationNotActive
            ) =>
        {
            instead.into()
        }
        other => other,
    }
}

/// Holds the organization and fails unless it may have one more certificate with this profile. The one that is renewed does not
/// count.
///
/// # Errors
/// `license_limit_reached`, `subscription_ended`, `organization_not_active`.
pub(crate) async fn check_certificates(
    conn: &mut PgConnection,
    id: OrganizationId,
    profile: Option<&str>,
    renewal_of: Option<CertificateId>,
    now: Time,
) -> Result<(), CoreError> {
    let Some(organization) = hold(conn, id, now).await? else {
        return Ok(());
    };
    let old = renewal_of.map(Into::into);
    if let Some(most) = organization.license_max_certificates.map(i64::from)
        && references::count_licensed(conn, id.0, old, now, most).await? >= most
    {
        let detail = format!(
            "the organization's subscription is for {most} certificates that are active or on hold, and it has that many"
        );
        return Err(Refusal::new(ErrorCode::LicenseLimitReached, detail)
            .hint("revoke certificates that are no longer used, or extend the subscription")
            .into());
    }
    if let Some(most) = organization.license_max_authorities.map(i64::from)
        && profile.is_some_and(makes_authority)
        && references::count_authorities(conn, id.0, old, now, most).await? >= most
    {
        let detail = format!(
            "the organization's subscription is for {most} authorities whose certificate is active or on hold, and it has that many"
        );
        return Err(Refusal::new(ErrorCode::LicenseLimitReached, detail)
            .hint("revoke the certificate of an authority that is no longer used, or extend the subscription")
            .into());
    }
    Ok(())
}

/// Whether the subject of a certificate with this profile is an authority.
fn makes_authority(profile: &str) -> bool {
    Profile::built_in(profile).is_some_and(|profile| profile.is_ca())
}

/// Holds the organization, and fails unless it may have one more member.
///
/// # Errors
/// `license_limit_reached`, `subscription_ended`, `organization_not_active`.
pub(crate) async fn check_users(
    conn: &mut PgConnection,
    id: OrganizationId,
    now: Time,
) -> Result<(), CoreError> {
    let organization = hold(conn, id, now).await?;
    let Some(most) = organization.and_then(|it| it.license_max_users).map(i64::from) else {
        return Ok(());
    };
    let members = users::count_in_organization(conn, id.0).await?;
    if members < most {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::LicenseLimitReached,
        format!("the organization has {members} members, its subscription allows {most}"),
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use clm_x509::profile::REQUESTABLE;

    #[test]
    fn a_subscription_is_good_until_it_is_over() {
        let now = DateTime::UNIX_EPOCH;
        let code = |status, ends: Option<i64>| {
            let end = ends.map(|seconds| now + TimeDelta::seconds(seconds));
            check_status(status, end, now).err().map(|refusal| refusal.code)
        };
        for status in ["trial", "active"] {
            assert_eq!(code(status, None), None);
            assert_eq!(code(status, Some(1)), None);
            assert_eq!(code(status, Some(0)), Some(ErrorCode::SubscriptionEnded));
        }
        assert_eq!(code("past_due", Some(0)), None);
        assert_eq!(code("cancelled", Some(1)), Some(ErrorCode::SubscriptionEnded));
        assert_eq!(code("expired", None), Some(ErrorCode::SubscriptionEnded));
    }

    #[test]
    fn the_authorities_that_can_be_asked_for_are_counted() {
        let made: Vec<&str> = REQUESTABLE.into_iter().filter(|name| makes_authority(name)).collect();
        assert_eq!(made, [references::AUTHORITY_PROFILE]);
    }
}
