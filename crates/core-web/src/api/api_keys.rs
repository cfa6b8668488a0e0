//! `/api/v1/api-keys`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::response::Response;
use chrono::TimeDelta;
use clm_api::Page;
use clm_api::api_keys::{ApiKey, ApiKeyQuery, ApiKeyRotation, CreatedApiKey, NewApiKey};
use clm_core::tokens::Token;
use clm_core::{Core, api_keys};
use clm_types::ApiKeyId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, etag, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(revoke))
        .routes(routes!(rotate))
}

/// Makes an API key. The answer holds its secret, which is shown this once and not stored.
#[utoipa::path(post, path = "/api-keys", tag = "api-keys", request_body = NewApiKey,
    responses((status = 201, body = CreatedApiKey)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewApiKey>,
) -> Result<Response, Failure> {
    let new = api_keys::NewApiKey {
        name: new.name,
        user_id: new.user_id,
        service: new.service,
        everywhere: new.everywhere,
        scopes: new.scopes,
        allowed_addresses: new.allowed_addresses,
        expires_at: new.expires_at,
    };
    Ok(created(core.create_api_key(&ctx, &new).await?))
}

/// Makes another key with the same user, scopes, networks and lifetime; the old one ends after a while.
#[utoipa::path(post, path = "/api-keys/{id}/rotate", tag = "api-keys", params(("id" = Uuid, Path)),
    request_body = ApiKeyRotation, responses((status = 201, body = CreatedApiKey)))]
async fn rotate(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<ApiKeyId>,
    Body(rotation): Body<ApiKeyRotation>,
) -> Result<Response, Failure> {
    let overlap =
        rotation.overlap_seconds.map_or(TimeDelta::days(1), |seconds| TimeDelta::seconds(seconds.into()));
    Ok(created(core.rotate_api_key(&ctx, id, overlap).await?))
}

fn created((made, secret): (api_keys::ApiKey, Token)) -> Response {
    let location = format!("/api/v1/api-keys/{}", made.id);
    let body = CreatedApiKey { api_key: view(made), secret: secret.expose().to_owned() };
    answer::shown_once(answer::created(&location, None, body))
}

/// Lists API keys of the caller's organization, newest first; without `api_key:read` one's own, and of a restricted key itself
/// alone.
#[utoipa::path(get, path = "/api-keys", tag = "api-keys", params(ApiKeyQuery),
    responses((status = 200, body = Page<ApiKey>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ApiKeyQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_api_keys(&ctx, (query.user, query.workload_rule), page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows an API key, without its secret.
#[utoipa::path(get, path = "/api-keys/{id}", tag = "api-keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = ApiKey)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<ApiKeyId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // Its version does not count its use.
    etag::digested(&view(core.show_api_key(&ctx, id).await?), &headers)
}

/// Ends an API key at once.
#[utoipa::path(post, path = "/api-keys/{id}/revoke", tag = "api-keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = ApiKey)))]
async fn revoke(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<ApiKeyId>,
    headers: HeaderMap,
) -> Result<Json<ApiKey>, Failure> {
    if headers.contains_key(IF_MATCH) {
        etag::check_digest(&view(core.show_api_key(&ctx, id).await?), &headers)?;
    }
    Ok(Json(view(core.revoke_api_key(&ctx, id).await?)))
}

fn view(row: api_keys::ApiKey) -> ApiKey {
    ApiKey {
        id: row.id.into(),
        prefix: row.key_prefix,
        name: row.name,
        user_id: row.user_id.into(),
        organization_id: row.organization_id.map(Into::into),
        scopes: super::texts(&row.scopes),
        allowed_addresses: row.allowed_addresses,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
        created_at: row.created_at,
        version: row.version,
        workload_rule_id: row.workload_rule_id.map(Into::into),
        workload_subject: row.workload_subject,
    }
}
