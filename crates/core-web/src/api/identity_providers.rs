//! `/api/v1/identity-providers`, signing in by them, and `/api/v1/me/identities`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use clm_api::Page;
use clm_api::identity_providers::{
    BackChannelLogout, Callback, Departure, DepartureUrl, ExternalIdentity, IdentityProvider, Return,
};
use clm_api::sessions::SignedIn;
use clm_core::{Core, external_identities, identity_providers};
use clm_types::{ErrorCode, ExternalIdentityId};
use url::form_urlencoded;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions::{signed_in, visitor};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::idempotency::to_the_end;
use crate::surroundings::RequestId;
use crate::{Edge, answer};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(begin))
        .routes(routes!(callback))
        .routes(routes!(sign_in))
        .routes(routes!(log_out))
        .routes(routes!(begin_link))
        .routes(routes!(add_link, list_links))
        .routes(routes!(remove_link))
}

/// Lists the OpenID providers by which people sign in.
#[utoipa::path(get, path = "/identity-providers", tag = "sessions",
    responses((status = 200, body = Page<IdentityProvider>)))]
async fn list(State(core): State<Arc<Core>>) -> Json<Page<IdentityProvider>> {
    let names = core.list_identity_providers().into_iter();
    let items = names.map(|name| IdentityProvider { name: name.to_owned() }).collect();
    Json(Page { items, next_cursor: None })
}

/// Where to send a browser in which somebody signs in. It comes back to the caller's port with `code` and `state`, or `error`.
#[utoipa::path(post, path = "/sessions/oidc/start", tag = "sessions", request_body = Departure,
    responses((status = 200, body = DepartureUrl)))]
async fn begin(
    State(core): State<Arc<Core>>,
    Body(departure): Body<Departure>,
) -> Result<Json<DepartureUrl>, Failure> {
    let url = core.begin_external_sign_in(&departure_of(departure)).await?;
    Ok(Json(DepartureUrl { url }))
}

/// Where providers send browsers back to: it sends them on to the port of the caller who sent them.
#[utoipa::path(get, path = "/identity-providers/{name}/callback", tag = "sessions",
    params(("name" = String, Path), Callback),
    responses((status = 303, description = "To 127.0.0.1 at the caller's port.")))]
async fn callback(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    Query(back): Query<Callback>,
) -> Result<Response, Failure> {
    let waiting = core.port_of_state(&name, &back.state)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("state", &back.state);
    match (&back.code, &back.error) {
        (Some(text), _) => query.append_pair("code", text),
        (None, error) => query.append_pair("error", error.as_deref().unwrap_or("no_code")),
    };
    let headers = [
        (LOCATION, format!("http://127.0.0.1:{waiting}/?{}", query.finish())),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Signs in with what a provider gave.
#[utoipa::path(post, path = "/sessions/oidc", tag = "sessions", request_body = Return,
    responses((status = 201, body = SignedIn)))]
async fn sign_in(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Body(back): Body<Return>,
) -> Result<Response, Failure> {
    let back = return_of(back);
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    let made = to_the_end(async move { core.sign_in_externally(&back, &visitor).await }).await?;
    Ok(signed_in(&made))
}

/// Ends sessions that a provider has ended (OpenID Connect Back-Channel Logout 1.0).
#[utoipa::path(post, path = "/identity-providers/{name}/logout", tag = "sessions", params(("name" = String, Path)),
    request_body(content = BackChannelLogout, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The sessions have ended, if there were any.")))]
async fn log_out(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let token = form_urlencoded::parse(&body).find(|(name, _)| name == "logout_token");
    let (_, token) = token
        .ok_or_else(|| Failure::new(ErrorCode::InvalidRequest, "the body is a form with a `logout_token`"))?;
    let token = token.into_owned();
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    let sessions =
        to_the_end(async move { core.end_external_sessions(&name, &token, &visitor).await }).await?;
    tracing::info!(sessions, "a provider has ended sessions");
    Ok(([(CACHE_CONTROL, "no-store")], StatusCode::OK).into_response())
}

/// Where to send the caller's browser to link a provider.
#[utoipa::path(post, path = "/me/identities/start", tag = "me", request_body = Departure,
    responses((status = 200, body = DepartureUrl)))]
async fn begin_link(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(departure): Body<Departure>,
) -> Result<Json<DepartureUrl>, Failure> {
    let url = core.begin_external_identity(&ctx, &departure_of(departure)).await?;
    Ok(Json(DepartureUrl { url }))
}

/// Links whom a provider means to the caller.
#[utoipa::path(post, path = "/me/identities", tag = "me", request_body = Return,
    responses((status = 201, body = ExternalIdentity)))]
async fn add_link(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(back): Body<Return>,
) -> Result<Response, Failure> {
    let back = return_of(back);
    let made = to_the_end(async move { core.add_external_identity(&ctx, &back).await }).await?;
    Ok(answer::shown_once((StatusCode::CREATED, Json(view(made)))))
}

/// Lists the caller's links to providers, newest first: all of them.
#[utoipa::path(get, path = "/me/identities", tag = "me",
    responses((status = 200, body = Page<ExternalIdentity>)))]
async fn list_links(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
) -> Result<Json<Page<ExternalIdentity>>, Failure> {
    let found = core.list_external_identities(&ctx).await?;
    Ok(Json(Page { items: found.into_iter().map(view).collect(), next_cursor: None }))
}

/// Removes a link of the caller; sessions that it opened end.
#[utoipa::path(delete, path = "/me/identities/{id}", tag = "me", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn remove_link(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<ExternalIdentityId>,
) -> Result<StatusCode, Failure> {
    core.remove_external_identity(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn departure_of(departure: Departure) -> identity_providers::Departure {
    identity_providers::Departure {
        provider: departure.provider,
        code_challenge: departure.code_challenge,
        port: departure.port,
        fresh: departure.fresh,
    }
}

fn return_of(back: Return) -> identity_providers::Return {
    identity_providers::Return { code: back.code, state: back.state, code_verifier: back.code_verifier }
}

fn view(row: external_identities::ExternalIdentity) -> ExternalIdentity {
    ExternalIdentity {
        id: row.id.into(),
        provider: row.provider,
        issuer: row.issuer,
        subject: row.subject,
        last_used_at: row.last_used_at,
        created_at: row.created_at,
    }
}
