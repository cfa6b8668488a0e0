//! `/api/v1/workflows`: who decides on requests.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_api::Page;
use clm_api::workflows::{Workflow, WorkflowDraft, WorkflowQuery};
use clm_core::{Core, workflows};
use clm_types::{ErrorCode, WorkflowId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::policies::versions_wanted;
use crate::etag::{IfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, update))
}

/// Makes a workflow, in force at once.
#[utoipa::path(post, path = "/workflows", tag = "workflows", request_body = WorkflowDraft,
    responses((status = 201, body = Workflow)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(draft): Body<WorkflowDraft>,
) -> Result<Response, Failure> {
    let workflow = core.create_workflow(&ctx, &parse(draft)).await?;
    let location = format!("/api/v1/workflows/{}", workflow.id);
    Ok(answer::created(&location, Some(workflow.version), view(workflow)?))
}

/// Lists workflows, newest first; those in force unless told.
#[utoipa::path(get, path = "/workflows", tag = "workflows", params(WorkflowQuery),
    responses((status = 200, body = Page<Workflow>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<WorkflowQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let asked = workflows::WorkflowQuery {
        code: query.code,
        status: versions_wanted(query.status),
        kind: query.kind,
    };
    let found = core.list_workflows(&ctx, &asked, page).await?;
    paging::try_answer(&uri, found, view)
}

/// Shows one version of a workflow.
#[utoipa::path(get, path = "/workflows/{id}", tag = "workflows", params(("id" = Uuid, Path)),
    responses((status = 200, body = Workflow)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<WorkflowId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let workflow = core.show_workflow(&ctx, id).await?;
    let versioned = Versioned { version: workflow.version, body: view(workflow)? };
    Ok(versioned.answer(&headers))
}

/// Makes a new version of a workflow; requests that run keep the old one.
#[utoipa::path(put, path = "/workflows/{id}", tag = "workflows", params(("id" = Uuid, Path)),
    request_body = WorkflowDraft, responses((status = 201, body = Workflow)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<WorkflowId>,
    condition: IfMatch,
    Body(draft): Body<WorkflowDraft>,
) -> Result<Response, Failure> {
    let current = async { Ok(core.show_workflow(&ctx, id).await?.version) };
    let version = condition.version(current).await?;
    let workflow = core.update_workflow(&ctx, id, version, &parse(draft)).await?;
    let location = format!("/api/v1/workflows/{}", workflow.id);
    Ok(answer::created(&location, Some(workflow.version), view(workflow)?))
}

fn parse(draft: WorkflowDraft) -> workflows::WorkflowDraft {
    workflows::WorkflowDraft {
        code: draft.code,
        name: draft.name,
        kind: draft.kind,
        definition: draft.definition,
        auto_approval: draft.auto_approval,
    }
}

fn view(workflow: workflows::Workflow) -> Result<Workflow, Failure> {
    let kind = workflow.workflow_type.parse();
    Ok(Workflow {
        id: workflow.id.into(),
        organization_id: workflow.organization_id.into(),
        code: workflow.workflow_code,
        workflow_version: workflow.workflow_version,
        name: workflow.workflow_name,
        kind: kind.map_err(|_| Failure::new(ErrorCode::Internal, "a stored workflow has an unknown kind"))?,
        status: workflow.status,
        definition: workflow.definition,
        auto_approval: workflow.auto_approval_conditions,
        created_by: workflow.created_by.map(Into::into),
        created_at: workflow.created_at,
        version: workflow.version,
    })
}
