//! The gate in front of every handler: credentials, permission, body limit, idempotency. It obeys the table in
//! [`crate::routes`]; a route that is not in it cannot be reached.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clm_core::{Core, Ctx};
use clm_types::{ErrorCode, OrganizationId, Refusal};

use crate::failure::Failure;
use crate::idempotency;
use crate::routes::{self, Access, Idempotency, Route};
use crate::surroundings::{MAX_BODY_BYTES, RequestId, too_large};

/// The organization that a caller with several of them means.
const ORGANIZATION_HEADER: &str = "clm-organization";

/// The layer.
pub(crate) async fn guard(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    match pass(&core, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn pass(core: &Arc<Core>, request: Request, next: Next) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let Some(route) = route_of(&parts) else {
        return Ok(not_allowed(&parts));
    };
    let ctx = match route.access {
        Access::Public => None,
        Access::SignedIn => Some(authenticate(core, &parts).await?),
        Access::Permission(permission) => {
            let ctx = authenticate(core, &parts).await?;
            ctx.require(permission)?;
            Some(ctx)
        }
    };
    if matches!(parts.method, Method::GET | Method::HEAD) {
        if let Some(ctx) = ctx {
            parts.extensions.insert(ctx);
        }
        return Ok(next.run(Request::from_parts(parts, Body::empty())).await);
    }
    // The whole body, up to the limit, before anything is done with it.
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| too_large())?;
    let request = Request::from_parts(parts, Body::from(body.clone()));
    match ctx {
        Some(ctx) => guarded(core, route, ctx, request, &body, next).await,
        None => Ok(next.run(request).await),
    }
}

async fn guarded(
    core: &Arc<Core>,
    route: &'static Route,
    mut ctx: Ctx,
    mut request: Request,
    body: &Bytes,
    next: Next,
) -> Result<Response, Failure> {
    let key = match route.idempotency {
        Idempotency::None => None,
        Idempotency::Accepted | Idempotency::Required => {
            idempotency::key(request.headers())?.map(str::to_owned)
        }
    };
    let digest = idempotency::digest(request.uri(), body);
    match (route.idempotency, key) {
        (Idempotency::Required, None) => Err(idempotency::missing_key()),
        // The rule itself makes the operation once: its id is unique in the database.
        (Idempotency::Required, Some(key)) => {
            ctx.asked = Some(idempotency::operation(&ctx, route, &key, digest));
            request.extensions_mut().insert(ctx);
            Ok(next.run(request).await)
        }
        (_, Some(key)) => {
            request.extensions_mut().insert(ctx.clone());
            idempotency::run_once(core, &ctx, (route, &key, digest), || next.run(request)).await
        }
        (_, None) => {
            request.extensions_mut().insert(ctx);
            Ok(next.run(request).await)
        }
    }
}

fn route_of(parts: &Parts) -> Option<&'static Route> {
    let path = parts.extensions.get::<MatchedPath>()?;
    routes::find(parts.method.as_str(), path.as_str())
}

/// A method that is not in the table, whether or not there is a handler for it.
fn not_allowed(parts: &Parts) -> Response {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let methods = routes::methods(path).join(", ");
    let detail = format!("this address takes {methods}");
    let mut response = Failure::new(ErrorCode::MethodNotAllowed, detail).into_response();
    if let Ok(value) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

async fn authenticate(core: &Core, parts: &Parts) -> Result<Ctx, Failure> {
    let token = bearer(&parts.headers)?;
    let organization = organization(&parts.headers)?;
    let id = parts.extensions.get::<RequestId>().map_or_else(uuid::Uuid::nil, |id| id.0);
    Ok(core.authenticate(token, organization, id, address(parts)).await?)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let value = headers.get(AUTHORIZATION).ok_or_else(|| {
        Refusal::new(ErrorCode::Unauthenticated, "the header Authorization is missing")
            .hint("send `Authorization: Bearer <API key>`")
    })?;
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Failure::new(
            ErrorCode::Unauthenticated,
            "the header Authorization is not `Bearer <API key>`",
        )),
    }
}

fn organization(headers: &HeaderMap) -> Result<Option<OrganizationId>, Failure> {
    let Some(value) = headers.get(ORGANIZATION_HEADER) else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        Failure::new(
            ErrorCode::OrganizationNotFound,
            "the header CLM-Organization holds no organization id (a UUID)",
        )
    })
}

fn address(parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.0.ip().to_canonical())
}
