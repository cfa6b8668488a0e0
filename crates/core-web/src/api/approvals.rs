//! `GET /api/v1/approvals`: what waits for the caller's decision.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use clm_api::Page;
use clm_api::approvals::PendingApproval;
use clm_api::page::PageQuery;
use clm_core::{Core, approvals};
use clm_types::ErrorCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Query};
use crate::failure::Failure;
use crate::{Edge, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Lists the steps that the caller may decide now, newest first.
#[utoipa::path(get, path = "/approvals", tag = "requests", params(PageQuery),
    responses((status = 200, body = Page<PendingApproval>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_pending_approvals(&ctx, page).await?;
    paging::try_answer(&uri, found, view)
}

fn view(row: approvals::PendingApproval) -> Result<PendingApproval, Failure> {
    let kind = row.instance_type.parse();
    Ok(PendingApproval {
        request_id: row.instance_id.into(),
        step_id: row.step_id.into(),
        step_name: row.step_name,
        step_number: row.step_number,
        quorum: row.quorum,
        kind: kind.map_err(|_| Failure::new(ErrorCode::Internal, "a stored request has an unknown kind"))?,
        operation_id: row.operation_id.into(),
        certificate_id: row.certificate_id.map(Into::into),
        requester_user_id: row.requester_user_id.into(),
        approver_role_id: row.assigned_to_role_id.map(Into::into),
        due_at: row.due_at,
        created_at: row.created_at,
    })
}
