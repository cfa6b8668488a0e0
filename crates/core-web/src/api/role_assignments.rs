//! `/api/v1/role-assignments`: who holds which role.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::Response;
use clm_api::Page;
use clm_api::roles::{NewRoleAssignment, RoleAssignment, RoleAssignmentEnd, RoleAssignmentQuery};
use clm_core::{Core, roles};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::etag::{IfMatch, OptionalIfMatch};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// Gives a user a role; nobody grants what they do not hold.
#[utoipa::path(post, path = "/role-assignments", tag = "roles", request_body = NewRoleAssignment,
    responses((status = 201, body = RoleAssignment)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewRoleAssignment>,
) -> Result<Response, Failure> {
    let new = roles::NewAssignment {
        user_id: new.user_id,
        role_id: new.role_id,
        everywhere: new.everywhere,
        valid_from: new.valid_from,
        valid_until: new.valid_until,
        reason: new.reason,
    };
    let made = core.assign_role(&ctx, &new).await?;
    let location = format!("/api/v1/role-assignments?user={}", made.user_id);
    Ok(answer::created(&location, Some(made.version), view(made)))
}

/// Lists who holds which role here or everywhere, newest first; ended assignments too.
#[utoipa::path(get, path = "/role-assignments", tag = "roles", params(RoleAssignmentQuery),
    responses((status = 200, body = Page<RoleAssignment>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<RoleAssignmentQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_assignments(&ctx, query.user, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Takes a role back, at once.
#[utoipa::path(post, path = "/role-assignments/{id}/revoke", tag = "roles", params(("id" = Uuid, Path)),
    request_body = RoleAssignmentEnd, responses((status = 204)))]
async fn revoke(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<Uuid>,
    OptionalIfMatch(condition): OptionalIfMatch,
    Body(end): Body<RoleAssignmentEnd>,
) -> Result<StatusCode, Failure> {
    let version = match condition {
        IfMatch::Any => None,
        IfMatch::Version(version) => Some(version),
    };
    core.revoke_assignment(&ctx, id, version, end.reason.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(row: roles::RoleAssignment) -> RoleAssignment {
    RoleAssignment {
        id: row.id,
        user_id: row.user_id.into(),
        role_id: row.role_id.into(),
        organization_id: row.organization_id.map(Into::into),
        group_id: row.group_id.map(Into::into),
        valid_from: row.valid_from,
        valid_until: row.valid_until,
        assigned_by: row.assigned_by.map(Into::into),
        reason: row.assignment_reason,
        revoked_at: row.revoked_at,
        version: row.version,
    }
}
