//! `/api/v1/integrity`: whether both databases agree.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use clm_api::Page;
use clm_api::integrity::{IntegrityFinding, IntegrityQuery, IntegrityReport, IntegrityRun};
use clm_core::integrity_runs::RunState;
use clm_core::{Core, integrity, integrity_runs};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::extract::{Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(run)).routes(routes!(show_run)).routes(routes!(list))
}

/// Begins to compare both databases, for all organizations; repairs what has one right answer.
#[utoipa::path(post, path = "/integrity/runs", tag = "integrity", responses((status = 202, body = IntegrityRun,
    description = "It runs; Location says how it gets on")))]
async fn run(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<Response, Failure> {
    let begun = core.start_integrity_run(&ctx).await?;
    let location = format!("/api/v1/integrity/runs/{}", begun.id);
    Ok(answer::accepted(&location, run_view(begun)))
}

/// Shows how a run gets on that was begun here.
#[utoipa::path(get, path = "/integrity/runs/{id}", tag = "integrity", params(("id" = Uuid, Path)),
    responses((status = 200, body = IntegrityRun)))]
async fn show_run(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<Uuid>,
) -> Result<Json<IntegrityRun>, Failure> {
    Ok(Json(run_view(core.show_integrity_run(&ctx, id).await?)))
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

fn run_view(run: integrity_runs::IntegrityRun) -> IntegrityRun {
    let (status, finished_at, counts, detail) = match run.state {
        RunState::Running => ("running", None, None, None),
        RunState::Completed(at, counts) => ("completed", Some(at), Some(counts), None),
        RunState::Failed(at, detail) => ("failed", Some(at), None, Some(detail)),
        RunState::Interrupted => ("interrupted", None, None, None),
    };
    let report = counts.map(|counts| IntegrityReport {
        compared: counts.compared,
        open: counts.open,
        repaired: counts.repaired,
        alarms: counts.alarms,
        resolved: counts.resolved,
    });
    let (id, status, started_at) = (run.id, status.to_owned(), run.started_at);
    IntegrityRun { id, status, started_at, finished_at, report, detail }
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
