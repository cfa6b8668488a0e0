//! `GET /api/v1/audit`: the audit logs of both databases.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use clm_api::Page;
use clm_api::audit::{AuditCheckpoint, AuditCheckpointQuery, AuditEntry, AuditQuery};
use clm_core::{Core, audit};
use clm_types::{ErrorCode, Refusal, SecureAuditEntry};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Query};
use crate::failure::Failure;
use crate::{Edge, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(checkpoints))
}

/// Lists audit entries of Core, newest first; with `operation_id`, those of both databases, oldest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditEntry>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Failure> {
    if let Some(operation) = query.operation_id {
        refuse_other_filters(&query)?;
        let trail = core.trace_operation(&ctx, operation).await?;
        let page = Page { items: merged(trail), next_cursor: None };
        return Ok(Json(page).into_response());
    }
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let asked = audit::AuditQuery {
        object_id: query.object,
        object_type: query.object_type.as_deref(),
        actor_user_id: query.actor,
        session_id: query.session,
        api_key_id: query.api_key,
        address: query.address,
        request_id: query.request,
        action: query.action.as_deref(),
        outcome: query.outcome.as_deref(),
        since: query.since,
        until: query.until,
    };
    let found = core.list_audit_entries(&ctx, asked, page).await?;
    Ok(paging::answer(&uri, found, core_view))
}

/// What one operation did is told whole: half of it would look like all of it.
fn refuse_other_filters(query: &AuditQuery) -> Result<(), Failure> {
    let others = AuditQuery { operation_id: None, limit: None, cursor: None, ..query.clone() };
    if others == AuditQuery::default() {
        return Ok(());
    }
    let detail = "operation_id goes with no other filter";
    Err(Refusal::new(ErrorCode::InvalidRequest, detail).hint("leave the other filters out").into())
}

/// Lists the signed states of Secure's audit chain that Core keeps, newest first. They need `audit:read` for all
/// organizations.
#[utoipa::path(get, path = "/audit/checkpoints", tag = "audit", params(AuditCheckpointQuery),
    responses((status = 200, body = Vec<AuditCheckpoint>)))]
async fn checkpoints(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Query(query): Query<AuditCheckpointQuery>,
) -> Result<Json<Vec<AuditCheckpoint>>, Failure> {
    let limit = paging::request(query.limit, None)?.limit.into();
    let kept = core.list_checkpoints(&ctx, query.before, limit).await?;
    let kept = kept.into_iter().map(|one| AuditCheckpoint {
        sequence: one.sequence,
        chain_hash: one.chain_hash,
        entry_count: one.entry_count,
        signed_at: one.signed_at,
        signature: one.signature,
        key_reference: one.key_reference,
        public_key: one.public_key,
    });
    Ok(Json(kept.collect()))
}

/// Both logs in one, by time.
fn merged(trail: audit::OperationTrail) -> Vec<AuditEntry> {
    let core = trail.core.into_iter().map(core_view);
    let secure = trail.secure.into_iter().map(secure_view);
    let mut all: Vec<AuditEntry> = core.chain(secure).collect();
    all.sort_by_key(|entry| entry.occurred_at);
    all
}

pub(crate) fn core_view(row: audit::AuditRow) -> AuditEntry {
    let actor = row.actor_user_id.map(|id| id.to_string());
    AuditEntry {
        id: row.id,
        source: "core".to_owned(),
        occurred_at: row.occurred_at,
        actor: actor.unwrap_or_else(|| row.actor_type.clone()),
        actor_type: row.actor_type,
        session_id: row.session_id.map(Into::into),
        api_key_id: row.api_key_id.map(Into::into),
        organization_id: row.organization_id.map(Into::into),
        operation_id: row.operation_id.map(Into::into),
        request_id: row.request_id,
        address: row.ip_address,
        action: row.action,
        object_type: row.object_type,
        object_id: row.object_id,
        outcome: row.outcome,
        detail: row.detail,
        before: row.before_state,
        after: row.after_state,
        sequence: None,
        chain_hash: None,
    }
}

pub(crate) fn secure_view(entry: SecureAuditEntry) -> AuditEntry {
    AuditEntry {
        id: entry.id,
        source: "secure".to_owned(),
        occurred_at: entry.occurred_at,
        actor: entry.actor,
        actor_type: "service".to_owned(),
        session_id: None,
        api_key_id: None,
        organization_id: entry.organization_id,
        operation_id: entry.operation_id,
        request_id: None,
        address: None,
        action: entry.action,
        object_type: entry.object_type,
        object_id: entry.object_id,
        outcome: entry.outcome,
        detail: entry.reason,
        before: None,
        after: None,
        sequence: Some(entry.sequence),
        chain_hash: Some(entry.chain_hash),
    }
}
