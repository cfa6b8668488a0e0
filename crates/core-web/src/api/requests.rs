//! `/api/v1/requests`: for certificates, renewals and revocations, and how far they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use clm_api::Page;
use clm_api::requests::{Decision, NewRequest, Request, RequestQuery};
use clm_core::request_context::Labels;
use clm_core::{Core, Ctx, request_view, requests};
use clm_types::{ErrorCode, Permission, RequestId, WorkflowStatus};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::request_view::view;
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::wait::WaitUntil;
use crate::{Edge, answer, etag, idempotency, paging};

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
/// 201 with the certificate's address when it is issued; 202 with the request's while it waits for approval; 200 when
/// it has ended without a certificate. `Prefer: wait=N` waits up to N seconds for the end.
#[utoipa::path(post, path = "/requests", tag = "requests", request_body = NewRequest, responses(
    (status = 201, body = Request, description = "Issued; Location is the certificate"),
    (status = 202, body = Request, description = "Waits; Location is the request"),
    (status = 200, body = Request, description = "Rejected, cancelled or expired")))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    until: WaitUntil,
    Body(new): Body<NewRequest>,
) -> Result<Response, Failure> {
    let submitted = core.submit_request(&ctx, parse(new), AT_ONCE).await?;
    begun(&core, &ctx, submitted.request, until).await
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
    // Its version does not count the decisions on its steps.
    etag::digested(&view(core.show_request(&ctx, id).await?), &headers)
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
    until: WaitUntil,
) -> Result<Response, Failure> {
    // What this call began bears this call's time.
    let is_replay = request.created_at != ctx.now;
    let response = outcome(wait_for_end(core, ctx, request, &until).await?)?;
    Ok(if is_replay { idempotency::replayed(response) } else { response })
}

/// 201 for what is done, 202 for what goes on. What failed is a problem; what ended without effect by a person's
/// decision or for want of one is told as it is.
fn outcome(request: request_view::Request) -> Result<Response, Failure> {
    let address = format!("/api/v1/requests/{}", request.id);
    match request.status {
        WorkflowStatus::Completed => Ok(match request.certificate_id {
            Some(id) if request.kind.makes_certificate() => {
                answer::created(&format!("/api/v1/certificates/{id}"), None, view(request))
            }
            _ => answer::created(&address, None, view(request)),
        }),
        WorkflowStatus::Pending | WorkflowStatus::Executing => Ok(answer::accepted(&address, view(request))),
        WorkflowStatus::Failed => Err(failure(request)),
        WorkflowStatus::Rejected | WorkflowStatus::Cancelled | WorkflowStatus::Expired => {
            Ok(Json(view(request)).into_response())
        }
    }
}

fn failure(request: request_view::Request) -> Failure {
    let (code, detail) = request.failure.unwrap_or_default();
    Failure::new(code.parse().unwrap_or(ErrorCode::Internal), detail)
}

async fn wait_for_end(
    core: &Core,
    ctx: &Ctx,
    mut request: request_view::Request,
    wait: &WaitUntil,
) -> Result<request_view::Request, Failure> {
    let may_look = ctx.require(Permission::RequestRead).is_ok();
    if !may_look || request.status.is_final() || !wait.begin() {
        return Ok(request);
    }
    while !request.status.is_final() && Instant::now() < wait.until {
        tokio::time::sleep_until(wait.until.min(Instant::now() + LOOK)).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::RETRY_AFTER;
    use clm_types::{OperationId, OrganizationId, UserId, WorkflowKind};
    use uuid::Uuid;

    fn request(status: WorkflowStatus) -> request_view::Request {
        let id = Uuid::from_u128(1);
        request_view::Request {
            id: RequestId(id),
            operation_id: OperationId(id),
            kind: WorkflowKind::Issuance,
            status,
            organization_id: OrganizationId(id),
            requester_user_id: UserId(id),
            owner_user_id: None,
            policy_id: None,
            policy_version: None,
            workflow_id: None,
            certificate_id: None,
            certificate: None,
            revocation: None,
            approval_reason: None,
            comment: None,
            steps: Vec::new(),
            failure: (status == WorkflowStatus::Failed)
                .then(|| ("authority_suspended".to_owned(), "it is suspended".to_owned())),
            due_at: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            completed_at: None,
            version: 1,
        }
    }

    #[test]
    fn only_what_goes_on_asks_its_caller_to_come_back() {
        for status in [WorkflowStatus::Pending, WorkflowStatus::Executing] {
            let response = outcome(request(status)).unwrap();
            assert_eq!(response.status().as_u16(), 202);
            assert!(response.headers().contains_key(RETRY_AFTER));
        }
        for status in [WorkflowStatus::Rejected, WorkflowStatus::Cancelled, WorkflowStatus::Expired] {
            let response = outcome(request(status)).unwrap();
            assert_eq!(response.status().as_u16(), 200);
            assert!(!response.headers().contains_key(RETRY_AFTER));
        }
        assert_eq!(outcome(request(WorkflowStatus::Completed)).unwrap().status().as_u16(), 201);
    }

    #[test]
    fn what_failed_is_the_problem_that_it_failed_with() {
        let failure = outcome(request(WorkflowStatus::Failed)).unwrap_err();
        assert_eq!(failure.0.code, ErrorCode::AuthoritySuspended);
        assert_eq!(failure.0.detail, "it is suspended");
    }
}
