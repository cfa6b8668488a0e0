//! `/api/v1/users`.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_api::Page;
use clm_api::page::PageQuery;
use clm_api::users::{NewUser, User, UserChange};
use clm_core::{Core, users};
use clm_types::UserId;
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
        .routes(routes!(disable))
        .routes(routes!(enable))
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
        password: None,
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
        last_login_at: row.last_login_at,
        created_at: row.created_at,
        version: row.version,
    }
}
