//! `/api/v1/sessions`, passwords and one-time links.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, OriginalUri, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use clm_api::Page;
use clm_api::sessions::{
    LinkUse, NewSession, NewToken, PasswordChange, Session, SessionQuery, SessionsEnd, SessionsEnded,
    ShownFactor, SignedIn,
};
use clm_core::second_factors::Factor;
use clm_core::sign_in::Visitor;
use clm_core::{Core, sessions, sign_in};
use clm_types::{ErrorCode, SessionId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::passkeys::assertion;
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::idempotency::to_the_end;
use crate::surroundings::RequestId;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(revoke))
        .routes(routes!(revoke_all))
        .routes(routes!(show_factor))
        .routes(routes!(change_password))
        .routes(routes!(use_link))
}

/// Who is not known yet.
pub(super) fn visitor(id: &RequestId, peer: Option<SocketAddr>, headers: &HeaderMap) -> Visitor {
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    Visitor {
        request_id: id.0,
        address: peer.map(|peer| peer.ip().to_canonical()),
        user_agent: user_agent.map(str::to_owned),
    }
}

/// Signs in with name and password. Every failure gets the same answer.
#[utoipa::path(post, path = "/sessions", tag = "sessions", request_body = NewSession,
    responses((status = 201, body = SignedIn)))]
async fn create(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Body(body): Body<NewSession>,
) -> Result<Response, Failure> {
    let password = Zeroizing::new(body.password);
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    let made = to_the_end(async move { core.sign_in(&body.username, password, &visitor).await }).await?;
    Ok(signed_in(&made))
}

/// The answer to whoever has signed in.
pub(super) fn signed_in(made: &sign_in::SignedIn) -> Response {
    let body = SignedIn {
        session_id: SessionId(made.session.id),
        token: made.token.expose().to_owned(),
        expires_at: made.session.expires_at,
        missing_factor: made.missing.map(|missing| missing.as_str().to_owned()),
    };
    answer::shown_once((StatusCode::CREATED, Json(body)))
}

/// Lists open sessions, newest first: one's own, or those of a user of the organization.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionQuery),
    responses((status = 200, body = Page<Session>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<SessionQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_sessions(&ctx, query.user_id, page).await?;
    let current = ctx.actor.session.map(|session| session.id);
    Ok(paging::answer(&uri, found, |row| view(row, current)))
}

/// Ends a session at once.
#[utoipa::path(post, path = "/sessions/{id}/revoke", tag = "sessions", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn revoke(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<SessionId>,
) -> Result<StatusCode, Failure> {
    core.revoke_session(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of a user at once; of one's own all but the one in use.
#[utoipa::path(post, path = "/sessions/revoke", tag = "sessions", request_body = SessionsEnd,
    responses((status = 200, body = SessionsEnded)))]
async fn revoke_all(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(end): Body<SessionsEnd>,
) -> Result<Json<SessionsEnded>, Failure> {
    Ok(Json(SessionsEnded { ended: core.revoke_sessions(&ctx, end.user_id).await? }))
}

/// Shows a second factor: completes the sign-in, or makes it fresh for five minutes. The token changes.
#[utoipa::path(post, path = "/sessions/current/factor", tag = "sessions", request_body = ShownFactor,
    responses((status = 200, body = NewToken)))]
async fn show_factor(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(shown): Body<ShownFactor>,
) -> Result<Response, Failure> {
    let factor = match (shown.totp, shown.recovery_code, shown.passkey) {
        (Some(digits), None, None) => Factor::Totp(Zeroizing::new(digits)),
        (None, Some(text), None) => Factor::RecoveryCode(Zeroizing::new(text)),
        (None, None, Some(credential)) => Factor::Passkey(assertion(&credential, "/passkey")?),
        _ => {
            let detail = "send one of totp, recovery_code and passkey";
            return Err(Failure::new(ErrorCode::InvalidRequest, detail));
        }
    };
    let token = to_the_end(async move { core.show_factor(&ctx, &factor).await }).await?;
    Ok(answer::shown_once(Json(NewToken { token: token.expose().to_owned() })))
}

/// Changes the caller's password, or sets the first one. All other sessions of the caller end.
#[utoipa::path(post, path = "/me/password", tag = "me", request_body = PasswordChange,
    responses((status = 204)))]
async fn change_password(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(change): Body<PasswordChange>,
) -> Result<StatusCode, Failure> {
    let current = change.current_password.map(Zeroizing::new);
    let new = Zeroizing::new(change.password);
    to_the_end(async move { core.change_password(&ctx, current, &new).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the password of the user for whom a one-time link was made.
#[utoipa::path(post, path = "/links/use", tag = "sessions", request_body = LinkUse,
    responses((status = 204)))]
async fn use_link(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Body(body): Body<LinkUse>,
) -> Result<StatusCode, Failure> {
    let (token, password) = (Zeroizing::new(body.token), Zeroizing::new(body.password));
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    core.use_link(&token, &password, &visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(row: sessions::Session, current: Option<SessionId>) -> Session {
    Session {
        id: row.id.into(),
        user_id: row.user_id.into(),
        sign_in_method: row.sign_in_method,
        address: row.ip_address,
        user_agent: row.user_agent,
        factor_at: row.mfa_at,
        last_seen_at: row.last_seen_at,
        expires_at: row.expires_at,
        created_at: row.created_at,
        current: current == Some(SessionId(row.id)),
    }
}
