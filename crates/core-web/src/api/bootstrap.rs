//! `POST /api/v1/bootstrap`: the first organization and administrator.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use clm_api::bootstrap::{BootstrapRequest, Bootstrapped};
use clm_core::Core;
use clm_core::bootstrap::NewInstallation;
use clm_core::organizations::NewOrganization;
use clm_core::users::NewUser;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Body;
use crate::failure::Failure;
use crate::surroundings::RequestId;
use crate::{Edge, answer};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Makes the first organization and its administrator, once, with the operator's one-time token.
#[utoipa::path(post, path = "/bootstrap", tag = "bootstrap", request_body = BootstrapRequest,
    responses((status = 201, body = Bootstrapped)))]
async fn create(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Body(body): Body<BootstrapRequest>,
) -> Result<Response, Failure> {
    let address = peer.map(|Extension(ConnectInfo(peer))| peer.ip().to_canonical());
    let new = NewInstallation {
        administrator: NewUser {
            username: body.username,
            email: body.email,
            display_name: body.display_name,
            invited: false,
        },
        organization: NewOrganization { code: body.organization_code, name: body.organization_name },
    };
    let made = core.bootstrap(&body.token, &new, id.0, address).await?;
    let view = Bootstrapped {
        user_id: made.user_id,
        organization_id: made.organization_id,
        api_key: made.api_key.expose().to_owned(),
    };
    Ok(answer::created("/api/v1/me", None, view))
}
