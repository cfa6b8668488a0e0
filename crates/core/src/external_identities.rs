//! Which users OpenID providers mean: links that people make and remove in their sessions.

use clm_core_db::sessions::{self, SessionEnd};
use clm_core_db::{audit, external_identities, notices, sign_in};
use clm_types::{ErrorCode, ExternalIdentityId, Refusal};

use crate::audit::AuditEntry;
use crate::identity_providers::{Departure, Errand, Return};
use crate::second_factors::proof;
use crate::sign_in::sign_in_failed;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::external_identities::ExternalIdentityRow as ExternalIdentity;

/// Providers that one user may be linked to, and more than there will be.
const MOST: i64 = 50;

impl Core {
    /// The caller's links, newest first.
    pub async fn list_external_identities(&self, ctx: &Ctx) -> Result<Vec<ExternalIdentity>, CoreError> {
        ctx.require_unrestricted()?;
        let mut tx = clm_pg::begin(&self.system).await?;
        Ok(external_identities::list(&mut tx, ctx.user_id()?.0, MOST).await?)
    }

    /// Where to send the caller's browser to link a provider.
    ///
    /// # Errors
    /// As [`Core::begin_external_sign_in`].
    pub async fn begin_external_identity(
        &self,
        ctx: &Ctx,
        departure: &Departure,
    ) -> Result<String, CoreError> {
        let (_, session) = proof(ctx)?;
        self.depart(departure, Errand::Link(session.id)).await
    }

    /// Links whom the provider means to the caller.
    ///
    /// # Errors
    /// As [`Core::sign_in_externally`]; `conflict` if that one is linked already.
    pub async fn add_external_identity(
        &self,
        ctx: &Ctx,
        back: &Return,
    ) -> Result<ExternalIdentity, CoreError> {
        let (user_id, session) = proof(ctx)?;
        let (found, claims) = self.arrive(back, Errand::Link(session.id), ctx.now).await?;
        let subject = claims.sub.as_str();
        self.in_system("add_external_identity", |mut tx| async move {
            sign_in::lock(&mut tx, user_id.0).await?.ok_or_else(sign_in_failed)?;
            let known = external_identities::find(&mut tx, found.provider.issuer(), subject).await?;
            if let Some(known) = known {
                if known.user_id == user_id.0 && !known.confirmed {
                    external_identities::confirm(&mut tx, known.id, ctx.now).await?;
                    let entry =
                        AuditEntry::of(ctx, &self.entropy, "identity.confirm", "user").object(user_id);
                    audit::insert(&mut tx, entry.row()).await?;
                    return Ok((tx, known));
                }
                return Err(Refusal::new(ErrorCode::Conflict, "whom the provider names is linked already")
                    .hint("remove that link first, as whoever has it: clm identity remove")
                    .into());
            }
            let row = self.insert_identity(&mut tx, ctx, found, subject, (user_id.0, true)).await?;
            Ok((tx, row))
        })
        .await
    }

    /// Removes a link of the caller; all sessions that it opened end.
    ///
    /// # Errors
    /// `external_identity_not_found`.
    pub async fn remove_external_identity(&self, ctx: &Ctx, id: ExternalIdentityId) -> Result<(), CoreError> {
        let (user_id, _) = proof(ctx)?;
        self.in_system("remove_external_identity", |mut tx| async move {
            let mine = external_identities::list(&mut tx, user_id.0, MOST).await?;
            let mine = mine.into_iter().find(|one| one.id == id.0).ok_or_else(|| not_found(id))?;
            external_identities::revoke(&mut tx, user_id.0, id.0, ctx.now)
                .await
                .map_err(|_| not_found(id))?;
            let end = SessionEnd { reason: "identity_removed", by: Some(user_id.0), now: ctx.now };
            sessions::revoke_external(&mut tx, Some(id.0), None, &mine.issuer, end).await?;
            let entry = AuditEntry::of(ctx, &self.entropy, "identity.unlink", "user")
                .object(user_id)
                .before(serde_json::json!({"provider": mine.provider, "subject": mine.subject}));
            audit::insert(&mut tx, entry.row()).await?;
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }
}

fn not_found(id: ExternalIdentityId) -> Refusal {
    Refusal::new(ErrorCode::ExternalIdentityNotFound, format!("you have no link {id} to a provider"))
}
