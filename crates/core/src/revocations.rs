//! Revoking certificates, putting them on hold, releasing them.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::certificates;
use clm_types::{
    CertificateId, CertificateStatus, ErrorCode, Permission, Refusal, RevocationReason, RevocationSpec, Time,
    WorkflowInstanceId, WorkflowKind,
};

use crate::certificates::{Certificate, certificate_not_found};
use crate::intents::Draft;
use crate::request_context::{Labels, RequestContext, check_comment};
use crate::request_view::Request;
use crate::requests::Submitted;
use crate::workflows::{Decision, WorkflowPlan};
use crate::{Core, CoreError, Ctx};

/// Which revocation is asked for.
#[derive(Debug, Clone)]
pub struct NewRevocation {
    /// RFC 5280 reason; `certificateHold` can be released.
    pub reason: RevocationReason,
    /// Since when the key is suspected; not in the future.
    pub invalidity_date: Option<Time>,
    /// Why, in words.
    pub comment: Option<String>,
}

impl Core {
    /// Revokes a certificate or puts it on hold; at once when nobody need approve and it can be
    /// within `wait`.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `certificate_already_revoked`,
    /// `certificate_expired`, `revocation_reason_invalid`, `invalidity_date_invalid`; what Secure
    /// refuses when it is asked at once.
    pub async fn revoke_certificate(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        new: NewRevocation,
        wait: Duration,
    ) -> Result<Request, CoreError> {
        if new.reason == RevocationReason::RemoveFromCrl {
            return Err(Refusal::new(
                ErrorCode::RevocationReasonInvalid,
                "removeFromCRL is no reason to revoke: it releases a certificate from hold",
            )
            .hint("use release")
            .field("/reason")
            .into());
        }
        self.change_status(ctx, id, new, wait).await
    }

    /// Releases a certificate from hold.
    ///
    /// # Errors
    /// As [`Self::revoke_certificate`], and `certificate_not_on_hold`.
    pub async fn release_certificate(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        comment: Option<String>,
        wait: Duration,
    ) -> Result<Request, CoreError> {
        let new = NewRevocation { reason: RevocationReason::RemoveFromCrl, invalidity_date: None, comment };
        self.change_status(ctx, id, new, wait).await
    }

    async fn change_status(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        new: NewRevocation,
        wait: Duration,
    ) -> Result<Request, CoreError> {
        let begin = Box::pin(self.begin_change(ctx, id, new, wait));
        Ok(self.once(ctx, begin).await?.request)
    }

    async fn begin_change(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        new: NewRevocation,
        wait: Duration,
    ) -> Result<Submitted, CoreError> {
        ctx.require(Permission::CertificateRevoke)?;
        let requester = ctx.user_id()?;
        check_comment("/comment", new.comment.as_deref())?;
        check_invalidity_date(new.invalidity_date, ctx.now)?;
        let certificate = self.find_certificate(ctx, id).await?;
        certificate.status.revoke(new.reason)?;
        let authority_id = certificate
            .authority_id
            .ok_or_else(|| CoreError::defect(format!("certificate {id} names no authority")))?;
        let (policy, plan) = self.plan_revocation(ctx, &certificate).await?;
        let draft = Draft {
            kind: WorkflowKind::Revocation,
            instance_id: WorkflowInstanceId::generate(ctx.now, &self.entropy),
            operation_id: ctx.operation_id(&self.entropy),
            requester_user_id: requester,
            owner_user_id: certificate.owner_user_id,
            policy,
            certificate_id: Some(id),
            context: RequestContext {
                certificate: None,
                revocation: Some(RevocationSpec {
                    certificate_id: id,
                    organization_id: ctx.organization_id,
                    reason: new.reason,
                    invalidity_date: new.invalidity_date,
                    requested_by: requester,
                    comment: new.comment,
                }),
                key_export: None,
                authority_id,
                key_algorithm: None,
                labels: Labels::default(),
                comment: None,
                approval_reason: None,
                step_deadlines: Vec::new(),
            },
            plan,
        };
        self.begin(ctx, draft, wait).await
    }

    async fn plan_revocation(
        &self,
        ctx: &Ctx,
        certificate: &Certificate,
    ) -> Result<(Option<Arc<crate::policies::ReadPolicy>>, WorkflowPlan), CoreError> {
        let policy = match certificate.policy_id {
            Some(policy) => self.governing_policy(ctx, policy).await?,
            None => None,
        };
        let plan = match &policy {
            Some(policy) => self.plan_workflow(ctx, WorkflowKind::Revocation, policy, None).await?,
            // A certificate that no policy governs any more can still be revoked by whoever may revoke.
            None => WorkflowPlan {
                workflow_id: None,
                workflow_version: None,
                decision: Decision::AutoApproved {
                    reason: "no policy in force governs the certificate any more".to_owned(),
                },
            },
        };
        Ok((policy, plan))
    }

    /// The certificate in the caller's organization.
    ///
    /// # Errors
    /// `certificate_not_found`.
    pub(crate) async fn find_certificate(
        &self,
        ctx: &Ctx,
        id: CertificateId,
    ) -> Result<Certificate, CoreError> {
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let row = certificates::find(&mut tx, id.into()).await?.ok_or_else(certificate_not_found)?;
        Certificate::read(row, ctx.now)
    }
}

pub(crate) fn check_invalidity_date(date: Option<Time>, now: Time) -> Result<(), Refusal> {
    if date.is_some_and(|date| date > now || date < RevocationSpec::EARLIEST_INVALIDITY_DATE) {
        let detail = "the invalidity date lies in the future or before 1950";
        return Err(Refusal::new(ErrorCode::InvalidityDateInvalid, detail)
            .hint("it says since when the key is suspected (RFC 5280 section 5.3.2)")
            .field("/invalidity_date"));
    }
    Ok(())
}

/// Whether a certificate may be renewed.
///
/// # Errors
/// `certificate_not_active`.
pub(crate) fn check_renewable(status: CertificateStatus) -> Result<(), Refusal> {
    if status == CertificateStatus::Active {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::CertificateNotActive,
        format!("the certificate is {status}, only an active one can be renewed"),
    )
    .hint("ask for a new certificate instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalidity_date_lies_in_the_past() {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert!(check_invalidity_date(None, now).is_ok());
        assert!(check_invalidity_date(Some(now), now).is_ok());
        let before = RevocationSpec::EARLIEST_INVALIDITY_DATE - chrono::TimeDelta::seconds(1);
        for date in [now + chrono::TimeDelta::seconds(1), before] {
            let refused = check_invalidity_date(Some(date), now);
            assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidityDateInvalid);
        }
    }

    #[test]
    fn a_revoked_certificate_cannot_be_renewed() {
        for status in CertificateStatus::ALL {
            let renewable = check_renewable(*status).is_ok();
            assert_eq!(renewable, *status == CertificateStatus::Active, "{status}");
        }
    }
}
