//! Signing in by an OpenID provider, and the end of sessions when the provider says so.

use clm_core_db::external_identities::{self, ExternalIdentityRow};
use clm_core_db::sessions::{self, SessionEnd, SessionRow};
use clm_core_db::{PgConnection, audit, notices, organizations, sign_in};
use clm_oidc::{Claims, OidcError};
use clm_types::{ErrorCode, OrganizationId, Refusal, ids};
use uuid::Uuid;

use crate::audit::AuditEntry;
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
        let (found, claims) = self.arrive(back, Errand::SignIn, now).await?;
        let home = self.home_of(found).await?;
        let ctx = &visitor.ctx(now, Some(home.0));
        let opened = self.open_external_session(ctx, found, &claims, visitor.user_agent.as_deref()).await;
        if let Err(CoreError::Refused(refusal)) = &opened {
            self.note_refused(ctx, found, refusal).await?;
        }
        opened
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
        let id = organizations::find_id_by_code(&mut tx, &found.organization_code).await?;
        id.map(OrganizationId).ok_or_else(|| {
            tracing::error!(provider = %found.name, organization = %found.organization_code, "there is no such organization");
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
        if let Some(known) = external_identities::find(conn, issuer, &claims.sub).await? {
            return Ok(known);
        }
        let matched = match (found.newcomers, claims.verified_email()) {
            (Newcomers::Refused, _) | (_, None) => None,
            (_, Some(email)) => {
                external_identities::find_user_by_email(conn, ctx.organization_id.0, email, issuer).await?
            }
        };
        let user_id = match (matched, found.newcomers) {
            (Some(user_id), _) => user_id,
            (None, Newcomers::Created) => self.create_newcomer(conn, ctx, claims).await?,
            (None, _) => return Err(identity_unknown(found).into()),
        };
        self.insert_identity(conn, ctx, found, &claims.sub, user_id).await
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
        licenses::check_users(conn, ctx.organization_id).await?;
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
        user_id: Uuid,
    ) -> Result<ExternalIdentityRow, CoreError> {
        let row = ExternalIdentityRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            user_id,
            provider: found.name.clone(),
            issuer: found.provider.issuer().to_owned(),
            subject: subject.to_owned(),
            last_used_at: None,
            created_at: ctx.now,
        };
        external_identities::insert(conn, &row).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, "identity.link", "user")
            .object(user_id)
            .after(serde_json::json!({"provider": row.provider, "subject": row.subject}));
        audit::insert(conn, entry.row()).await?;
        Ok(row)
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
        let factor_at = claims.authenticated_at().filter(|_| has_factor).map(|at| at.min(ctx.now));
        SessionRow {
            mfa_at: factor_at,
            external_identity_id: Some(identity.id),
            external_session: claims.sid.clone(),
            ..self.new_session(ctx, identity.user_id, user_agent, SignInMethod::Oidc)
        }
    }

    async fn note_refused(
        &self,
        ctx: &Ctx,
        found: &IdentityProvider,
        refusal: &Refusal,
    ) -> Result<(), CoreError> {
        self.in_system("note_refused_external_sign_in", |mut tx| async move {
            let entry = AuditEntry::of(ctx, &self.entropy, "session.open", "user")
                .outcome("refused")
                .of_installation()
                .detail(format!("{}: {}", found.name, refusal.code));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await
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
