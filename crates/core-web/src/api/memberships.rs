//! `/api/v1/members` of an organization, and `/api/v1/me/memberships`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use clm_api::memberships::{Invitation, Membership, Memberships};
use clm_core::{Core, memberships};
use clm_types::{OrganizationId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Edge;
use crate::extract::{Body, Caller, Id};
use crate::failure::Failure;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(invite))
        .routes(routes!(suspend))
        .routes(routes!(resume))
        .routes(routes!(remove))
        .routes(routes!(list))
        .routes(routes!(accept))
        .routes(routes!(leave))
        .routes(routes!(prefer))
}

/// Invites a user of the installation into the caller's organization. The answer is the same whether or not there is one.
#[utoipa::path(post, path = "/members", tag = "members", request_body = Invitation, responses((status = 202)))]
async fn invite(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(invitation): Body<Invitation>,
) -> Result<StatusCode, Failure> {
    core.invite_member(&ctx, &invitation.username).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Keeps a member out of the caller's organization for a while.
#[utoipa::path(post, path = "/members/{id}/suspend", tag = "members", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn suspend(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Failure> {
    core.suspend_member(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a suspended member in again.
#[utoipa::path(post, path = "/members/{id}/resume", tag = "members", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn resume(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Failure> {
    core.resume_member(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a membership: roles and API keys in the organization end at once. The user stays.
#[utoipa::path(post, path = "/members/{id}/remove", tag = "members", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn remove(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Failure> {
    core.remove_member(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists where the caller belongs, and where it is invited.
#[utoipa::path(get, path = "/me/memberships", tag = "me", responses((status = 200, body = Memberships)))]
async fn list(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<Json<Memberships>, Failure> {
    let items = core.list_memberships(&ctx).await?.into_iter().map(view).collect();
    Ok(Json(Memberships { items }))
}

/// Joins an organization that has invited the caller.
#[utoipa::path(post, path = "/me/memberships/{id}/accept", tag = "me", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn accept(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
) -> Result<StatusCode, Failure> {
    core.accept_membership(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leaves an organization, or turns its invitation down.
#[utoipa::path(post, path = "/me/memberships/{id}/leave", tag = "me", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn leave(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
) -> Result<StatusCode, Failure> {
    core.leave_organization(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes an organization the one that calls work in which name none.
#[utoipa::path(post, path = "/me/memberships/{id}/prefer", tag = "me", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn prefer(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
) -> Result<StatusCode, Failure> {
    core.prefer_organization(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(row: memberships::Membership) -> Membership {
    Membership {
        organization_id: row.organization_id.into(),
        code: row.org_code,
        name: row.org_name,
        status: row.status,
        is_primary: row.is_primary,
        joined_at: row.joined_at,
    }
}
