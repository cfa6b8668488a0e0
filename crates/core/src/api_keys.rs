//! API keys: made once, shown once, never stronger than who makes them.

use chrono::TimeDelta;
use clm_core_db::{DbError, PgConnection, api_keys, audit, notices, organizations, role_assignments, users};
use clm_types::{ApiKeyId, ErrorCode, Permission, Refusal, Time, UserId, WorkloadRuleId};
use serde_json::json;
use uuid::Uuid;

use crate::actor::PermissionSet;
use crate::audit::AuditEntry;
use crate::error::has_changed;
use crate::fields::check_name;
use crate::identity::{texts, union};
use crate::ip_range::IpRange;
use crate::organization_settings::OrganizationSettings;
use crate::page::{Page, PageRequest};
use crate::roles::{check_grant, parse_permissions};
use crate::tokens::{Token, TokenKind};
use crate::users::user_not_found;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::api_keys::ApiKeyRow as ApiKey;

const DEFAULT_LIFETIME: TimeDelta = TimeDelta::days(90);
/// A key that was replaced goes on for so long at most.
const LONGEST_OVERLAP: TimeDelta = TimeDelta::days(7);
const LONGEST_LIFETIME: TimeDelta = TimeDelta::days(365);
/// Keys that live shorter were made to end early. A day of tolerance, for whoever asks for 90 days.
pub(crate) const SHORTEST_USUAL_LIFETIME: TimeDelta = TimeDelta::days(89);

/// What is done in one's own name and binds others: whoever makes a key for somebody else and keeps it could
/// approve, grant and command as that person.
pub(crate) const DECIDING: [Permission; 8] = [
    Permission::RequestApprove,
    Permission::PolicyWrite,
    Permission::WorkflowWrite,
    Permission::OrganizationWrite,
    Permission::UserWrite,
    Permission::RoleAssign,
    Permission::GroupWrite,
    Permission::ApiKeyWrite,
];

/// A new key.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Name to show.
    pub name: String,
    /// For whom; the caller unless given. For another user, and by a restricted key, scopes must be
    /// named, all of them held by the caller. Scopes that decide for others go into keys of one's
    /// own, and into the first key that an administrator of the installation makes for a user.
    pub user_id: Option<UserId>,
    /// For a program and not a person: only the key's first letters differ.
    pub service: bool,
    /// Works in every organization of its user, and not only in the caller's.
    pub everywhere: bool,
    /// `noun:verb` texts; empty: all that its user may.
    pub scopes: Vec<String>,
    /// Networks (CIDR) it may be used from; empty: any, or those of the key that makes it.
    pub allowed_addresses: Vec<String>,
    /// When it ends: a year from now at most, and with the key that makes it if that is restricted;
    /// 90 days unless given.
    pub expires_at: Option<Time>,
}

/// A key that its maker may make, as far as the caller alone can tell.
struct PreparedKey {
    key: ApiKey,
    kind: TokenKind,
    scopes: PermissionSet,
    /// Whether its end was asked for by whoever makes it, rather than usual or inherited.
    end_is_asked: bool,
}

/// A key like this one, for as long as this one was made for.
fn successor(old: &ApiKey, now: Time) -> NewApiKey {
    NewApiKey {
        name: old.name.clone(),
        user_id: Some(UserId(old.user_id)),
        service: TokenKind::Service.is_of(&old.key_prefix),
        everywhere: old.organization_id.is_none(),
        scopes: texts(&old.scopes).into_iter().map(str::to_owned).collect(),
        allowed_addresses: old.allowed_addresses.clone(),
        expires_at: old.expires_at.map(|end| now + (end - old.created_at)),
    }
}

fn api_key_not_found(id: ApiKeyId) -> Refusal {
    Refusal::new(ErrorCode::ApiKeyNotFound, format!("there is no API key {id}"))
}

impl Core {
    /// Makes a key; gives it with its secret, which is shown this once.
    pub async fn create_api_key(&self, ctx: &Ctx, new: &NewApiKey) -> Result<(ApiKey, Token), CoreError> {
        let prepared = &self.prepare_api_key(ctx, new)?;
        self.in_system("create_api_key", |mut tx| async move {
            let made = self.store_api_key(&mut tx, ctx, prepared).await?;
            Ok((tx, made))
        })
        .await
    }

    /// Makes another key with the same user, scopes, networks and lifetime as one that works, which itself ends after
    /// `overlap`. Who could not make that key cannot replace it.
    ///
    /// # Errors
    /// `api_key_not_found`, `permission_denied`; `precondition_failed` for a key that does not work any more, `conflict` for one
    /// of a workload.
    pub async fn rotate_api_key(
        &self,
        ctx: &Ctx,
        id: ApiKeyId,
        overlap: TimeDelta,
    ) -> Result<(ApiKey, Token), CoreError> {
        if overlap < TimeDelta::zero() || overlap > LONGEST_OVERLAP {
            let detail = format!("the old key may go on for {} days at most", LONGEST_OVERLAP.num_days());
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/overlap_seconds").into());
        }
        let mut tx = clm_pg::begin(&self.system).await?;
        let old = find_api_key(&mut tx, ctx, id, Permission::ApiKeyWrite).await?;
        drop(tx);
        if old.workload_rule_id.is_some() {
            let detail = "this key was given to a workload for a token";
            return Err(Refusal::new(ErrorCode::Conflict, detail)
                .hint("the workload exchanges another token of its provider")
                .into());
        }
        let prepared = self.prepare_api_key(ctx, &successor(&old, ctx.now))?;
        let prepared = &PreparedKey { end_is_asked: false, ..prepared };
        let made = self
            .in_system("rotate_api_key", |mut tx| async move {
                api_keys::replace(&mut tx, id.0, ctx.now + overlap, ctx.now).await.map_err(has_changed)?;
                let made = self.store_api_key(&mut tx, ctx, prepared).await?;
                let entry = AuditEntry::of(ctx, &self.entropy, "api_key.rotate", "api_key")
                    .object(id)
                    .after(json!({"successor": made.0.id, "ends": ctx.now + overlap}));
                audit::insert(&mut tx, entry.row()).await?;
                notices::send(&mut tx, notices::IDENTITY).await?;
                Ok((tx, made))
            })
            .await?;
        self.identities.clear();
        Ok(made)
    }

    /// Checks what does not need the database.
    fn prepare_api_key(&self, ctx: &Ctx, new: &NewApiKey) -> Result<PreparedKey, CoreError> {
        let (user_id, scopes) = check_may_create(ctx, new)?;
        check_name(&new.name, "/name")?;
        let ends = expiry(ctx, new.expires_at)?;
        let networks = networks(ctx, &new.allowed_addresses)?;
        let key = ApiKey {
            // The same one when the call is repeated, which then makes no second key.
            id: ctx.operation_id(&self.entropy).0,
            key_prefix: String::new(),
            name: new.name.clone(),
            user_id: user_id.0,
            organization_id: (!new.everywhere).then_some(ctx.organization_id.0),
            scopes: json!(new.scopes),
            allowed_addresses: networks,
            expires_at: Some(ends),
            last_used_at: None,
            revoked_at: None,
            created_at: ctx.now,
            version: 1,
            workload_rule_id: None,
            workload_subject: None,
        };
        let kind = if new.service { TokenKind::Service } else { TokenKind::Personal };
        Ok(PreparedKey { key, kind, scopes, end_is_asked: new.expires_at.is_some() })
    }

    /// Checks the rest and adds it, in an open transaction.
    async fn store_api_key(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        prepared: &PreparedKey,
    ) -> Result<(ApiKey, Token), CoreError> {
        let user_id = UserId(prepared.key.user_id);
        let found = users::find_in_organization(conn, user_id.0, ctx.organization_id.0, ctx.now);
        if found.await?.is_none_or(|user| user.status != "active") {
            return Err(user_not_found(user_id).field("/user_id").into());
        }
        if ctx.actor.user_id != Some(user_id) {
            check_for_another(conn, ctx, user_id, prepared.scopes).await?;
        }
        let expires_at = within_settings(conn, ctx, prepared).await?;
        let key = ApiKey { expires_at, ..prepared.key.clone() };
        insert_api_key(self, conn, ctx, &key, prepared.kind).await
    }

    /// A key of the caller, or of the caller's organization.
    pub async fn show_api_key(&self, ctx: &Ctx, id: ApiKeyId) -> Result<ApiKey, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        find_api_key(&mut tx, ctx, id, Permission::ApiKeyRead).await
    }

    /// Keys of the caller's organization, newest first; only one's own without the permission to
    /// read all, and of a restricted key only itself. Only those that a workload rule has given, if one is named.
    pub async fn list_api_keys(
        &self,
        ctx: &Ctx,
        (of_user, of_rule): (Option<UserId>, Option<WorkloadRuleId>),
        page: PageRequest,
    ) -> Result<Page<ApiKey>, CoreError> {
        let own = ctx.actor.user_id;
        let (only, of_itself) = match ctx.require(Permission::ApiKeyRead) {
            Ok(()) => (of_user, None),
            Err(refusal) if own.is_none() || of_user.is_some_and(|user| Some(user) != own) => {
                return Err(refusal.into());
            }
            Err(_) => (own, ctx.actor.api_key_id.filter(|_| ctx.actor.restricted)),
        };
        let mut tx = clm_pg::begin(&self.system).await?;
        let rows = api_keys::list(
            &mut tx,
            ctx.organization_id.0,
            own.map(Into::into),
            (only.map(Into::into), of_rule.map(Into::into), of_itself.map(Into::into)),
            page.before,
            page.fetch_limit(),
        );
        Ok(Page::cut(rows.await?, page, |row| row.id))
    }

    /// Ends a key at once, in every process.
    pub async fn revoke_api_key(&self, ctx: &Ctx, id: ApiKeyId) -> Result<ApiKey, CoreError> {
        let key = self
            .in_system("revoke_api_key", |mut tx| async move {
                let key = find_api_key(&mut tx, ctx, id, Permission::ApiKeyWrite).await?;
                let by = ctx.actor.user_id.map(Into::into);
                api_keys::revoke(&mut tx, id.0, by, ctx.now).await.map_err(has_changed)?;
                let entry = AuditEntry::of(ctx, &self.entropy, "api_key.revoke", "api_key")
                    .object(id)
                    .before(json!({"prefix": key.key_prefix, "name": key.name}));
                audit::insert(&mut tx, entry.row()).await?;
                notices::send(&mut tx, notices::IDENTITY).await?;
                let key = find_api_key(&mut tx, ctx, id, Permission::ApiKeyWrite).await?;
                Ok((tx, key))
            })
            .await?;
        self.identities.clear();
        Ok(key)
    }
}

/// When the key ends, as far as the organization that it is made in lets keys live.
///
/// # Errors
/// `invalid_request` for an end that was asked for and is too far.
async fn within_settings(
    conn: &mut PgConnection,
    ctx: &Ctx,
    prepared: &PreparedKey,
) -> Result<Option<Time>, CoreError> {
    let asked = prepared.key.expires_at;
    let organization = organizations::find(conn, ctx.organization_id.0).await?;
    let settings = organization.map(|it| OrganizationSettings::read(&it.settings));
    let Some(longest) = settings.and_then(|it| it.longest_key()) else {
        return Ok(asked);
    };
    let latest = ctx.now + longest;
    if asked.is_some_and(|end| end <= latest) {
        return Ok(asked);
    }
    if prepared.end_is_asked {
        let detail = format!("keys of this organization live for {} days at most", longest.num_days());
        return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/expires_at").into());
    }
    Ok(Some(latest))
}

/// Fails unless the new key is no stronger than its maker; gives whose it is to be, and its scopes.
fn check_may_create(ctx: &Ctx, new: &NewApiKey) -> Result<(UserId, PermissionSet), Refusal> {
    let user_id = match new.user_id {
        Some(id) => id,
        None => ctx.user_id()?,
    };
    let for_oneself = ctx.actor.user_id == Some(user_id) && !ctx.actor.restricted;
    let scopes = parse_permissions(&new.scopes, "/scopes")?;
    if !for_oneself {
        ctx.require(Permission::ApiKeyWrite)?;
        if new.scopes.is_empty() {
            return Err(Refusal::new(
                ErrorCode::PermissionDenied,
                "a key for somebody else, or made with a key that is restricted itself, needs its scopes named",
            )
            .field("/scopes"));
        }
        check_grant(scopes, ctx.actor.permissions)?;
    }
    if new.everywhere && !for_oneself {
        ctx.require_global(Permission::ApiKeyWrite)?;
        check_grant(scopes, ctx.actor.global_permissions)?;
    }
    Ok((user_id, scopes))
}

/// Fails if the key would let its maker act as somebody who may more, or decide in somebody's name. A key that provisions
/// reaches as far as its user's roles, whatever its scopes: who makes it holds all of them, and may assign them.
///
/// Who has neither password nor key cannot sign in, so the first key must come from somebody: from those who could make a
/// person up altogether, the administrators of the installation.
pub(crate) async fn check_for_another(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
    scopes: PermissionSet,
) -> Result<(), CoreError> {
    if users::reaches_beyond(conn, user_id.0, ctx.organization_id.0).await? {
        ctx.require_global(Permission::ApiKeyWrite)?;
    }
    if scopes.contains(Permission::UserProvision) {
        ctx.require(Permission::RoleAssign)?;
        let held = role_assignments::list_held_from(conn, user_id.0, ctx.now).await?;
        let theirs = union(held.iter().filter(|role| role.holds_in(ctx.organization_id.0)));
        check_grant(theirs, ctx.actor.permissions)?;
    }
    let deciding = scopes.intersection(DECIDING.into_iter().collect());
    if deciding.is_empty() {
        return Ok(());
    }
    let makes_people = [Permission::UserWrite, Permission::RoleAssign, Permission::ApiKeyWrite];
    if makes_people.into_iter().all(|permission| ctx.require_global(permission).is_ok())
        && !api_keys::can_sign_in(conn, user_id.0, ctx.now).await?
    {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::PermissionDenied,
        format!("a key for somebody else cannot decide for them: {}", deciding.names()),
    )
    .field("/scopes")
    .hint("an administrator of all organizations makes such a key for a user who has no password, passkey, provider or key to sign in with")
    .into())
}

/// When the key ends: never after a restricted key that makes it.
fn expiry(ctx: &Ctx, asked: Option<Time>) -> Result<Time, Refusal> {
    let with_maker = ctx.actor.key_expires_at.filter(|_| ctx.actor.restricted);
    let usual = ctx.now + DEFAULT_LIFETIME;
    let ends = asked.unwrap_or_else(|| with_maker.map_or(usual, |end| end.min(usual)));
    let refused = |detail: &str| Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/expires_at"));
    if ends <= ctx.now || ends > ctx.now + LONGEST_LIFETIME {
        return refused("a key ends in the future, a year from now at most");
    }
    match with_maker {
        Some(end) if ends > end => {
            refused(&format!("the key that makes this one is restricted and ends before: {end}"))
        }
        _ => Ok(ends),
    }
}

/// Reads networks; a bare address is a network of one. All lie in those of the key that makes this one, which are
/// the default.
pub(crate) fn networks(ctx: &Ctx, texts: &[String]) -> Result<Vec<String>, Refusal> {
    let makers = &ctx.actor.key_networks;
    if texts.is_empty() {
        return Ok(makers.iter().map(ToString::to_string).collect());
    }
    let read = |(index, text): (usize, &String)| {
        let refused = |detail: String| {
            Refusal::new(ErrorCode::InvalidRequest, detail).field(format!("/allowed_addresses/{index}"))
        };
        let text = match text.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => format!("{address}/32"),
            Ok(std::net::IpAddr::V6(address)) => format!("{address}/128"),
            Err(_) => text.clone(),
        };
        let range: IpRange = text.parse().map_err(refused)?;
        if !makers.is_empty() && !makers.iter().any(|maker| maker.covers(&range)) {
            return Err(refused(format!(
                "{range} is not within the networks of the key that makes this one"
            )));
        }
        Ok(range.to_string())
    };
    texts.iter().enumerate().map(read).collect()
}

/// Finds one's own key, or one of the organization for those who have `permission`. Of its user's keys, one that is restricted has
/// itself alone.
async fn find_api_key(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: ApiKeyId,
    permission: Permission,
) -> Result<ApiKey, CoreError> {
    let own = ctx.actor.user_id.map(Into::into);
    let found = api_keys::find(conn, id.0, ctx.organization_id.0, own).await?;
    let key = found.ok_or_else(|| api_key_not_found(id))?;
    let is_ones_own = own == Some(key.user_id) && (!ctx.actor.restricted || ctx.actor.api_key_id == Some(id));
    if !is_ones_own && ctx.require(permission).is_err() {
        return Err(api_key_not_found(id).into());
    }
    Ok(key)
}

/// A repeated call whose first run made the key.
fn already_made(error: DbError, id: Uuid) -> CoreError {
    match error {
        DbError::Conflict { constraint, .. } if constraint == "api_keys_pkey" => Refusal::new(
            ErrorCode::AlreadyExists,
            format!(
                "the first call with this Idempotency-Key made the API key {id}; its secret was shown once"
            ),
        )
        .hint("if it did not arrive, revoke that key and make another one with a new Idempotency-Key")
        .into(),
        other => other.into(),
    }
}

/// Adds a key with a fresh secret and its audit entry, in an open transaction; asks nothing.
pub(crate) async fn insert_api_key(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    key: &ApiKey,
    kind: TokenKind,
) -> Result<(ApiKey, Token), CoreError> {
    let token = Token::generate(kind, &core.entropy);
    let key = ApiKey { key_prefix: token.lookup_prefix().to_owned(), ..key.clone() };
    api_keys::insert(conn, &key, &token.hash()).await.map_err(|error| already_made(error, key.id))?;
    let entry = AuditEntry::of(ctx, &core.entropy, "api_key.create", "api_key").object(key.id).after(
        json!({"prefix": key.key_prefix, "name": key.name, "user_id": key.user_id, "scopes": key.scopes,
                      "organization_id": key.organization_id, "expires_at": key.expires_at}),
    );
    audit::insert(conn, entry.row()).await?;
    Ok((key, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::{Actor, ActorKind, PermissionSet};
    use clm_types::OrganizationId;

    fn ctx(permissions: &[&str], restricted: bool) -> Ctx {
        Ctx {
            actor: Actor {
                kind: ActorKind::User,
                user_id: Some(UserId(Uuid::from_u128(1))),
                api_key_id: None,
                session: None,
                permissions: PermissionSet::from_texts(permissions.iter().copied()),
                global_permissions: PermissionSet::EMPTY,
                role_ids: Vec::new(),
                restricted,
                key_networks: Vec::new(),
                key_expires_at: None,
                workload_rule_id: None,
            },
            organization_id: OrganizationId(Uuid::from_u128(2)),
            now: chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            request_id: Uuid::from_u128(3),
            address: None,
            asked: None,
        }
    }

    fn new(user: Option<u128>, scopes: &[&str], everywhere: bool) -> NewApiKey {
        NewApiKey {
            name: "key".to_owned(),
            user_id: user.map(|number| UserId(Uuid::from_u128(number))),
            service: false,
            everywhere,
            scopes: scopes.iter().map(|text| (*text).to_owned()).collect(),
            allowed_addresses: Vec::new(),
            expires_at: None,
        }
    }

    #[test]
    fn a_key_is_never_stronger_than_its_maker() {
        let writer = ["api_key:write", "request:read"];
        for (restricted, new, allowed) in [
            (false, new(None, &[], true), true),
            (false, new(Some(9), &[], false), false),
            (false, new(Some(9), &["request:read"], false), true),
            (false, new(Some(9), &["*"], false), false),
            (false, new(Some(9), &["request:read"], true), false),
            (true, new(None, &[], false), false),
            (true, new(None, &["request:read"], false), true),
            (true, new(None, &["request:create"], false), false),
            (true, new(None, &["request:read"], true), false),
        ] {
            let verdict = check_may_create(&ctx(&writer, restricted), &new);
            assert_eq!(verdict.is_ok(), allowed, "{new:?} {restricted}");
        }
        assert!(
            check_may_create(&ctx(&["request:read"], true), &new(None, &["request:read"], false)).is_err()
        );
    }

    #[test]
    fn a_key_lives_a_year_at_most() {
        let ctx = ctx(&[], false);
        assert_eq!(expiry(&ctx, None).unwrap(), ctx.now + TimeDelta::days(90));
        assert!(expiry(&ctx, Some(ctx.now)).is_err());
        assert!(expiry(&ctx, Some(ctx.now + TimeDelta::days(366))).is_err());
    }

    #[test]
    fn a_restricted_key_makes_none_that_outlives_it() {
        let soon = |restricted| {
            let mut ctx = ctx(&[], restricted);
            ctx.actor.key_expires_at = Some(ctx.now + TimeDelta::days(5));
            ctx
        };
        let (restricted, free) = (soon(true), soon(false));
        assert_eq!(expiry(&restricted, None).unwrap(), restricted.now + TimeDelta::days(5));
        assert!(expiry(&restricted, Some(restricted.now + TimeDelta::days(6))).is_err());
        assert!(expiry(&restricted, Some(restricted.now + TimeDelta::days(1))).is_ok());
        assert!(expiry(&free, Some(free.now + TimeDelta::days(365))).is_ok());
    }

    #[test]
    fn a_key_works_from_no_more_networks_than_its_maker() {
        let mut ctx = ctx(&[], true);
        ctx.actor.key_networks = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(networks(&ctx, &[]).unwrap(), ["10.0.0.0/8"]);
        assert_eq!(networks(&ctx, &["10.1.2.3".to_owned()]).unwrap(), ["10.1.2.3/32"]);
        for wider in ["0.0.0.0/0", "192.0.2.1", "::/0"] {
            assert!(networks(&ctx, &[wider.to_owned()]).is_err(), "{wider}");
        }
    }

    #[test]
    fn a_bare_address_is_a_network_of_one() {
        let texts = ["192.0.2.1".to_owned(), "2001:db8::/32".to_owned()];
        let ctx = ctx(&[], false);
        assert_eq!(networks(&ctx, &texts).unwrap(), ["192.0.2.1/32", "2001:db8::/32"]);
        let refusal = networks(&ctx, &["example.com".to_owned()]).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("/allowed_addresses/0"));
    }
}
