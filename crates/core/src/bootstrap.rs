//! The first administrator of an installation, by a one-time token from the operator.

use std::net::IpAddr;

use chrono::TimeDelta;
use clm_core_db::{PgConnection, bootstrap, organizations};
use clm_types::{ErrorCode, OrganizationId, Refusal, Time, UserId, ids};
use uuid::Uuid;

use crate::actor::Actor;
use crate::administrators::administrator_key;
use crate::api_keys::insert_api_key;
use crate::fields::{check_code, check_name};
use crate::organizations::{NewOrganization, insert_organization};
use crate::role_assignments::{NewAssignment, insert_assignment};
use crate::roles::ADMINISTRATOR;
use crate::tokens::{Token, TokenKind};
use crate::users::{NewUser, insert_user};
use crate::{Core, CoreError, Ctx};

/// The first organization and its administrator.
pub struct NewInstallation {
    /// The administrator of every organization.
    pub administrator: NewUser,
    /// The first organization.
    pub organization: NewOrganization,
}

/// What came of it.
pub struct Bootstrapped {
    /// The administrator.
    pub user_id: UserId,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The administrator's API key, shown this once; works in every organization.
    pub api_key: Token,
}

fn invalid_token() -> Refusal {
    Refusal::new(ErrorCode::BootstrapTokenInvalid, "the bootstrap token is wrong, used or expired")
        .hint("make one at the machine: clm-core bootstrap-token")
}

impl Core {
    /// Makes a one-time token for the operator, good for `lifetime`.
    ///
    /// # Errors
    /// `conflict` when the installation has its first organization already.
    pub async fn create_bootstrap_token(&self, lifetime: TimeDelta) -> Result<Token, CoreError> {
        let now = self.clock.now();
        let token = Token::generate(TokenKind::Bootstrap, &self.entropy);
        let mut tx = clm_pg::begin(&self.system).await?;
        check_first(&mut tx).await?;
        let id = ids::new_uuid(now, &self.entropy);
        bootstrap::insert(&mut tx, id, &token.hash(), now + lifetime, now).await?;
        clm_pg::commit(tx).await?;
        Ok(token)
    }

    /// Makes the first organization, with default workflows and policies, and its administrator.
    ///
    /// # Errors
    /// `bootstrap_token_invalid`; `conflict` when there is an organization already.
    pub async fn bootstrap(
        &self,
        token: &str,
        new: &NewInstallation,
        request_id: Uuid,
        address: Option<IpAddr>,
    ) -> Result<Bootstrapped, CoreError> {
        let now = self.clock.now();
        let token = Token::parse(token)
            .filter(|token| token.kind() == TokenKind::Bootstrap)
            .ok_or_else(invalid_token)?;
        new.administrator.check()?;
        check_code(&new.organization.code, "/organization_code")?;
        check_name(&new.organization.name, "/organization_name")?;
        let token = &token;
        self.in_system("bootstrap", |mut tx| async move {
            let token_id = bootstrap::take(&mut tx, &token.hash(), now).await?;
            let token_id = token_id.ok_or_else(invalid_token)?;
            check_first(&mut tx).await?;
            let ctx = operator_ctx(now, request_id, address);
            let made = insert_installation(self, &mut tx, &ctx, new).await?;
            bootstrap::set_user(&mut tx, token_id, made.user_id.0).await?;
            Ok((tx, made))
        })
        .await
    }
}

async fn check_first(conn: &mut PgConnection) -> Result<(), CoreError> {
    bootstrap::lock(conn).await?;
    if organizations::exist(conn).await? {
        return Err(Refusal::new(ErrorCode::Conflict, "the installation has its first organization already")
            .hint("sign in as its administrator; if the key is lost: clm-core administrator-key")
            .into());
    }
    Ok(())
}

/// An operator at the machine; the organization is named once it is known.
pub(crate) fn operator_ctx(now: Time, request_id: Uuid, address: Option<IpAddr>) -> Ctx {
    Ctx {
        actor: Actor::operator(),
        organization_id: OrganizationId(Uuid::nil()),
        now,
        request_id,
        address,
        asked: None,
    }
}

async fn insert_installation(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    new: &NewInstallation,
) -> Result<Bootstrapped, CoreError> {
    let organization = insert_organization(core, conn, ctx, &new.organization).await?;
    let ctx = Ctx { organization_id: OrganizationId(organization.id), ..ctx.clone() };
    let user = insert_user(core, conn, &ctx, &new.administrator).await?;
    let user_id = UserId(user.id);
    let assignment = NewAssignment {
        user_id,
        role_id: ADMINISTRATOR,
        everywhere: true,
        valid_from: None,
        valid_until: None,
        reason: Some("first administrator".to_owned()),
    };
    insert_assignment(core, conn, &ctx, &assignment).await?;
    crate::defaults::insert_defaults(core, conn, &ctx).await?;
    let key = administrator_key(core, &ctx, user_id, "first administrator");
    let (_, api_key) = insert_api_key(core, conn, &ctx, &key, TokenKind::Personal).await?;
    Ok(Bootstrapped { user_id, organization_id: ctx.organization_id, api_key })
}
