//! From a presented API key or session to the actor and the organization of a call.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use clm_core_db::api_keys;
use clm_core_db::organizations::{self, OrganizationRow};
use clm_core_db::role_assignments::{self, HeldRoleRow};
use clm_core_db::{PgConnection, PgPool, sessions, users};
use clm_types::{ApiKeyId, ErrorCode, OrganizationId, Refusal, SessionId, Time};
use uuid::Uuid;

use crate::actor::Actor;
use crate::identity::{Credential, Identity, Presented};
use crate::organization_settings::OrganizationSettings;
use crate::tokens::{Token, TokenKind};
use crate::{Core, CoreError, Ctx};

pub(crate) fn unauthenticated(detail: &str) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, detail)
        .hint("send a valid API key or session: Authorization: Bearer clm_pat_…")
}

fn organization_not_found() -> Refusal {
    Refusal::new(ErrorCode::OrganizationNotFound, "there is no such organization")
        .hint("name one that you belong to, or use an API key that works in it")
}

impl Core {
    /// The circumstances of a call that presents `token` and asks to work in `organization` (the
    /// key's own or the user's primary one unless named).
    ///
    /// # Errors
    /// `unauthenticated`, `user_not_active`, `organization_not_found`, `organization_not_active`, `session_too_old`.
    pub async fn authenticate(
        &self,
        token: &str,
        organization: Option<OrganizationId>,
        request_id: Uuid,
        address: Option<IpAddr>,
    ) -> Result<Ctx, CoreError> {
        let now = self.clock.now();
        let token = Token::parse(token)
            .filter(|token| !matches!(token.kind(), TokenKind::Bootstrap | TokenKind::Link))
            .ok_or_else(|| unauthenticated("this is neither an API key nor a session"))?;
        let identity = self.identify(&token, organization, now).await?;
        identity.check_address(address)?;
        self.note_use(&identity.actor, now);
        Ok(Ctx {
            actor: identity.actor.clone(),
            organization_id: identity.organization_id,
            now,
            request_id,
            address,
            asked: None,
        })
    }

    async fn identify(
        &self,
        token: &Token,
        organization: Option<OrganizationId>,
        now: Time,
    ) -> Result<Arc<Identity>, CoreError> {
        let key = (token.hash(), organization);
        if let Some(known) = self.identities.get(&key)
            && known.valid_until.is_none_or(|until| now < until)
        {
            return Ok(known);
        }
        let generation = self.identities.generation();
        let mut conn = clm_pg::begin(&self.system).await?;
        let credential = match token.kind() {
            TokenKind::Session => self.find_session(&mut conn, token, now).await?,
            _ => find_key(&mut conn, token, now).await?,
        };
        let organization_id = choose_organization(&mut conn, &credential, organization).await?;
        let held = role_assignments::list_held(&mut conn, credential.user_id, now).await?;
        let organization = check_membership(&mut conn, &credential, organization_id, &held).await?;
        drop(conn);
        let credential = within(credential, &organization, now)?;
        let identity = Arc::new(Identity::of(&credential, &organization, &held)?);
        self.identities.insert(generation, &key, Arc::clone(&identity));
        Ok(identity)
    }

    async fn find_session(
        &self,
        conn: &mut PgConnection,
        token: &Token,
        now: Time,
    ) -> Result<Credential, CoreError> {
        let unknown = || unauthenticated("this session is not known");
        let row = self.find_session_credential(conn, &token.hash()).await?.ok_or_else(unknown)?;
        let ends = row.expires_at.min(row.last_seen_at + self.session_idle);
        if row.revoked_at.is_some() || ends <= now {
            return Err(unauthenticated("this session has ended").hint("sign in again").into());
        }
        check_user(&row.user_status)?;
        Ok(Credential {
            user_id: row.user_id,
            organization_id: None,
            ends: Some(ends),
            presented: Presented::Session(row),
        })
    }

    /// Notes the use of a key or session, at most once a minute, without keeping the caller waiting.
    fn note_use(&self, actor: &Actor, now: Time) {
        let session = actor.session.map(|session| session.id);
        let Some(id) = actor.api_key_id.map(Uuid::from).or(session.map(Uuid::from)) else {
            return;
        };
        if self.used_credentials.contains_key(&id) {
            return;
        }
        self.used_credentials.insert(id, ());
        let (pool, key) = (self.system.clone(), actor.api_key_id);
        tokio::spawn(async move {
            if let Err(error) = touch(&pool, key, session, now).await {
                tracing::warn!(%error, %id, "the use of an API key or session was not noted");
            }
        });
    }
}

async fn touch(
    pool: &PgPool,
    key: Option<ApiKeyId>,
    session: Option<SessionId>,
    now: Time,
) -> Result<(), clm_pg::DbError> {
    let mut tx = clm_pg::begin(pool).await?;
    if let Some(id) = key {
        api_keys::touch(&mut tx, id.0, now).await?;
    }
    if let Some(id) = session {
        sessions::touch(&mut tx, id.0, now).await?;
    }
    clm_pg::commit(tx).await
}

/// A session ends earlier where the organization says so.
fn within(credential: Credential, organization: &OrganizationRow, now: Time) -> Result<Credential, Refusal> {
    let Presented::Session(session) = &credential.presented else {
        return Ok(credential);
    };
    let settings = OrganizationSettings::read(&organization.settings);
    let Some(end) = settings.session_end(session.created_at, session.last_seen_at) else {
        return Ok(credential);
    };
    if end <= now {
        // Not a wrong token: the session goes on elsewhere.
        let detail =
            "the session is older, or was unused for longer, than this organization lets sessions be";
        return Err(Refusal::new(ErrorCode::SessionTooOld, detail)
            .hint("sign in again, or work in another organization"));
    }
    Ok(Credential { ends: Some(credential.ends.map_or(end, |ends| ends.min(end))), ..credential })
}

fn check_user(status: &str) -> Result<(), Refusal> {
    if status == "active" {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::UserNotActive, format!("the user is {status}")))
}

async fn find_key(conn: &mut PgConnection, token: &Token, now: Time) -> Result<Credential, CoreError> {
    let unknown = || unauthenticated("this API key is not known");
    let credential = api_keys::find_credential(conn, token.lookup_prefix()).await?.ok_or_else(unknown)?;
    verify_slices_are_equal(&credential.key_hash, &token.hash()).map_err(|_| unknown())?;
    if credential.revoked_at.is_some() {
        return Err(unauthenticated("this API key has been revoked").into());
    }
    let ends = [credential.expires_at, credential.replaced_at].into_iter().flatten().min();
    if ends.is_some_and(|end| end <= now) {
        return Err(unauthenticated("this API key has expired").into());
    }
    check_user(&credential.user_status)?;
    Ok(Credential {
        user_id: credential.user_id,
        organization_id: credential.organization_id,
        ends,
        presented: Presented::Key(credential),
    })
}

/// The organization to work in, which must be active; whether the user may, is checked after.
async fn choose_organization(
    conn: &mut PgConnection,
    credential: &Credential,
    asked: Option<OrganizationId>,
) -> Result<OrganizationId, CoreError> {
    let bound = credential.organization_id.map(OrganizationId);
    let chosen = match (bound, asked) {
        (Some(bound), Some(asked)) if bound != asked => return Err(organization_not_found().into()),
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => users::find_home(conn, credential.user_id)
            .await?
            .map(OrganizationId)
            .ok_or_else(organization_not_found)?,
    };
    Ok(chosen)
}

/// Fails unless the user belongs to the organization or holds a role everywhere, and it is active.
async fn check_membership(
    conn: &mut PgConnection,
    credential: &Credential,
    id: OrganizationId,
    held: &[HeldRoleRow],
) -> Result<OrganizationRow, CoreError> {
    let everywhere = held.iter().any(|role| role.organization_id.is_none());
    let membership = users::find_membership_status(conn, credential.user_id, id.0).await?;
    if !everywhere && membership.as_deref() != Some("active") {
        return Err(organization_not_found().into());
    }
    let organization = organizations::find(conn, id.0).await?.ok_or_else(organization_not_found)?;
    if organization.status == "active" {
        return Ok(organization);
    }
    Err(Refusal::new(
        ErrorCode::OrganizationNotActive,
        format!("the organization is {}", organization.status),
    )
    .into())
}
