//! `/api/v1/users`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use clm_api::Page;
use clm_api::page::PageQuery;
use clm_api::sessions::{NewLink, OneTimeLink};
use clm_api::users::{Access, AccessQuery, AccessReason, NewUser, User, UserChange};
use clm_core::{Core, users};
use clm_types::{ErrorCode, Permission, Refusal, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::etag::{IfMatch, OptionalIfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, update))
        .routes(routes!(explain_access))
        .routes(routes!(disable))
        .routes(routes!(enable))
        .routes(routes!(delete))
        .routes(routes!(unlock))
        .routes(routes!(create_link))
        .routes(routes!(remove_factors))
}

/// Makes a user of the caller's organization, without roles.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = User)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewUser>,
) -> Result<Response, Failure> {
    let new = users::NewUser {
        username: new.username,
        email: new.email,
        display_name: new.display_name,
        invited: new.invited,
    };
    let made = core.create_user(&ctx, &new).await?;
    let location = format!("/api/v1/users/{}", made.id);
    Ok(answer::created(&location, Some(made.version), view(made)))
}

/// Lists the members of the caller's organization, newest first.
#[utoipa::path(get, path = "/users", tag = "users", params(PageQuery),
    responses((status = 200, body = Page<User>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_users(&ctx, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows a user.
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = User)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(versioned(core.show_user(&ctx, id).await?).answer(&headers))
}

/// Says whether a user may do something here now, and why. An API key's scopes may allow less.
#[utoipa::path(get, path = "/users/{id}/access", tag = "users", params(("id" = Uuid, Path), AccessQuery),
    responses((status = 200, body = Access)))]
async fn explain_access(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    Query(query): Query<AccessQuery>,
) -> Result<Json<Access>, Failure> {
    let permission = query.permission.parse().map_err(|_| {
        let known = Permission::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
        Refusal::new(ErrorCode::InvalidRequest, "this is not a permission").hint(format!("one of {known}"))
    })?;
    let access = core.explain_access(&ctx, id, permission, query.object).await?;
    let reasons = access.reasons.into_iter().map(|one| AccessReason { holds: one.holds, text: one.text });
    Ok(Json(Access { allowed: access.allowed, reasons: reasons.collect() }))
}

/// Changes address and name of a user.
#[utoipa::path(put, path = "/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    request_body = UserChange, responses((status = 200, body = User)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    condition: IfMatch,
    Body(change): Body<UserChange>,
) -> Result<Versioned<User>, Failure> {
    let current = async { Ok(core.show_user(&ctx, id).await?.version) };
    let version = condition.version(current).await?;
    let change = users::UserChange { email: change.email, display_name: change.display_name };
    Ok(versioned(core.update_user(&ctx, id, version, &change).await?))
}

/// Disables a user: API keys and sessions end at once.
#[utoipa::path(post, path = "/users/{id}/disable", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = User)))]
async fn disable(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    OptionalIfMatch(condition): OptionalIfMatch,
) -> Result<Versioned<User>, Failure> {
    let version = condition.version(async { Ok(core.show_user(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.disable_user(&ctx, id, version).await?))
}

/// Lets a disabled user in again.
#[utoipa::path(post, path = "/users/{id}/enable", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = User)))]
async fn enable(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    OptionalIfMatch(condition): OptionalIfMatch,
) -> Result<Versioned<User>, Failure> {
    let version = condition.version(async { Ok(core.show_user(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.enable_user(&ctx, id, version).await?))
}

/// Deletes a user: API keys, sessions and roles end at once. The name is never given to another user.
#[utoipa::path(delete, path = "/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    condition: IfMatch,
) -> Result<StatusCode, Failure> {
    let version = condition.version(async { Ok(core.show_user(&ctx, id).await?.version) }).await?;
    core.delete_user(&ctx, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the lock of a user after too many failed sign-ins.
#[utoipa::path(post, path = "/users/{id}/unlock", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = User)))]
async fn unlock(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
) -> Result<Versioned<User>, Failure> {
    Ok(versioned(core.unlock_user(&ctx, id).await?))
}

/// Makes a one-time link by which a user sets a password: an invitation, or a reset. Older links end. It is shown, or sent to
/// the user's address.
#[utoipa::path(post, path = "/users/{id}/links", tag = "users", params(("id" = Uuid, Path)), request_body = NewLink,
    responses((status = 201, body = OneTimeLink)))]
async fn create_link(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    Body(new): Body<NewLink>,
) -> Result<Response, Failure> {
    let (token, terms) = if new.send {
        (None, core.send_link(&ctx, id).await?)
    } else {
        let link = core.create_link(&ctx, id).await?;
        (Some(link.token.expose().to_owned()), link.terms)
    };
    let body = OneTimeLink { token, purpose: terms.purpose.to_owned(), expires_at: terms.expires_at };
    Ok(answer::shown_once((StatusCode::CREATED, Json(body))))
}

/// Takes the second factor from a user who has lost it. Sessions end at once.
#[utoipa::path(delete, path = "/users/{id}/factors", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn remove_factors(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Failure> {
    core.remove_factors(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn versioned(row: users::User) -> Versioned<User> {
    Versioned { version: row.version, body: view(row) }
}

fn view(row: users::User) -> User {
    User {
        id: row.id.into(),
        username: row.username,
        email: row.email,
        display_name: row.display_name,
        status: row.status,
        mfa_enabled: row.mfa_enabled,
        locked_until: row.locked_until,
        last_login_at: row.last_login_at,
        created_at: row.created_at,
        version: row.version,
    }
}
