//! The exchange of a workload's token for an API key (RFC 8693). Whoever is refused is told the same, whatever the reason; the audit
//! log of the rule's organization has it.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::TimeDelta;
use clm_core_db::api_keys::ApiKeyRow;
use clm_core_db::workload_rules::{self, WorkloadRuleRow};
use clm_core_db::{PgConnection, audit, organizations, role_assignments, users};
use clm_oidc::{OidcError, Recipients, WorkloadClaims};
use clm_types::{ErrorCode, Permission, Refusal, UserId, WorkloadRuleId, ids};
use serde_json::{Map, Value, json};

use crate::actor::{Actor, ActorKind, PermissionSet};
use crate::api_keys::insert_api_key;
use crate::audit::AuditEntry;
use crate::identity::{ranges, texts, union};
use crate::identity_providers::{IdentityProvider, told};
use crate::ip_range::admits;
use crate::roles::check_grant;
use crate::sign_in::Visitor;
use crate::tokens::{Token, TokenKind};
use crate::workload_claims::{check_required, mismatch};
use crate::workload_rules::check_user;
use crate::{Core, CoreError, Ctx};

/// Keys of one rule, as it is now, that have not ended by themselves. Exchanges beside each other do not see each other's: a few more
/// may be given.
const MOST_KEYS: i64 = 500;
/// How long a key is still shown after its end.
const KEPT: TimeDelta = TimeDelta::days(7);
/// Keys that are deleted when one is made: more than are made, so that they do not gather.
const DELETED_AT_ONCE: i64 = 20;

/// A key that a workload got.
#[derive(Debug)]
pub struct WorkloadKey {
    /// Its secret, shown this once.
    pub token: Token,
    /// For how long it works.
    pub lifetime: TimeDelta,
    /// What it may do at most.
    pub scopes: Vec<String>,
}

/// A token that is shown.
struct Shown<'a> {
    token: &'a str,
    sha256: String,
    /// What it says, once signature, audience and times are known to hold.
    claims: Option<WorkloadClaims>,
}

/// The one answer to every token that is not taken.
fn refused() -> Refusal {
    because("no key is given for this token by this rule")
        .hint("the audit log of the rule's organization says what was wrong: clm audit list --action workload_rule.exchange")
}

/// Why, for the record.
fn because(reason: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::WorkloadTokenRefused, reason)
}

impl Core {
    /// Gives a key for a token that fits a rule.
    ///
    /// # Errors
    /// `workload_token_refused`, whatever was wrong; `unavailable` while the provider's keys cannot be read; `rate_limited` while too
    /// many keys of the rule work.
    pub async fn exchange_workload_token(
        &self,
        rule_id: WorkloadRuleId,
        token: &str,
        visitor: &Visitor,
    ) -> Result<WorkloadKey, CoreError> {
        let now = self.clock.now();
        let mut tx = clm_pg::begin(&self.system).await?;
        let found = workload_rules::find_anywhere(&mut tx, rule_id.0).await?;
        drop(tx);
        let rule = &found.ok_or_else(refused)?;
        let ctx = &visitor.ctx(now, Some(rule.organization_id));
        let sha256 = hex::encode(digest(&SHA256, token.as_bytes()));
        let mut shown = Shown { token, sha256, claims: None };
        let outcome = self.exchange(ctx, rule, &mut shown).await;
        if let Err(CoreError::Refused(refusal)) = &outcome {
            self.note_refused_token(ctx, rule, &shown, refusal);
        }
        match outcome {
            Err(CoreError::Refused(refusal)) if refusal.code == ErrorCode::WorkloadTokenRefused => {
                Err(refused().into())
            }
            outcome => outcome,
        }
    }

    /// Puts on record why a token was not taken. That its provider cannot be asked is trouble of ours.
    fn note_refused_token(&self, ctx: &Ctx, rule: &WorkloadRuleRow, shown: &Shown<'_>, refusal: &Refusal) {
        if refusal.code == ErrorCode::Unavailable {
            return;
        }
        let subject = shown.claims.as_ref().map(|claims| claims.subject.as_str());
        let entry = AuditEntry::of(ctx, &self.entropy, "workload_rule.exchange", "workload_rule")
            .object(rule.id)
            .after(json!({"token_sha256": shown.sha256, "subject": subject}));
        self.note_entry(entry, refusal);
    }

    async fn exchange(
        &self,
        ctx: &Ctx,
        rule: &WorkloadRuleRow,
        shown: &mut Shown<'_>,
    ) -> Result<WorkloadKey, CoreError> {
        if !rule.enabled {
            return Err(because("the rule is disabled or deleted").into());
        }
        check_address(ctx, rule)?;
        let provider = self.provider_of(ctx, rule).await?;
        let asked = rule.required_claims.as_object().ok_or_else(|| because("the rule asks for nothing"))?;
        self.check_rule(provider, rule, asked)?;
        // Nothing is held while the provider is asked.
        let claims: &WorkloadClaims = shown.claims.insert(verify(provider, rule, shown.token, ctx).await?);
        if let Some(name) = mismatch(asked, &claims.all) {
            return Err(because(format!("the claim {name} is not as asked for")).into());
        }
        let sha256 = shown.sha256.as_str();
        self.in_system("exchange_workload_token", |mut tx| async move {
            check_still(&mut tx, ctx, rule).await?;
            workload_rules::delete_ended_keys(&mut tx, ctx.now - KEPT, DELETED_AT_ONCE).await?;
            let key = self.give_key(&mut tx, ctx, rule, (claims, sha256)).await?;
            Ok((tx, key))
        })
        .await
    }

    /// Fails unless the rule could be made as it is: the operator may have changed the provider or the address of this service since.
    fn check_rule(
        &self,
        provider: &IdentityProvider,
        rule: &WorkloadRuleRow,
        asked: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        if provider.provider.issuer() != rule.issuer {
            let detail = format!("the provider {} is not {} any more", rule.provider, rule.issuer);
            return Err(because(detail));
        }
        let checked = self.check_audiences(provider, &rule.audiences).and_then(|()| check_required(asked));
        checked.map_err(|refusal| because(format!("the rule would not be made so now: {}", refusal.detail)))
    }

    /// The provider that a rule names, if it still speaks for the rule's organization.
    async fn provider_of(&self, ctx: &Ctx, rule: &WorkloadRuleRow) -> Result<&IdentityProvider, CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let organization = organizations::find(&mut tx, ctx.organization_id.0).await?;
        let active = organization.filter(|organization| organization.status == "active");
        let organization = active.ok_or_else(|| because("the organization is not active"))?;
        let provider = self.find_workload_provider(&rule.provider, &organization.org_code);
        provider.ok_or_else(|| because(format!("there is no provider {} any more", rule.provider)).into())
    }

    /// Adds a key with its audit entries, in an open transaction that holds the rule.
    async fn give_key(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        rule: &WorkloadRuleRow,
        (claims, sha256): (&WorkloadClaims, &str),
    ) -> Result<WorkloadKey, CoreError> {
        let lifetime = TimeDelta::seconds(rule.lifetime_seconds.into());
        let key = ApiKeyRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            key_prefix: String::new(),
            name: rule.name.clone(),
            user_id: rule.user_id,
            organization_id: Some(rule.organization_id),
            scopes: rule.scopes.clone(),
            allowed_addresses: rule.allowed_addresses.clone(),
            expires_at: Some(ctx.now + lifetime),
            last_used_at: None,
            revoked_at: None,
            created_at: ctx.now,
            version: 1,
            workload_rule_id: Some(rule.id),
            workload_subject: Some(claims.subject.clone()),
        };
        let (key, token) = insert_api_key(self, conn, ctx, &key, TokenKind::Service).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, "workload_rule.exchange", "workload_rule")
            .object(rule.id)
            .after(json!({"subject": claims.subject, "token_id": claims.id, "token_sha256": sha256,
                          "api_key_id": key.id, "prefix": key.key_prefix, "expires_at": key.expires_at}));
        audit::insert(conn, entry.row()).await?;
        let scopes = texts(&key.scopes).into_iter().map(str::to_owned).collect();
        Ok(WorkloadKey { token, lifetime, scopes })
    }
}

async fn verify(
    found: &IdentityProvider,
    rule: &WorkloadRuleRow,
    token: &str,
    ctx: &Ctx,
) -> Result<WorkloadClaims, CoreError> {
    let client_id = found.client.as_ref().map(|client| client.id.as_str());
    let recipients = Recipients { audiences: &rule.audiences, client_id };
    let verified = found.provider.verify_workload(token, recipients, ctx.now).await;
    verified.map_err(|error| match error {
        OidcError::Refused(why) => because(why).into(),
        OidcError::Unavailable(_) => told(found, &error).into(),
    })
}

fn check_address(ctx: &Ctx, rule: &WorkloadRuleRow) -> Result<(), CoreError> {
    if admits(&ranges(&rule.allowed_addresses)?, ctx.address) {
        return Ok(());
    }
    Err(because("the rule does not name the network of the call").into())
}

/// Fails unless there is room for one more key, the rule is as it was read, its user may work, and somebody vouches for it; holds it.
async fn check_still(conn: &mut PgConnection, ctx: &Ctx, rule: &WorkloadRuleRow) -> Result<(), CoreError> {
    // Before the rule is held: who waits to disable it comes to it while no key is given.
    let span = (rule.updated_at, ctx.now);
    if workload_rules::count_keys(conn, rule.organization_id, rule.id, span).await? >= MOST_KEYS {
        let detail = format!("{MOST_KEYS} keys of this rule have not ended");
        return Err(Refusal::new(ErrorCode::RateLimited, detail)
            .hint("wait until some end, let them live shorter, or make another rule")
            .into());
    }
    let held = workload_rules::hold(conn, rule.id, rule.organization_id).await?;
    if held != Some(rule.version) {
        return Err(because("the rule was changed meanwhile").into());
    }
    let user = UserId(rule.user_id);
    if !is_active(conn, ctx, user).await? {
        return Err(because(format!("the user {user} is not active here")).into());
    }
    match check_vouched(conn, ctx, rule).await {
        Err(CoreError::Refused(refusal)) => {
            let voucher = UserId(rule.vouched_by);
            let detail = format!("{voucher} may not vouch for the rule any more: {}", refusal.detail);
            Err(because(detail).into())
        }
        outcome => outcome,
    }
}

/// Fails unless who made or last changed a rule could do so now.
async fn check_vouched(conn: &mut PgConnection, ctx: &Ctx, rule: &WorkloadRuleRow) -> Result<(), CoreError> {
    let id = UserId(rule.vouched_by);
    if !is_active(conn, ctx, id).await? {
        return Err(because("this user is not active here").into());
    }
    let held = role_assignments::list_held(conn, id.0, ctx.now).await?;
    let actor = Actor {
        kind: ActorKind::User,
        user_id: Some(id),
        permissions: union(held.iter().filter(|role| role.holds_in(rule.organization_id))),
        global_permissions: union(held.iter().filter(|role| role.organization_id.is_none())),
        ..Actor::anonymous()
    };
    let voucher = &Ctx { actor, ..ctx.clone() };
    voucher.require(Permission::ApiKeyWrite)?;
    let scopes = PermissionSet::from_texts(texts(&rule.scopes));
    check_grant(scopes, voucher.actor.permissions)?;
    check_user(conn, voucher, UserId(rule.user_id), scopes).await
}

/// Whether a user works in the organization of the call.
async fn is_active(conn: &mut PgConnection, ctx: &Ctx, id: UserId) -> Result<bool, CoreError> {
    let user = users::find_in_organization(conn, id.0, ctx.organization_id.0, ctx.now).await?;
    let membership = users::find_membership_status(conn, id.0, ctx.organization_id.0).await?;
    Ok(user.is_some_and(|user| user.status == "active") && membership.is_none_or(|status| status == "active"))
}
