//! Policies: written in versions, read by whoever asks for certificates.

use std::sync::Arc;

use clm_core_db::policies::{self, PolicyFilter};
use clm_core_db::{DbError, PgConnection, audit, notices, roles, workflows};
use clm_types::{ErrorCode, Permission, PolicyId, Refusal, WorkflowKind, ids};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::error::{exists_already, has_changed};
use crate::fields::{check_code, check_name};
use crate::page::{Page, PageRequest};
use crate::policy_rules::PolicyRules;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::policies::PolicyRow as Policy;

/// A new policy, or the next version of one.
#[derive(Debug, Clone)]
pub struct PolicyDraft {
    /// Code, unique in the organization; the same in every version.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// The document, see [`PolicyRules`].
    pub rules: Value,
    /// Controls of compliance frameworks that it serves.
    pub compliance_frameworks: Vec<Value>,
}

/// Which policies to list.
#[derive(Debug, Clone, Default)]
pub struct PolicyQuery {
    /// Only versions of this code.
    pub code: Option<String>,
    /// Only with this status.
    pub status: Option<String>,
}

/// A policy with its rules read.
#[derive(Debug, Clone)]
pub struct ReadPolicy {
    /// The row.
    pub policy: Policy,
    /// Its document.
    pub rules: PolicyRules,
}

impl ReadPolicy {
    /// Identity of this version.
    pub const fn id(&self) -> PolicyId {
        PolicyId(self.policy.id)
    }

    fn read(policy: Policy) -> Result<Self, CoreError> {
        let rules = PolicyRules::parse(&policy.policy_rules).map_err(|refusal| {
            CoreError::defect_of(format!("policy {} cannot be read", policy.id), refusal)
        })?;
        Ok(Self { policy, rules })
    }
}

/// `policy_not_found`.
pub(crate) fn policy_not_found(reference: &str) -> Refusal {
    let shown: String = reference.chars().take(80).collect();
    Refusal::new(ErrorCode::PolicyNotFound, format!("there is no policy `{shown}`"))
        .hint("list the policies of your organization: clm policy list")
}

impl Core {
    /// Makes a policy, in force at once.
    pub async fn create_policy(&self, ctx: &Ctx, draft: &PolicyDraft) -> Result<Policy, CoreError> {
        ctx.require(Permission::PolicyWrite)?;
        let rules = checked_rules(draft)?;
        let rules = &rules;
        let policy = self
            .in_tenant(ctx.organization_id, "create_policy", |mut tx| async move {
                let policy = insert_policy(self, &mut tx, ctx, draft, rules, None).await?;
                Ok((tx, policy))
            })
            .await?;
        self.policies.clear();
        Ok(policy)
    }

    /// Replaces the version in force (`id` at row version `version`) by a new one.
    pub async fn update_policy(
        &self,
        ctx: &Ctx,
        id: PolicyId,
        version: i64,
        draft: &PolicyDraft,
    ) -> Result<Policy, CoreError> {
        ctx.require(Permission::PolicyWrite)?;
        let rules = checked_rules(draft)?;
        let rules = &rules;
        let policy = self
            .in_tenant(ctx.organization_id, "update_policy", |mut tx| async move {
                let old = find_for_change(&mut tx, id).await?;
                if old.policy_code != draft.code {
                    return Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        format!("the policy's code is `{}`; it cannot change", old.policy_code),
                    )
                    .field("/code")
                    .into());
                }
                policies::close(&mut tx, old.id, version, "superseded", ctx.now)
                    .await
                    .map_err(has_changed)?;
                let policy = insert_policy(self, &mut tx, ctx, draft, rules, Some(&old)).await?;
                Ok((tx, policy))
            })
            .await?;
        self.policies.clear();
        Ok(policy)
    }

    /// One version.
    pub async fn show_policy(&self, ctx: &Ctx, id: PolicyId) -> Result<Policy, CoreError> {
        ctx.require(Permission::PolicyRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = policies::find(&mut tx, id.0).await?;
        found.ok_or_else(|| policy_not_found(&id.to_string()).into())
    }

    /// Versions, newest first.
    pub async fn list_policies(
        &self,
        ctx: &Ctx,
        query: &PolicyQuery,
        page: PageRequest,
    ) -> Result<Page<Policy>, CoreError> {
        ctx.require(Permission::PolicyRead)?;
        let filter = PolicyFilter { code: query.code.clone(), status: query.status.clone() };
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = policies::list(&mut tx, &filter, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// The policy in force that a request names by id or code; believed for a few seconds.
    ///
    /// # Errors
    /// `policy_not_found`; `policy_not_active` when the id is of a version that is not in force.
    pub async fn policy_in_force(&self, ctx: &Ctx, reference: &str) -> Result<Arc<ReadPolicy>, CoreError> {
        let key = (ctx.organization_id, reference.to_owned());
        if let Some(known) = self.policies.get(&key) {
            return Ok(known);
        }
        let generation = self.policies.generation();
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = match Uuid::parse_str(reference) {
            Ok(id) => policies::find(&mut tx, id).await?,
            Err(_) => policies::find_active(&mut tx, ctx.organization_id.0, reference).await?,
        };
        let policy = found.ok_or_else(|| policy_not_found(reference))?;
        if policy.status != "active" {
            return Err(not_in_force(&policy).into());
        }
        let read = Arc::new(ReadPolicy::read(policy)?);
        self.policies.insert(generation, &key, Arc::clone(&read));
        Ok(read)
    }

    /// The version in force of the policy that a certificate was issued under, if there is one
    /// still; a later version governs its renewal and revocation.
    ///
    /// # Errors
    /// `policy_not_found` when there never was such a policy here.
    pub async fn governing_policy(
        &self,
        ctx: &Ctx,
        issued_under: PolicyId,
    ) -> Result<Option<Arc<ReadPolicy>>, CoreError> {
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = policies::find(&mut tx, issued_under.0).await?;
        drop(tx);
        let policy = found.ok_or_else(|| policy_not_found(&issued_under.to_string()))?;
        match self.policy_in_force(ctx, &policy.policy_code).await {
            Ok(current) => Ok(Some(current)),
            Err(CoreError::Refused(refusal)) if refusal.code == ErrorCode::PolicyNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn not_in_force(policy: &Policy) -> Refusal {
    Refusal::new(
        ErrorCode::PolicyNotActive,
        format!(
            "version {} of the policy `{}` is {}",
            policy.policy_version, policy.policy_code, policy.status
        ),
    )
    .field("/policy")
    .hint(format!("name it by its code: {}", policy.policy_code))
}

fn checked_rules(draft: &PolicyDraft) -> Result<PolicyRules, Refusal> {
    check_code(&draft.code, "/code")?;
    check_name(&draft.name, "/name")?;
    let rules = PolicyRules::parse(&draft.rules)?;
    rules.check_document()?;
    Ok(rules)
}

async fn find_for_change(conn: &mut PgConnection, id: PolicyId) -> Result<Policy, CoreError> {
    let policy = policies::find(conn, id.0).await?.ok_or_else(|| policy_not_found(&id.to_string()))?;
    if policy.status == "active" { Ok(policy) } else { Err(not_in_force(&policy).into()) }
}

/// Adds a version after `old`, with its audit entry and notice, in an open transaction.
pub(crate) async fn insert_policy(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    draft: &PolicyDraft,
    rules: &PolicyRules,
    old: Option<&Policy>,
) -> Result<Policy, CoreError> {
    let workflow_id = check_references(conn, ctx, rules).await?;
    let policy = Policy {
        id: ids::new_uuid(ctx.now, &core.entropy),
        organization_id: ctx.organization_id.0,
        policy_code: draft.code.clone(),
        policy_version: old.map_or(1, |old| old.policy_version + 1),
        policy_name: draft.name.clone(),
        policy_rules: serde_json::to_value(rules)
            .map_err(|error| CoreError::defect_of("a policy cannot be written", error))?,
        compliance_frameworks: Value::Array(draft.compliance_frameworks.clone()),
        status: "active".to_owned(),
        workflow_id,
        effective_from: Some(ctx.now),
        supersedes_policy_id: old.map(|old| old.id),
        created_by: ctx.actor.user_id.map(Into::into),
        created_at: ctx.now,
        version: 1,
    };
    policies::insert(conn, &policy).await.map_err(|error| {
        exists_already(error, format!("there is a policy `{}` already", draft.code), "/code")
    })?;
    let action = if old.is_some() { "policy.update" } else { "policy.create" };
    let mut entry = AuditEntry::of(ctx, &core.entropy, action, "policy").object(policy.id).after(
        json!({"code": policy.policy_code, "version": policy.policy_version, "rules": policy.policy_rules}),
    );
    if let Some(old) = old {
        entry = entry.before(json!({"version": old.policy_version, "rules": old.policy_rules}));
    }
    audit::insert(conn, entry.row()).await?;
    notices::send(conn, notices::POLICY).await?;
    Ok(policy)
}

/// Fails unless every role and workflow that the rules name exists; gives the workflow that decides
/// issuance.
async fn check_references(
    conn: &mut PgConnection,
    ctx: &Ctx,
    rules: &PolicyRules,
) -> Result<Option<Uuid>, CoreError> {
    for role_id in &rules.requester_role_ids {
        if roles::find(conn, role_id.0, ctx.organization_id.0).await?.is_none() {
            return Err(crate::roles::role_not_found(*role_id).field("/rules/requester_role_ids").into());
        }
    }
    let mut issuance_workflow = None;
    for kind in WorkflowKind::ALL {
        let found = check_workflow(conn, ctx, rules, *kind).await?;
        if *kind == WorkflowKind::Issuance {
            issuance_workflow = found;
        }
    }
    Ok(issuance_workflow)
}

async fn check_workflow(
    conn: &mut PgConnection,
    ctx: &Ctx,
    rules: &PolicyRules,
    kind: WorkflowKind,
) -> Result<Option<Uuid>, CoreError> {
    let Some(code) = rules.workflows.code(kind) else {
        return Ok(None);
    };
    let found: Result<_, DbError> = workflows::find_active(conn, ctx.organization_id.0, code).await;
    match found? {
        Some(workflow) if workflow.workflow_type == kind.as_str() => Ok(Some(workflow.id)),
        _ => Err(Refusal::new(
            ErrorCode::WorkflowNotFound,
            format!("there is no active {kind} workflow `{code}`"),
        )
        .field(format!("/rules/workflows/{kind}"))
        .into()),
    }
}
