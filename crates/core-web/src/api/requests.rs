//! `/api/v1/requests`: for certificates, renewals and revocations, and how far they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_api::Page;
use clm_api::requests::{Decision, NewRequest, Request, RequestQuery};
use clm_core::request_context::Labels;
use clm_core::{Core, Ctx, request_view, requests};
use clm_types::{Permission, RequestId, WorkflowKind, WorkflowStatus};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::request_view::view;
use crate::etag::Versioned;
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

/// How long a request is carried out while its caller waits, unless the caller prefers otherwise.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(10);
/// How often a request is looked at for a caller who waits for others.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(cancel))
}

/// Asks for a certificate. What no person need approve is issued at once.
///
/// 201 with the certificate's address when it is issued; 202 with the request's while it waits for approval.
/// `Prefer: wait=N` waits up to N seconds for it.
#[utoipa::path(post, path = "/requests", tag = "requests", request_body = NewRequest, responses(
    (status = 201, body = Request, description = "Issued; Location is the certificate"),
    (status = 202, body = Request, description = "Waits; Location is the request")))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    headers: HeaderMap,
    Body(new): Body<NewRequest>,
) -> Result<Response, Failure> {
    let submitted = core.submit_request(&ctx, parse(new), AT_ONCE).await?;
    begun(&core, &ctx, submitted.request, &headers).await
}

/// Lists requests, newest first.
#[utoipa::path(get, path = "/requests", tag = "requests", params(RequestQuery),
    responses((status = 200, body = Page<Request>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<RequestQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let asked = requests::RequestQuery { status: query.status, kind: query.kind, requester: query.requester };
    let found = core.list_requests(&ctx, &asked, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows a request, its steps and what became of it.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests", params(("id" = Uuid, Path)),
    responses((status = 200, body = Request)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RequestId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let request = core.show_request(&ctx, id).await?;
    let versioned = Versioned { version: request.version, body: view(request) };
    Ok(versioned.answer(&headers))
}

/// Approves the current step; with the last approval the request is carried out at once.
#[utoipa::path(post, path = "/requests/{id}/approve", tag = "requests", params(("id" = Uuid, Path)),
    request_body = Decision, responses((status = 200, body = Request)))]
async fn approve(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RequestId>,
    Body(decision): Body<Decision>,
) -> Result<Json<Request>, Failure> {
    let request = core.approve_request(&ctx, id, decision.comment.as_deref(), AT_ONCE).await?;
    Ok(Json(view(request)))
}

/// Refuses a request; one refusal is enough.
#[utoipa::path(post, path = "/requests/{id}/reject", tag = "requests", params(("id" = Uuid, Path)),
    request_body = Decision, responses((status = 200, body = Request)))]
async fn reject(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RequestId>,
    Body(decision): Body<Decision>,
) -> Result<Json<Request>, Failure> {
    let request = core.reject_request(&ctx, id, decision.comment.as_deref()).await?;
    Ok(Json(view(request)))
}

/// Takes back a request that waits for approval.
#[utoipa::path(post, path = "/requests/{id}/cancel", tag = "requests", params(("id" = Uuid, Path)),
    request_body = Decision, responses((status = 200, body = Request)))]
async fn cancel(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RequestId>,
    Body(decision): Body<Decision>,
) -> Result<Json<Request>, Failure> {
    let request = core.cancel_request(&ctx, id, decision.comment.as_deref()).await?;
    Ok(Json(view(request)))
}

/// The answer to what began an operation: what came of it, or where to look.
pub(crate) async fn begun(
    core: &Core,
    ctx: &Ctx,
    request: request_view::Request,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let request = wait_for_end(core, ctx, request, answer::wait(headers)).await?;
    let is_done = request.status == WorkflowStatus::Completed;
    let address = format!("/api/v1/requests/{}", request.id);
    Ok(match request.certificate_id {
        Some(id) if is_done && request.kind != WorkflowKind::Revocation => {
            answer::created(&format!("/api/v1/certificates/{id}"), None, view(request))
        }
        _ if is_done => answer::created(&address, Some(request.version), view(request)),
        _ => answer::accepted(&address, view(request)),
    })
}

async fn wait_for_end(
    core: &Core,
    ctx: &Ctx,
    mut request: request_view::Request,
    wait: Duration,
) -> Result<request_view::Request, Failure> {
    let until = Instant::now() + wait;
    let may_look = ctx.require(Permission::RequestRead).is_ok();
    while may_look && !request.status.is_final() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        request = core.show_request(ctx, request.id).await?;
    }
    Ok(request)
}

fn parse(new: NewRequest) -> requests::NewRequest {
    requests::NewRequest {
        policy: new.policy,
        profile: new.profile,
        authority: new.authority,
        csr_pem: new.csr_pem,
        key_algorithm: new.key_algorithm,
        subject: new.subject,
        sans: new.sans,
        validity_seconds: new.validity_seconds,
        owner_user_id: new.owner_user_id,
        labels: Labels {
            tags: new.tags,
            environment: new.environment,
            category: new.category,
            custom_fields: new.custom_fields,
        },
        comment: new.comment,
    }
}
