//! `/api/v1/integrity`: whether both databases agree.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use clm_api::Page;
use clm_api::integrity::{IntegrityFinding, IntegrityQuery, IntegrityReport};
use clm_core::{Core, integrity};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(run)).routes(routes!(list))
}

/// Compares both databases now, for all organizations; repairs what has one right answer.
#[utoipa::path(post, path = "/integrity/runs", tag = "integrity",
    responses((status = 201, body = IntegrityReport)))]
async fn run(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<Response, Failure> {
    let report = core.run_integrity(&ctx).await?;
    let view = IntegrityReport {
        run_id: report.run_id,
        started_at: report.started_at,
        finished_at: report.finished_at,
        compared: report.compared,
        open: report.open,
        repaired: report.repaired,
        alarms: report.alarms,
        resolved: report.resolved,
    };
    Ok(answer::created("/api/v1/integrity/findings", None, view))
}

/// Lists findings, newest first.
#[utoipa::path(get, path = "/integrity/findings", tag = "integrity", params(IntegrityQuery),
    responses((status = 200, body = Page<IntegrityFinding>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<IntegrityQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_findings(&ctx, query.status.as_deref(), page).await?;
    Ok(paging::answer(&uri, found, view))
}

fn view(row: integrity::Finding) -> IntegrityFinding {
    IntegrityFinding {
        id: row.id,
        run_id: row.run_id,
        kind: row.kind,
        side: row.side,
        object_type: row.object_type,
        object_id: row.object_id,
        organization_id: row.organization_id.map(Into::into),
        status: row.status,
        detail: row.detail,
        found_at: row.found_at,
        last_seen_at: row.last_seen_at,
        resolved_at: row.resolved_at,
    }
}
