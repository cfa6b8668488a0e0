//! The exchange of a workload's token for an API key (RFC 8693). Whoever is refused is told the same, whatever the reason; the audit
//! log of the rule's organization has it.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::TimeDelta;
use clm_core_db::api_keys::ApiKeyRow;
use clm_core_db::workload_rules::{self, WorkloadRuleRow};
use clm_core_db::{PgConnection, audit, organizations, users};
use clm_oidc::{OidcError, Recipients, WorkloadClaims};
use clm_types::{ErrorCode, Refusal, UserId, WorkloadRuleId, ids};
use serde_json::json;

use crate::api_keys::insert_api_key;
use crate::audit::AuditEntry;
use crate::identity::texts;
use crate::identity_providers::{IdentityProvider, told};
use crate::ip_range::IpRange;
use crate::sign_in::Visitor;
use crate::tokens::{Token, TokenKind};
use crate::workload_claims::mismatch;
use crate::{Core, CoreError, Ctx};

/// Keys of one rule that work at once.
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
        let found = workload_rules::find_enabled(&mut tx, rule_id.0).await?;
        drop(tx);
        let rule = &found.ok_or_else(refused)?;
        let ctx = &visitor.ctx(now, Some(rule.organization_id));
        match self.exchange(ctx, rule, token).await {
            Err(CoreError::Refused(refusal)) if refusal.code == ErrorCode::WorkloadTokenRefused => {
                let action = ("workload_rule.exchange", "workload_rule");
                self.note_refusal(ctx, action, Some(rule.id), &refusal);
                Err(refused().into())
            }
            outcome => outcome,
        }
    }

    async fn exchange(
        &self,
        ctx: &Ctx,
        rule: &WorkloadRuleRow,
        token: &str,
    ) -> Result<WorkloadKey, CoreError> {
        check_address(ctx, rule)?;
        let provider = self.provider_of(ctx, rule).await?;
        // Nothing is held while the provider is asked.
        let claims = &verify(provider, rule, token, ctx).await?;
        let claims_asked =
            rule.required_claims.as_object().ok_or_else(|| because("the rule asks for nothing"))?;
        if let Some(name) = mismatch(claims_asked, &claims.all) {
            return Err(because(format!("{}: the claim {name} is not as asked for", claims.subject)).into());
        }
        let sha256 = &hex::encode(digest(&SHA256, token.as_bytes()));
        self.in_system("exchange_workload_token", |mut tx| async move {
            check_still(&mut tx, ctx, rule).await?;
            workload_rules::delete_ended_keys(&mut tx, ctx.now - KEPT, DELETED_AT_ONCE).await?;
            let key = self.give_key(&mut tx, ctx, rule, (claims, sha256.as_str())).await?;
            Ok((tx, key))
        })
        .await
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
    let mut ranges = rule.allowed_addresses.iter().filter_map(|text| text.parse::<IpRange>().ok());
    let is_allowed = rule.allowed_addresses.is_empty()
        || ctx.address.is_some_and(|address| ranges.any(|range| range.contains(address.to_canonical())));
    if is_allowed { Ok(()) } else { Err(because("the rule does not name the network of the call").into()) }
}

/// Holds the rule, and fails unless it is as it was read, its user may work, and there is room for one more key.
async fn check_still(conn: &mut PgConnection, ctx: &Ctx, rule: &WorkloadRuleRow) -> Result<(), CoreError> {
    let held = workload_rules::lock(conn, rule.id, rule.organization_id).await?;
    if held.is_none_or(|held| held.version != rule.version) {
        return Err(because("the rule was changed meanwhile").into());
    }
    let user = users::find_in_organization(conn, rule.user_id, rule.organization_id, ctx.now).await?;
    let membership = users::find_membership_status(conn, rule.user_id, rule.organization_id).await?;
    if user.is_none_or(|user| user.status != "active") || membership.is_some_and(|status| status != "active")
    {
        return Err(because(format!("the user {} is not active here", UserId(rule.user_id))).into());
    }
    if workload_rules::count_keys(conn, rule.organization_id, rule.id, ctx.now).await? < MOST_KEYS {
        return Ok(());
    }
    let detail = format!("{MOST_KEYS} keys of this rule work at once");
    Err(Refusal::new(ErrorCode::RateLimited, detail)
        .hint("wait until some end, let them live shorter, or make another rule")
        .into())
}
