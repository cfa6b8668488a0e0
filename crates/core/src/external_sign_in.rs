//! Signing in by an OpenID provider, and the end of sessions when the provider says so.

use std::collections::BTreeSet;

use clm_core_db::external_identities::{self, ExternalIdentityRow, Sign};
use clm_core_db::sessions::{self, SessionEnd, SessionRow};
use clm_core_db::{DbError, PgConnection, audit, group_members, notices, organizations, sign_in, users};
use clm_oidc::{Claims, OidcError};
use clm_types::{ErrorCode, GroupId, OrganizationId, Refusal, UserId, ids};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::group_members::MemberChange;
use crate::groups::lock_group;
use crate::identity_providers::{Departure, Errand, IdentityProvider, Newcomers, Return, told};
use crate::sign_in::{SignInMethod, SignedIn, Visitor};
use crate::tokens::{Token, TokenKind};
use crate::users::{NewUser, insert_user};
use crate::{Actor, Core, CoreError, Ctx, licenses};

impl Core {
    /// Where to send the browser of somebody who signs in.
    ///
    /// # Errors
    /// `not_found` for an unknown provider, `invalid_request` for a challenge that is none, `unavailable`.
    pub async fn begin_external_sign_in(&self, departure: &Departure) -> Result<String, CoreError> {
        self.depart(departure, Errand::SignIn).await
    }

    /// Opens a session for whom the provider vouches.
    ///
    /// # Errors
    /// `invalid_request` for a state that is not the caller's, `sign_in_failed` for a code that does not hold, `identity_unknown`
    /// for somebody who is no user here.
    pub async fn sign_in_externally(&self, back: &Return, visitor: &Visitor) -> Result<SignedIn, CoreError> {
        let now = self.clock.now();
        let arrived = self.arrive(back, Errand::SignIn, now).await;
        if let Err(CoreError::Refused(refusal)) = &arrived
            && refusal.code == ErrorCode::SignInFailed
        {
            self.note_refused(&visitor.ctx(now, None), "a provider", refusal).await?;
        }
        let (found, claims) = arrived?;
        let home = self.home_of(found).await?;
        let ctx = &visitor.ctx(now, Some(home.0));
        let opened = self.open_external_session(ctx, found, &claims, visitor.user_agent.as_deref()).await;
        if let Err(CoreError::Refused(refusal)) = &opened {
            self.note_refused(ctx, &found.name, refusal).await?;
        }
        // The organization reads why in its audit log; somebody who is not in it does not.
        opened.map_err(|error| licenses::without_reason(error, identity_unknown(found)))
    }

    async fn open_external_session(
        &self,
        ctx: &Ctx,
        found: &IdentityProvider,
        claims: &Claims,
        user_agent: Option<&str>,
    ) -> Result<SignedIn, CoreError> {
        let token = Token::generate(TokenKind::Session, &self.entropy);
        let token_hash = &token.hash();
        let opened = self.in_system("open_external_session", |mut tx| async move {
            let identity = self.find_or_make_identity(&mut tx, ctx, found, claims).await?;
            let user = sign_in::lock(&mut tx, identity.user_id).await?;
            if user.is_none_or(|user| user.status != "active") {
                return Err(identity_unknown(found).into());
            }
            external_identities::note_use(&mut tx, identity.id, ctx.now).await?;
            self.follow_groups(&mut tx, ctx, found, claims, UserId(identity.user_id)).await?;
            let row = self.external_session(ctx, found, claims, &identity, user_agent);
            let missing = self.insert_session(&mut tx, ctx, &row, token_hash).await?;
            Ok((tx, (row, missing)))
        });
        let (session, missing) = opened.await?;
        Ok(SignedIn { token, session, missing })
    }

    /// Ends the sessions that a provider has ended (Back-Channel Logout 1.0). How many they were.
    ///
    /// # Errors
    /// `not_found` for an unknown provider, `invalid_request` for a token that does not hold.
    pub async fn end_external_sessions(
        &self,
        provider: &str,
        logout_token: &str,
        visitor: &Visitor,
    ) -> Result<usize, CoreError> {
        let now = self.clock.now();
        let (found, client) = self.find_provider(provider)?;
        let verified = found.provider.verify_logout(client, logout_token, now).await;
        let claims = &verified.map_err(|error| refused_logout(found, &error))?;
        let home = self.home_of(found).await?;
        let ctx = &visitor.ctx(now, Some(home.0));
        let ended = self.in_system("end_external_sessions", |mut tx| async move {
            let issuer = found.provider.issuer();
            let identity = match &claims.subject {
                Some(subject) => match external_identities::find(&mut tx, issuer, subject).await? {
                    Some(identity) => Some(identity.id),
                    None => return Ok((tx, 0)),
                },
                None => None,
            };
            let end = SessionEnd { reason: "provider", by: None, now };
            let session = claims.session.as_deref();
            let ended = sessions::revoke_external(&mut tx, identity, session, issuer, end).await?;
            for id in &ended {
                let entry = AuditEntry::of(ctx, &self.entropy, "session.revoke", "session")
                    .object(*id)
                    .detail(found.name.as_str());
                audit::insert(&mut tx, entry.row()).await?;
            }
            notices::send(&mut tx, notices::IDENTITY).await?;
            Ok((tx, ended.len()))
        });
        let ended = ended.await?;
        self.identities.clear();
        Ok(ended)
    }

    /// The organization whose people a provider vouches for.
    async fn home_of(&self, found: &IdentityProvider) -> Result<OrganizationId, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let code = found.organization_code.as_deref().unwrap_or_default();
        let id = organizations::find_id_by_code(&mut tx, code).await?;
        id.map(OrganizationId).ok_or_else(|| {
            tracing::error!(provider = %found.name, organization = %code, "there is no such organization");
            identity_unknown(found).into()
        })
    }

    /// The link of the subject, or a new one if whoever comes for the first time may.
    async fn find_or_make_identity(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        found: &IdentityProvider,
        claims: &Claims,
    ) -> Result<ExternalIdentityRow, CoreError> {
        let issuer = found.provider.issuer();
        let home = ctx.organization_id.0;
        if let Some(known) = external_identities::find(conn, issuer, &claims.sub).await? {
            // The provider speaks for its organization's people. Who has left, or come to reach further, says so in a session.
            let speaks_for = known.confirmed
                || (users::find_membership_status(conn, known.user_id, home).await?.as_deref()
                    == Some("active")
                    && !users::reaches_beyond(conn, known.user_id, home).await?);
            return if speaks_for { Ok(known) } else { Err(identity_unknown(found).into()) };
        }
        // Whoever has removed the link, or was deleted, does not come back by the provider's word.
        if external_identities::was_revoked(conn, issuer, &claims.sub).await? {
            return Err(identity_unknown(found).into());
        }
        let sign = match found.newcomers {
            Newcomers::Refused => None,
            Newcomers::MatchedByExternalId => claims.text(&found.external_id_claim).map(Sign::ExternalId),
            Newcomers::MatchedByEmail | Newcomers::Created => claims.verified_email().map(Sign::Email),
        };
        let matched = match sign {
            Some(sign) => external_identities::find_newcomer(conn, home, sign, issuer).await?,
            None => None,
        };
        let user_id = match (matched, found.newcomers) {
            (Some(user_id), _) => user_id,
            (None, Newcomers::Created) => self.create_newcomer(conn, ctx, claims).await?,
            (None, _) => return Err(identity_unknown(found).into()),
        };
        self.insert_identity(conn, ctx, found, &claims.sub, (user_id, false)).await
    }

    /// A user for somebody who has none, made by the service at the word of the provider.
    async fn create_newcomer(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        claims: &Claims,
    ) -> Result<Uuid, CoreError> {
        let email = claims.verified_email().ok_or_else(|| {
            let detail = "the provider names no address that it has checked (`email`, `email_verified`)";
            Refusal::new(ErrorCode::IdentityUnknown, detail).hint("let an administrator make the user")
        })?;
        let new = NewUser {
            username: claims.text("preferred_username").unwrap_or(email).to_owned(),
            email: email.to_owned(),
            display_name: claims.text("name").map(str::to_owned),
            invited: false,
        };
        new.check()?;
        licenses::check_users(conn, ctx.organization_id, ctx.now).await?;
        let ctx = &Ctx { actor: Actor::system(), ..ctx.clone() };
        Ok(insert_user(self, conn, ctx, &new).await?.id)
    }

    /// Links a subject to a user, in an open transaction.
    pub(crate) async fn insert_identity(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        found: &IdentityProvider,
        subject: &str,
        (user_id, confirmed): (Uuid, bool),
    ) -> Result<ExternalIdentityRow, CoreError> {
        let row = ExternalIdentityRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            user_id,
            provider: found.name.clone(),
            issuer: found.provider.issuer().to_owned(),
            subject: subject.to_owned(),
            confirmed,
            last_used_at: None,
            created_at: ctx.now,
        };
        external_identities::insert(conn, &row).await.map_err(linked_meanwhile)?;
        let entry = AuditEntry::of(ctx, &self.entropy, "identity.link", "user")
            .object(user_id)
            .after(serde_json::json!({"provider": row.provider, "subject": row.subject}));
        audit::insert(conn, entry.row()).await?;
        Ok(row)
    }

    /// Lets the user join and leave the groups that the provider governs, as its claim says, in an open transaction. It is the
    /// operator who has named them, so it does not matter what they grant.
    async fn follow_groups(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        found: &IdentityProvider,
        claims: &Claims,
        user_id: UserId,
    ) -> Result<(), CoreError> {
        let home = ctx.organization_id.0;
        let status = users::find_membership_status(conn, user_id.0, home).await?;
        if found.groups.is_empty() || status.as_deref() != Some("active") {
            return Ok(());
        }
        let names: Vec<String> = found.groups.iter().map(|name| name.to_lowercase()).collect();
        let claimed = claims.texts(&found.groups_claim);
        let ctx = &Ctx { actor: Actor::system(), ..ctx.clone() };
        for governed in group_members::list_governed(conn, home, user_id.0, &names).await? {
            let belongs =
                claimed.iter().any(|name| governed.display_name.to_lowercase() == name.to_lowercase());
            if belongs == governed.is_member {
                continue;
            }
            let one = BTreeSet::from([user_id]);
            let wanted = if belongs {
                MemberChange { added: one, ..MemberChange::default() }
            } else {
                MemberChange { removed: one, ..MemberChange::default() }
            };
            let group = lock_group(conn, ctx, GroupId(governed.id), None).await?;
            self.change_members(conn, ctx, &group, &wanted, ctx.actor.permissions).await?;
        }
        Ok(())
    }

    /// The provider's own check of a second factor counts from when the user was authenticated.
    fn external_session(
        &self,
        ctx: &Ctx,
        found: &IdentityProvider,
        claims: &Claims,
        identity: &ExternalIdentityRow,
        user_agent: Option<&str>,
    ) -> SessionRow {
        let has_factor = claims.amr.iter().any(|method| found.factor_methods.contains(method));
        let factor_at = claims.authenticated_at(ctx.now).filter(|_| has_factor);
        SessionRow {
            mfa_at: factor_at,
            external_identity_id: Some(identity.id),
            external_session: claims.sid.clone(),
            ..self.new_session(ctx, identity.user_id, user_agent, SignInMethod::Oidc)
        }
    }

    async fn note_refused(&self, ctx: &Ctx, provider: &str, refusal: &Refusal) -> Result<(), CoreError> {
        self.in_system("note_refused_external_sign_in", |mut tx| async move {
            let entry = AuditEntry::of(ctx, &self.entropy, "session.open", "user")
                .outcome("refused")
                .of_installation()
                .detail(format!("{provider}: {}", refusal.code));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await
    }
}

/// Two came at once, or the user has another link to this provider.
fn linked_meanwhile(error: DbError) -> CoreError {
    match error {
        DbError::Conflict { .. } => Refusal::new(ErrorCode::Conflict, "a link to this provider is there already")
            .hint("sign in again; to link another account of the provider, remove the link first: clm identity remove")
            .into(),
        other => other.into(),
    }
}

/// Section 2.8: such a call is a bad one.
fn refused_logout(found: &IdentityProvider, error: &OidcError) -> Refusal {
    let refusal = told(found, error);
    match refusal.code {
        ErrorCode::SignInFailed => {
            Refusal::new(ErrorCode::InvalidRequest, "the logout token does not hold").field("/logout_token")
        }
        _ => refusal,
    }
}

pub(crate) fn identity_unknown(found: &IdentityProvider) -> Refusal {
    Refusal::new(ErrorCode::IdentityUnknown, format!("whom {} names is no active user here", found.name)).hint(
        "sign in by another way and link the provider: clm identity link PROVIDER; or ask an administrator to let you in",
    )
}
