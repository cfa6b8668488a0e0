//! `GET /api/v1/me`: who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use clm_api::me::Me;
use clm_core::Core;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Edge;
use crate::extract::Caller;
use crate::failure::Failure;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Shows who the caller is, where it works and what it may do there.
#[utoipa::path(get, path = "/me", tag = "me", responses((status = 200, body = Me)))]
async fn show(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<Json<Me>, Failure> {
    let username = match ctx.actor.user_id {
        Some(id) => Some(core.show_user(&ctx, id).await?.username),
        None => None,
    };
    let session = ctx.actor.session;
    Ok(Json(Me {
        user_id: ctx.actor.user_id,
        username,
        api_key_id: ctx.actor.api_key_id,
        session_id: session.map(|session| session.id),
        factor_at: session.and_then(|session| session.factor_at),
        missing_factor: session
            .and_then(|session| session.missing)
            .map(|missing| missing.as_str().to_owned()),
        organization_id: ctx.organization_id,
        permissions: ctx.actor.permissions.iter().map(|one| one.to_string()).collect(),
    }))
}
