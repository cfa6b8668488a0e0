//! `/api/v1/policies`: who may have which certificate.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_api::Page;
use clm_api::policies::{Policy, PolicyDraft, PolicyQuery};
use clm_core::{Core, policies};
use clm_types::PolicyId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::etag::{IfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, update))
}

/// Makes a policy, in force at once.
#[utoipa::path(post, path = "/policies", tag = "policies", request_body = PolicyDraft,
    responses((status = 201, body = Policy)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(draft): Body<PolicyDraft>,
) -> Result<Response, Failure> {
    let policy = core.create_policy(&ctx, &parse(draft)).await?;
    let location = format!("/api/v1/policies/{}", policy.id);
    Ok(answer::created(&location, Some(policy.version), view(policy)))
}

/// Lists policies, newest first; those in force unless told.
#[utoipa::path(get, path = "/policies", tag = "policies", params(PolicyQuery),
    responses((status = 200, body = Page<Policy>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PolicyQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let asked = policies::PolicyQuery { code: query.code, status: versions_wanted(query.status) };
    let found = core.list_policies(&ctx, &asked, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows one version of a policy.
#[utoipa::path(get, path = "/policies/{id}", tag = "policies", params(("id" = Uuid, Path)),
    responses((status = 200, body = Policy)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<PolicyId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let policy = core.show_policy(&ctx, id).await?;
    let versioned = Versioned { version: policy.version, body: view(policy) };
    Ok(versioned.answer(&headers))
}

/// Makes a new version of a policy; the old one is superseded.
#[utoipa::path(put, path = "/policies/{id}", tag = "policies", params(("id" = Uuid, Path)),
    request_body = PolicyDraft, responses((status = 201, body = Policy)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<PolicyId>,
    condition: IfMatch,
    Body(draft): Body<PolicyDraft>,
) -> Result<Response, Failure> {
    let current = async { Ok(core.show_policy(&ctx, id).await?.version) };
    let version = condition.version(current).await?;
    let policy = core.update_policy(&ctx, id, version, &parse(draft)).await?;
    let location = format!("/api/v1/policies/{}", policy.id);
    Ok(answer::created(&location, Some(policy.version), view(policy)))
}

/// What is in force, unless the caller wants another status or any.
pub(crate) fn versions_wanted(status: Option<String>) -> Option<String> {
    match status.as_deref() {
        None => Some("active".to_owned()),
        Some("any") => None,
        Some(_) => status,
    }
}

fn parse(draft: PolicyDraft) -> policies::PolicyDraft {
    policies::PolicyDraft {
        code: draft.code,
        name: draft.name,
        rules: draft.rules,
        compliance_frameworks: draft.compliance_frameworks,
    }
}

fn view(policy: policies::Policy) -> Policy {
    Policy {
        id: policy.id.into(),
        organization_id: policy.organization_id.into(),
        code: policy.policy_code,
        policy_version: policy.policy_version,
        name: policy.policy_name,
        status: policy.status,
        rules: policy.policy_rules,
        compliance_frameworks: policy.compliance_frameworks,
        workflow_id: policy.workflow_id.map(Into::into),
        effective_from: policy.effective_from,
        supersedes: policy.supersedes_policy_id.map(Into::into),
        created_by: policy.created_by.map(Into::into),
        created_at: policy.created_at,
        version: policy.version,
    }
}
