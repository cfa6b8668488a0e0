//! Workflow definitions: written in versions.

use clm_core_db::workflows::{self, WorkflowFilter};
use clm_core_db::{PgConnection, audit, notices, policies, roles, users};
use clm_types::{ErrorCode, Permission, Refusal, WorkflowId, WorkflowKind, ids};
use serde_json::{Value, json};

use crate::audit::AuditEntry;
use crate::error::{exists_already, has_changed};
use crate::fields::{check_code, check_name};
use crate::page::{Page, PageRequest};
use crate::workflow_definition::{AutoApproval, WorkflowDefinition};
use crate::{Core, CoreError, Ctx};

pub use crate::workflow_plan::{Approver, Decision, PlannedStep, ReadWorkflow, WorkflowPlan};
pub use clm_core_db::workflows::WorkflowRow as Workflow;

/// A new workflow, or the next version of one.
#[derive(Debug, Clone)]
pub struct WorkflowDraft {
    /// Code, unique in the organization; the same in every version.
    pub code: String,
    /// Name to show.
    pub name: String,
    /// What it decides on; the same in every version.
    pub kind: WorkflowKind,
    /// The document, see [`WorkflowDefinition`].
    pub definition: Value,
    /// One [`AutoApproval`] or a list of them.
    pub auto_approval: Option<Value>,
}

/// Which workflows to list.
#[derive(Debug, Clone, Default)]
pub struct WorkflowQuery {
    /// Only versions of this code.
    pub code: Option<String>,
    /// Only with this status.
    pub status: Option<String>,
    /// Only of this kind.
    pub kind: Option<WorkflowKind>,
}

/// `workflow_not_found`.
pub(crate) fn workflow_not_found(reference: &str) -> Refusal {
    Refusal::new(ErrorCode::WorkflowNotFound, format!("there is no workflow `{reference}`"))
}

impl Core {
    /// Makes a workflow, in force at once.
    pub async fn create_workflow(&self, ctx: &Ctx, draft: &WorkflowDraft) -> Result<Workflow, CoreError> {
        ctx.require(Permission::WorkflowWrite)?;
        let documents = checked_documents(draft)?;
        let documents = &documents;
        let workflow = self
            .in_tenant(ctx.organization_id, "create_workflow", |mut tx| async move {
                let workflow = insert_workflow(self, &mut tx, ctx, draft, documents, None).await?;
                Ok((tx, workflow))
            })
            .await?;
        self.forget_policies();
        Ok(workflow)
    }

    /// Replaces the version in force (`id` at row version `version`) by a new one; requests that
    /// wait already keep theirs.
    pub async fn update_workflow(
        &self,
        ctx: &Ctx,
        id: WorkflowId,
        version: i64,
        draft: &WorkflowDraft,
    ) -> Result<Workflow, CoreError> {
        ctx.require(Permission::WorkflowWrite)?;
        let documents = checked_documents(draft)?;
        let documents = &documents;
        let workflow = self
            .in_tenant(ctx.organization_id, "update_workflow", |mut tx| async move {
                let old = find_for_change(&mut tx, id, draft).await?;
                workflows::close(&mut tx, old.id, version, "superseded", ctx.now)
                    .await
                    .map_err(has_changed)?;
                let workflow = insert_workflow(self, &mut tx, ctx, draft, documents, Some(&old)).await?;
                policies::move_workflow(&mut tx, old.id, workflow.id).await?;
                Ok((tx, workflow))
            })
            .await?;
        self.forget_policies();
        Ok(workflow)
    }

    /// One version.
    pub async fn show_workflow(&self, ctx: &Ctx, id: WorkflowId) -> Result<Workflow, CoreError> {
        ctx.require(Permission::WorkflowRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = workflows::find(&mut tx, id.0).await?;
        found.ok_or_else(|| workflow_not_found(&id.to_string()).into())
    }

    /// Versions, newest first.
    pub async fn list_workflows(
        &self,
        ctx: &Ctx,
        query: &WorkflowQuery,
        page: PageRequest,
    ) -> Result<Page<Workflow>, CoreError> {
        ctx.require(Permission::WorkflowRead)?;
        let filter = WorkflowFilter {
            code: query.code.clone(),
            status: query.status.clone(),
            workflow_type: query.kind.map(|kind| kind.to_string()),
        };
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = workflows::list(&mut tx, &filter, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }
}

/// Both documents of a draft, read and checked.
pub(crate) struct WorkflowDocuments {
    definition: WorkflowDefinition,
    auto_approvals: Vec<AutoApproval>,
}

pub(crate) fn checked_documents(draft: &WorkflowDraft) -> Result<WorkflowDocuments, Refusal> {
    check_code(&draft.code, "/code")?;
    check_name(&draft.name, "/name")?;
    let definition = WorkflowDefinition::parse(&draft.definition)?;
    definition.check_document()?;
    let auto_approvals = match &draft.auto_approval {
        None => Vec::new(),
        Some(document) => AutoApproval::parse_list(document)?,
    };
    Ok(WorkflowDocuments { definition, auto_approvals })
}

async fn find_for_change(
    conn: &mut PgConnection,
    id: WorkflowId,
    draft: &WorkflowDraft,
) -> Result<Workflow, CoreError> {
    let old = workflows::find(conn, id.0).await?.ok_or_else(|| workflow_not_found(&id.to_string()))?;
    let refused = |detail: String| {
        Err(Refusal::new(ErrorCode::InvalidRequest, detail).hint("make another workflow instead").into())
    };
    if old.status != "active" {
        return refused(format!(
            "version {} is {}; only the active one can be replaced",
            old.workflow_version, old.status
        ));
    }
    if old.workflow_code != draft.code || old.workflow_type != draft.kind.as_str() {
        return refused(format!(
            "the workflow's code `{}` and kind {} cannot change",
            old.workflow_code, old.workflow_type
        ));
    }
    Ok(old)
}

/// Adds a version after `old`, with its audit entry and notice, in an open transaction.
pub(crate) async fn insert_workflow(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    draft: &WorkflowDraft,
    documents: &WorkflowDocuments,
    old: Option<&Workflow>,
) -> Result<Workflow, CoreError> {
    check_approvers(conn, ctx, &documents.definition).await?;
    let written = |error| CoreError::defect_of("a workflow cannot be written", error);
    let workflow = Workflow {
        id: ids::new_uuid(ctx.now, &core.entropy),
        organization_id: ctx.organization_id.0,
        workflow_code: draft.code.clone(),
        workflow_version: old.map_or(1, |old| old.workflow_version + 1),
        workflow_name: draft.name.clone(),
        workflow_type: draft.kind.to_string(),
        definition: serde_json::to_value(&documents.definition).map_err(written)?,
        auto_approval_conditions: serde_json::to_value(&documents.auto_approvals).map_err(written)?,
        status: "active".to_owned(),
        created_by: ctx.actor.user_id.map(Into::into),
        created_at: ctx.now,
        version: 1,
    };
    workflows::insert(conn, &workflow).await.map_err(|error| {
        exists_already(error, format!("there is a workflow `{}` already", draft.code), "/code")
    })?;
    audit::insert(conn, audit_entry(core, ctx, &workflow, old).row()).await?;
    notices::send(conn, notices::POLICY).await?;
    Ok(workflow)
}

fn audit_entry(core: &Core, ctx: &Ctx, workflow: &Workflow, old: Option<&Workflow>) -> AuditEntry {
    let state = |row: &Workflow| {
        json!({"code": row.workflow_code, "version": row.workflow_version, "definition": row.definition,
               "auto_approval": row.auto_approval_conditions})
    };
    let action = if old.is_some() { "workflow.update" } else { "workflow.create" };
    let entry =
        AuditEntry::of(ctx, &core.entropy, action, "workflow").object(workflow.id).after(state(workflow));
    match old {
        Some(old) => entry.before(state(old)),
        None => entry,
    }
}

/// Fails unless every approver exists in the organization.
async fn check_approvers(
    conn: &mut PgConnection,
    ctx: &Ctx,
    definition: &WorkflowDefinition,
) -> Result<(), CoreError> {
    let organization_id = ctx.organization_id.0;
    for (index, step) in definition.steps.iter().enumerate() {
        let field = format!("/definition/steps/{index}");
        if let Some(role_id) = step.approver_role_id
            && roles::find(conn, role_id.0, organization_id).await?.is_none()
        {
            return Err(crate::roles::role_not_found(role_id).field(field).into());
        }
        if let Some(user_id) = step.approver_user_id
            && users::find_in_organization(conn, user_id.0, organization_id, ctx.now).await?.is_none()
        {
            return Err(crate::users::user_not_found(user_id).field(field).into());
        }
    }
    Ok(())
}
