//! Renewing certificates: what the old one says, with the same key or a new one.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::{PgConnection, renewals};
use clm_types::{CertificateId, ErrorCode, KeyAlgorithm, Permission, Refusal, WorkflowKind};
use clm_x509::{San, SubjectName};

use crate::authorities::succeeding;
use crate::certificates::Certificate;
use crate::policies::policy_not_found;
use crate::request_view::stored;
use crate::requests::{Asked, AskedKey, Submitted, find_profile};
use crate::revocations::check_renewable;
use crate::{Core, CoreError, Ctx};

/// What the new certificate shall have that the old one has not; nothing: the same key again.
#[derive(Debug, Clone, Default)]
pub struct NewRenewal {
    /// PKCS#10 in PEM with the new key; its names do not matter.
    pub csr_pem: Option<String>,
    /// Algorithm of the key to generate.
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Lifetime; the default of the policy unless given.
    pub validity_seconds: Option<u64>,
    /// A word to the approvers.
    pub comment: Option<String>,
}

impl Core {
    /// Renews a certificate under the policy now in force: same subject, names, profile, authority,
    /// owner and labels. At once when nobody need approve and it can be within `wait`.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `certificate_not_active`,
    /// `certificate_already_renewed`, `policy_not_active`;
    /// and as [`Self::submit_request`].
    pub async fn renew_certificate(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        new: NewRenewal,
        wait: Duration,
    ) -> Result<Submitted, CoreError> {
        ctx.require(Permission::CertificateRenew)?;
        let begin = Box::pin(async {
            let old = self.find_certificate(ctx, id).await?;
            check_renewable(old.status)?;
            let asked = self.read_renewal(ctx, old, new).await?;
            self.begin_certificate(ctx, asked, wait).await
        });
        self.once(ctx, begin).await
    }

    async fn read_renewal(&self, ctx: &Ctx, old: Certificate, new: NewRenewal) -> Result<Asked, CoreError> {
        let profile = find_profile(&old.profile)?;
        let key = match AskedKey::read(new.csr_pem.as_deref(), new.key_algorithm, &profile)? {
            Some(key) => key,
            None => AskedKey::Reused(stored(&old.key_algorithm)?),
        };
        let issued_under = old
            .policy_id
            .ok_or_else(|| policy_not_found("none: the certificate was issued under no policy"))?;
        let policy = self.governing_policy(ctx, issued_under).await?.ok_or_else(|| {
            Refusal::new(
                ErrorCode::PolicyNotActive,
                "the policy that the certificate was issued under is no longer in force",
            )
            .hint("ask for a new certificate under another policy")
        })?;
        let authority_id = old
            .authority_id
            .ok_or_else(|| CoreError::defect(format!("certificate {} names no authority", old.id)))?;
        let authority = self.find_authority(authority_id).await?;
        let authorities = self.authorities().await?;
        let validity_seconds = new.validity_seconds.unwrap_or(policy.rules.default_validity_seconds);
        Ok(Asked {
            kind: WorkflowKind::Renewal,
            profile,
            signer: succeeding(&authorities, &authority, validity_seconds, ctx.now).clone(),
            authority,
            key,
            subject: old.subject.parse::<SubjectName>()?,
            sans: old.sans.iter().map(|name| name.parse::<San>()).collect::<Result<_, _>>()?,
            validity_seconds,
            owner_user_id: match old.owner_user_id {
                Some(owner) => owner,
                None => ctx.user_id()?,
            },
            labels: old.labels,
            comment: new.comment,
            renewal_of: Some(old.id),
            policy,
        })
    }
}

/// Holds a certificate and fails if it was renewed, or if another renewal of it is open: two at once
/// would each find none.
///
/// # Errors
/// `certificate_already_renewed`.
pub(crate) async fn check_not_renewed(conn: &mut PgConnection, old: CertificateId) -> Result<(), CoreError> {
    let refuse = |detail: String, hint: &str| {
        Err(Refusal::new(ErrorCode::CertificateAlreadyRenewed, detail).hint(hint).into())
    };
    if let Some(new) = renewals::hold(conn, old.into()).await? {
        return refuse(format!("the certificate {new} has replaced this one"), "use that one, or renew it");
    }
    match renewals::find_open(conn, old.into()).await? {
        Some(request) => {
            refuse(format!("the request {request} renews it"), "wait for that request, or cancel it")
        }
        None => Ok(()),
    }
}
