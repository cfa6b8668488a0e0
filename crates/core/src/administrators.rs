//! Administrators of the whole installation, and the way back in when none of them has a key any more.

use chrono::TimeDelta;
use clm_core_db::role_assignments::{self, HolderRow};
use clm_core_db::{PgConnection, users};
use clm_types::{ErrorCode, OrganizationId, Refusal, UserId, ids};
use serde_json::json;

use crate::api_keys::{ApiKey, insert_api_key};
use crate::bootstrap::operator_ctx;
use crate::roles::ADMINISTRATOR;
use crate::tokens::{Token, TokenKind};
use crate::{Core, CoreError, Ctx};

/// How long an administrator's key lives that the service makes by itself.
pub const KEY_LIFETIME: TimeDelta = TimeDelta::days(90);
/// How many administrators a refusal names.
const MOST_NAMED: i64 = 20;

impl Core {
    /// Makes a new API key for an administrator of the installation, as the operator of its machine. It works in every
    /// organization; keys that the user has already stay as they are.
    ///
    /// # Errors
    /// `user_not_found` unless there is an active user of this name who is administrator of all organizations.
    pub async fn create_administrator_key(&self, username: &str) -> Result<(ApiKey, Token), CoreError> {
        let now = self.clock.now();
        let request_id = ids::new_uuid(now, &self.entropy);
        self.in_system("create_administrator_key", |mut tx| async move {
            let ctx = operator_ctx(now, request_id, None);
            let user_id = find_administrator(&mut tx, &ctx, username).await?;
            // Where the audit entry is read: in the administrator's own organization.
            let home = users::find_home(&mut tx, user_id.0).await?;
            let ctx = Ctx { organization_id: OrganizationId(home.unwrap_or_default()), ..ctx };
            let key = administrator_key(self, &ctx, user_id, "made by an operator");
            let made = insert_api_key(self, &mut tx, &ctx, &key, TokenKind::Personal).await?;
            Ok((tx, made))
        })
        .await
    }
}

async fn find_administrator(conn: &mut PgConnection, ctx: &Ctx, username: &str) -> Result<UserId, CoreError> {
    let known = role_assignments::find_holder(conn, ADMINISTRATOR.0, username, ctx.now).await?;
    if let Some(known) = known {
        return Ok(UserId(known.user_id));
    }
    let known = role_assignments::list_holders(conn, ADMINISTRATOR.0, ctx.now, MOST_NAMED).await?;
    let names: Vec<String> = known.into_iter().map(|HolderRow { username, .. }| username).collect();
    Err(Refusal::new(
        ErrorCode::UserNotFound,
        format!("there is no active administrator of all organizations called `{username}`"),
    )
    .hint(format!("those who are: {}", names.join(", ")))
    .into())
}

/// A key that works in every organization, with nothing taken away.
pub(crate) fn administrator_key(core: &Core, ctx: &Ctx, user_id: UserId, name: &str) -> ApiKey {
    ApiKey {
        id: ids::new_uuid(ctx.now, &core.entropy),
        key_prefix: String::new(),
        name: name.to_owned(),
        user_id: user_id.0,
        organization_id: None,
        scopes: json!([]),
        allowed_addresses: Vec::new(),
        expires_at: Some(ctx.now + KEY_LIFETIME),
        last_used_at: None,
        revoked_at: None,
        created_at: ctx.now,
        version: 1,
        workload_rule_id: None,
        workload_subject: None,
    }
}
