//! What there is, and how it is described (RFC 7644 §4).

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use clm_core::provisioning::LARGEST_WINDOW;
use clm_types::ErrorCode;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::failure::ScimFailure;
use super::{GROUP, USER, answer, error_body, list_response, location, with};
use crate::failure::Failure;
use crate::{Edge, PublicUrl};

static SCHEMAS: LazyLock<Vec<Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("schemas.json")).unwrap_or_default());

pub(super) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(configuration))
        .routes(routes!(resource_types))
        .routes(routes!(resource_type))
        .routes(routes!(schemas))
        .routes(routes!(schema))
        .routes(routes!(search))
}

/// Says what of SCIM is supported.
#[utoipa::path(get, path = "/ServiceProviderConfig", tag = "scim",
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn configuration(State(url): State<PublicUrl>) -> Response {
    let no = json!({"supported": false});
    let yes = json!({"supported": true});
    let body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": yes,
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": LARGEST_WINDOW},
        "changePassword": no,
        "sort": no,
        "etag": yes,
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "API key",
            "description": "An API key with the permission user:provision, as a bearer token",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{}{}/ServiceProviderConfig", url.0, super::BASE),
        },
    });
    answer(StatusCode::OK, &body)
}

/// Lists the kinds of resources.
#[utoipa::path(get, path = "/ResourceTypes", tag = "scim",
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn resource_types(State(url): State<PublicUrl>) -> Response {
    let all = all_types(&url);
    answer(StatusCode::OK, &list_response(2, 1, &all))
}

/// Describes a kind of resource.
#[utoipa::path(get, path = "/ResourceTypes/{name}", tag = "scim", params(("name" = String, Path)),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn resource_type(
    State(url): State<PublicUrl>,
    Path(name): Path<String>,
) -> Result<Response, ScimFailure> {
    let found = all_types(&url).into_iter().find(|one| one.get("id").is_some_and(|id| *id == name));
    Ok(answer(StatusCode::OK, &found.ok_or_else(nothing)?))
}

/// Lists the schemas: what resources consist of.
#[utoipa::path(get, path = "/Schemas", tag = "scim",
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn schemas(State(url): State<PublicUrl>) -> Response {
    let all: Vec<Value> = SCHEMAS.iter().map(|one| with_meta(&url, one)).collect();
    let total = i64::try_from(all.len()).unwrap_or_default();
    answer(StatusCode::OK, &list_response(total, 1, &all))
}

/// Shows a schema.
#[utoipa::path(get, path = "/Schemas/{name}", tag = "scim", params(("name" = String, Path)),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn schema(State(url): State<PublicUrl>, Path(name): Path<String>) -> Result<Response, ScimFailure> {
    let found = SCHEMAS.iter().find(|one| one.get("id").is_some_and(|id| *id == name));
    Ok(answer(StatusCode::OK, &with_meta(&url, found.ok_or_else(nothing)?)))
}

/// Says that users and groups are not searched together: ask `/Users` or `/Groups`.
#[utoipa::path(post, path = "/.search", tag = "scim",
    responses((status = 501, description = "Not implemented", body = Value, content_type = "application/scim+json")))]
async fn search() -> Response {
    let detail = "users and groups are not searched together: GET /scim/v2/Users or /scim/v2/Groups";
    let failure = Failure::new(ErrorCode::MethodNotAllowed, detail);
    let status = StatusCode::NOT_IMPLEMENTED;
    answer(status, &error_body(&failure.0, status, None))
}

fn all_types(url: &PublicUrl) -> Vec<Value> {
    [("User", "Users", USER), ("Group", "Groups", GROUP)]
        .map(|(name, resources, schema)| {
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
                "id": name,
                "name": name,
                "description": format!("{resources} of the organization"),
                "endpoint": format!("/{resources}"),
                "schema": schema,
                "meta": {"resourceType": "ResourceType", "location": location(url, "ResourceTypes", name)},
            })
        })
        .to_vec()
}

fn with_meta(url: &PublicUrl, schema: &Value) -> Value {
    let id = schema.get("id").and_then(Value::as_str).unwrap_or_default();
    let meta = json!({"resourceType": "Schema", "location": location(url, "Schemas", id)});
    with(schema.clone(), "meta", meta)
}

fn nothing() -> Failure {
    Failure::new(ErrorCode::NotFound, "there is nothing of this name")
}
