//! `POST /api/v1/password-resets`: a new password for whoever forgot theirs.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use clm_api::password_resets::NewPasswordReset;
use clm_core::Core;
use clm_core::password_resets::Forgetful;
use clm_types::ErrorCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions::visitor;
use crate::Edge;
use crate::extract::Body;
use crate::failure::Failure;
use crate::surroundings::RequestId;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Sends a one-time link for a new password to the address on record, if there is such a user and e-mail suffices for them.
/// The answer is the same for everybody, and comes before anything is looked at.
#[utoipa::path(post, path = "/password-resets", tag = "sessions", request_body = NewPasswordReset,
    responses((status = 202)))]
async fn create(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Body(body): Body<NewPasswordReset>,
) -> Result<StatusCode, Failure> {
    let whose = match (body.username, body.email) {
        (Some(name), None) => Forgetful::Username(name),
        (None, Some(address)) => Forgetful::Email(address),
        _ => return Err(Failure::new(ErrorCode::InvalidRequest, "send one of username and email")),
    };
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    // It goes on by itself: who waited for it would learn from the time.
    drop(core.begin_password_reset(whose, visitor)?);
    Ok(StatusCode::ACCEPTED)
}
