//! Workload rules: which tokens of a provider are exchanged for which keys. Nobody lets a workload do what they could not let a key
//! do that they make for its user; and no workload decides anything in a user's name.

use clm_core_db::{DbError, PgConnection, audit, notices, organizations, users, workload_rules};
use clm_types::{ErrorCode, Permission, Refusal, UserId, WorkloadRuleId, ids};
use serde_json::{Map, Value, json};

use crate::actor::{ALL_PERMISSIONS, PermissionSet};
use crate::api_keys::{DECIDING, check_for_another, networks};
use crate::audit::AuditEntry;
use crate::error::{changed_since, exists_already};
use crate::fields::check_name;
use crate::identity_providers::IdentityProvider;
use crate::page::{Page, PageRequest};
use crate::roles::{check_grant, parse_permissions};
use crate::users::user_not_found;
use crate::workload_claims::check_required;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::workload_rules::WorkloadRuleRow as WorkloadRule;

/// Rules that one organization has at most.
const MOST: i64 = 200;
const MOST_AUDIENCES: usize = 5;
/// Longest audience, in octets.
const LONGEST_AUDIENCE: usize = 500;
const MOST_NETWORKS: usize = 50;
/// What no rule gives beside what decides for others.
const OF_PEOPLE: [Permission; 3] = [Permission::UserProvision, Permission::KeyManage, Permission::KeyRecover];
/// How long keys live, in seconds.
const LIFETIMES: std::ops::RangeInclusive<i32> = 60..=3600;

/// A new rule, or what an old one is to be.
#[derive(Debug, Clone)]
pub struct WorkloadRuleDraft {
    /// Name to show, unique in the organization.
    pub name: String,
    /// What the operator calls the provider.
    pub provider: String,
    /// Whom a token may be meant for: addresses of this service.
    pub audiences: Vec<String>,
    /// What a token must say.
    pub required_claims: Map<String, Value>,
    /// On whose behalf the keys act; this never changes.
    pub user_id: UserId,
    /// `noun:verb` texts that the keys are limited to.
    pub scopes: Vec<String>,
    /// How long a key lives.
    pub lifetime_seconds: i32,
    /// Networks (CIDR) that tokens are exchanged from and keys are used from; empty: any.
    pub allowed_addresses: Vec<String>,
    /// Whether tokens are exchanged now.
    pub enabled: bool,
}

fn workload_rule_not_found(id: WorkloadRuleId) -> Refusal {
    Refusal::new(ErrorCode::WorkloadRuleNotFound, format!("there is no workload rule {id}"))
        .hint("list those of your organization: clm workload-rule list")
}

impl Core {
    /// Makes a rule by which workloads get keys of a user of the caller's organization.
    ///
    /// # Errors
    /// `permission_denied` for what the caller could not give that user's keys; `invalid_request` for a rule that does not say whose
    /// workloads it takes; `user_not_found`, `already_exists`, `conflict` when there are too many.
    pub async fn create_workload_rule(
        &self,
        ctx: &Ctx,
        draft: &WorkloadRuleDraft,
    ) -> Result<WorkloadRule, CoreError> {
        let (scopes, vouched_by) = (check_may_give(ctx, draft)?, ctx.user_id()?);
        self.in_system("create_workload_rule", |mut tx| async move {
            organizations::lock(&mut tx, ctx.organization_id.0).await?;
            if workload_rules::count(&mut tx, ctx.organization_id.0).await? >= MOST {
                let detail = format!("an organization has {MOST} workload rules at most");
                return Err(Refusal::new(ErrorCode::Conflict, detail)
                    .hint("delete one that is not used, or let one rule take more workloads")
                    .into());
            }
            let rule = self.rule_of(&mut tx, ctx, draft, vouched_by).await?;
            check_user(&mut tx, ctx, draft.user_id, scopes).await?;
            workload_rules::insert(&mut tx, &rule).await.map_err(taken)?;
            let entry = AuditEntry::of(ctx, &self.entropy, "workload_rule.create", "workload_rule")
                .object(rule.id)
                .after(state(&rule));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, rule))
        })
        .await
    }

    /// One rule of the caller's organization.
    pub async fn show_workload_rule(&self, ctx: &Ctx, id: WorkloadRuleId) -> Result<WorkloadRule, CoreError> {
        ctx.require(Permission::ApiKeyRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = workload_rules::find(&mut tx, id.0, ctx.organization_id.0).await?;
        found.ok_or_else(|| workload_rule_not_found(id).into())
    }

    /// Rules of the caller's organization, newest first.
    pub async fn list_workload_rules(
        &self,
        ctx: &Ctx,
        page: PageRequest,
    ) -> Result<Page<WorkloadRule>, CoreError> {
        ctx.require(Permission::ApiKeyRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows =
            workload_rules::list(&mut tx, ctx.organization_id.0, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// Changes a rule, but for whose keys it gives. Keys that it has given end, unless only its name or their lifetime changes.
    ///
    /// # Errors
    /// As [`Core::create_workload_rule`].
    pub async fn update_workload_rule(
        &self,
        ctx: &Ctx,
        id: WorkloadRuleId,
        version: i64,
        draft: &WorkloadRuleDraft,
    ) -> Result<WorkloadRule, CoreError> {
        let (scopes, vouched_by) = (check_may_give(ctx, draft)?, ctx.user_id()?);
        let rule = self
            .in_system("update_workload_rule", |mut tx| async move {
                let old = lock_rule(&mut tx, ctx, id, Some(version)).await?;
                if old.user_id != draft.user_id.0 {
                    let detail = "whose keys a rule gives does not change";
                    return Err(Refusal::new(ErrorCode::InvalidRequest, detail)
                        .field("/user_id")
                        .hint("make another rule")
                        .into());
                }
                let rule = WorkloadRule {
                    id: old.id,
                    created_by: old.created_by,
                    created_at: old.created_at,
                    version: old.version + 1,
                    ..self.rule_of(&mut tx, ctx, draft, vouched_by).await?
                };
                // As if it were made anew: by it the caller chooses who acts for that user.
                check_user(&mut tx, ctx, draft.user_id, scopes).await?;
                self.store_change(&mut tx, ctx, "workload_rule.update", (&old, &rule)).await?;
                Ok((tx, rule))
            })
            .await?;
        self.identities.clear();
        Ok(rule)
    }

    /// Lets a rule give no more keys; those that it has given end at once, in every process. What is disabled stays so.
    ///
    /// # Errors
    /// `workload_rule_not_found`, `precondition_failed`.
    pub async fn disable_workload_rule(
        &self,
        ctx: &Ctx,
        id: WorkloadRuleId,
        version: Option<i64>,
    ) -> Result<WorkloadRule, CoreError> {
        ctx.require(Permission::ApiKeyWrite)?;
        let rule = self
            .in_system("disable_workload_rule", |mut tx| async move {
                let old = lock_rule(&mut tx, ctx, id, version).await?;
                if !old.enabled {
                    return Ok((tx, old));
                }
                let version = old.version + 1;
                let rule = WorkloadRule { enabled: false, updated_at: ctx.now, version, ..old.clone() };
                self.store_change(&mut tx, ctx, "workload_rule.disable", (&old, &rule)).await?;
                Ok((tx, rule))
            })
            .await?;
        self.identities.clear();
        Ok(rule)
    }

    /// Deletes a rule; the keys that it has given end at once, in every process.
    ///
    /// # Errors
    /// `workload_rule_not_found`, `precondition_failed`.
    pub async fn delete_workload_rule(
        &self,
        ctx: &Ctx,
        id: WorkloadRuleId,
        version: Option<i64>,
    ) -> Result<(), CoreError> {
        ctx.require(Permission::ApiKeyWrite)?;
        self.in_system("delete_workload_rule", |mut tx| async move {
            let old = lock_rule(&mut tx, ctx, id, version).await?;
            workload_rules::delete(&mut tx, old.id, ctx.now).await?;
            end_keys(&mut tx, ctx, &old).await?;
            let entry = AuditEntry::of(ctx, &self.entropy, "workload_rule.delete", "workload_rule")
                .object(old.id)
                .before(state(&old));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Writes a change of a locked rule, in an open transaction, and ends keys that it would not give any more.
    async fn store_change(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        action: &str,
        (old, rule): (&WorkloadRule, &WorkloadRule),
    ) -> Result<(), CoreError> {
        workload_rules::update(conn, rule).await.map_err(taken)?;
        if gives_otherwise(old, rule) {
            end_keys(conn, ctx, old).await?;
        }
        let entry = AuditEntry::of(ctx, &self.entropy, action, "workload_rule")
            .object(rule.id)
            .before(state(old))
            .after(state(rule));
        Ok(audit::insert(conn, entry.row()).await?)
    }

    /// The rule that a draft describes, checked, as if it were new.
    async fn rule_of(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        draft: &WorkloadRuleDraft,
        vouched_by: UserId,
    ) -> Result<WorkloadRule, CoreError> {
        let organization = organizations::find(conn, ctx.organization_id.0).await?;
        let code = organization.map(|organization| organization.org_code).unwrap_or_default();
        let provider = self.find_workload_provider(&draft.provider, &code).ok_or_else(unknown_provider)?;
        self.check_audiences(provider, &draft.audiences)?;
        check_required(&draft.required_claims)?;
        if draft.allowed_addresses.len() > MOST_NETWORKS {
            let detail = format!("a rule names {MOST_NETWORKS} networks at most");
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/allowed_addresses").into());
        }
        Ok(WorkloadRule {
            id: ids::new_uuid(ctx.now, &self.entropy),
            organization_id: ctx.organization_id.0,
            name: draft.name.clone(),
            provider: draft.provider.clone(),
            issuer: provider.provider.issuer().to_owned(),
            audiences: draft.audiences.clone(),
            required_claims: Value::Object(draft.required_claims.clone()),
            user_id: draft.user_id.0,
            scopes: json!(draft.scopes),
            lifetime_seconds: draft.lifetime_seconds,
            allowed_addresses: networks(ctx, &draft.allowed_addresses)?,
            enabled: draft.enabled,
            created_by: ctx.actor.user_id.map(Into::into),
            vouched_by: vouched_by.0,
            created_at: ctx.now,
            updated_at: ctx.now,
            version: 1,
        })
    }

    /// A token that is meant for another service could come from that one: what a rule takes is meant for this one.
    pub(crate) fn check_audiences(
        &self,
        provider: &IdentityProvider,
        audiences: &[String],
    ) -> Result<(), Refusal> {
        let origin = &self.relying_party.origin;
        let is_ours = |audience: &str| {
            let path = audience.strip_prefix(origin.as_str());
            path.is_some_and(|path| path.is_empty() || path.starts_with('/'))
                && audience.len() <= LONGEST_AUDIENCE
                && !audience.contains(char::is_control)
                && provider.client.as_ref().is_none_or(|client| client.id != audience)
        };
        let wrong = audiences.iter().position(|audience| !is_ours(audience));
        let field = match wrong {
            None if (1..=MOST_AUDIENCES).contains(&audiences.len()) => return Ok(()),
            None => "/audiences".to_owned(),
            Some(index) => format!("/audiences/{index}"),
        };
        let detail = format!("tokens are meant for 1 to {MOST_AUDIENCES} addresses of this service");
        Err(Refusal::new(ErrorCode::InvalidRequest, detail)
            .field(field)
            .hint(format!("let the workload ask for tokens for {origin}, or for an address below it")))
    }
}

/// Fails unless a draft gives no more than its maker holds, and nothing that people decide; gives its scopes.
fn check_may_give(ctx: &Ctx, draft: &WorkloadRuleDraft) -> Result<PermissionSet, Refusal> {
    ctx.require(Permission::ApiKeyWrite)?;
    // A rule goes on for longer than a key that is limited.
    ctx.require_unrestricted()?;
    check_name(&draft.name, "/name")?;
    let scopes = parse_permissions(&draft.scopes, "/scopes")?;
    if scopes.is_empty() || draft.scopes.iter().any(|scope| scope == ALL_PERMISSIONS) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "name each permission that the keys have")
            .field("/scopes"));
    }
    if !LIFETIMES.contains(&draft.lifetime_seconds) {
        let detail = format!("keys live {} to {} seconds", LIFETIMES.start(), LIFETIMES.end());
        return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/lifetime_seconds"));
    }
    check_grant(scopes, ctx.actor.permissions)?;
    let refused = scopes.intersection(DECIDING.into_iter().chain(OF_PEOPLE).collect());
    if refused.is_empty() {
        return Ok(scopes);
    }
    let detail = format!("a workload does not decide for people: {}", refused.names());
    Err(Refusal::new(ErrorCode::PermissionDenied, detail)
        .field("/scopes")
        .hint("make an API key for the user who does"))
}

/// Fails unless the caller could make a key for this user with these scopes.
pub(crate) async fn check_user(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: UserId,
    scopes: PermissionSet,
) -> Result<(), CoreError> {
    let found = users::find_in_organization(conn, user_id.0, ctx.organization_id.0, ctx.now).await?;
    if found.is_none_or(|user| user.status != "active") {
        return Err(user_not_found(user_id).field("/user_id").into());
    }
    if ctx.actor.user_id == Some(user_id) {
        return Ok(());
    }
    check_for_another(conn, ctx, user_id, scopes).await
}

fn unknown_provider() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "your organization has no such provider of workloads")
        .field("/provider")
        .hint("the operator names providers in core.toml: [[identity_providers]]")
}

fn taken(error: DbError) -> CoreError {
    exists_already(error, "the organization has a workload rule of this name already", "/name")
}

/// Whether keys given before the change are not those that would be given after it.
fn gives_otherwise(old: &WorkloadRule, rule: &WorkloadRule) -> bool {
    let same = WorkloadRule {
        name: old.name.clone(),
        lifetime_seconds: old.lifetime_seconds,
        vouched_by: old.vouched_by,
        updated_at: old.updated_at,
        version: old.version,
        ..rule.clone()
    };
    same != *old
}

/// Ends all keys that a locked rule has given, in an open transaction.
async fn end_keys(conn: &mut PgConnection, ctx: &Ctx, rule: &WorkloadRule) -> Result<(), CoreError> {
    let by = ctx.actor.user_id.map(Into::into);
    workload_rules::revoke_keys(conn, (rule.organization_id, rule.id), by, ctx.now).await?;
    Ok(notices::send(conn, notices::IDENTITY).await?)
}

/// Finds a rule, still at `version` if that is given, and keeps others from changing it or making keys by it.
async fn lock_rule(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: WorkloadRuleId,
    version: Option<i64>,
) -> Result<WorkloadRule, CoreError> {
    let found = workload_rules::lock(conn, id.0, ctx.organization_id.0).await?;
    let rule = found.ok_or_else(|| workload_rule_not_found(id))?;
    if version.is_some_and(|version| version != rule.version) {
        return Err(changed_since().into());
    }
    Ok(rule)
}

fn state(rule: &WorkloadRule) -> Value {
    json!({"name": rule.name, "provider": rule.provider, "issuer": rule.issuer, "audiences": rule.audiences,
           "required_claims": rule.required_claims, "user_id": rule.user_id, "scopes": rule.scopes,
           "lifetime_seconds": rule.lifetime_seconds, "allowed_addresses": rule.allowed_addresses, "enabled": rule.enabled,
           "vouched_by": rule.vouched_by})
}
