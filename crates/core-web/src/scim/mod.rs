//! `/scim/v2`: provisioning of users and groups by an identity provider (RFC 7643, RFC 7644), for the organization of the API
//! key that is used. Its bodies are described by `/scim/v2/Schemas`.

mod body;
mod discovery;
mod failure;
mod filter;
mod groups;
mod list;
mod patch;
mod shown;
mod users;
mod version;

use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::{Edge, PublicUrl};

pub(crate) use failure::{MEDIA_TYPE, ScimType, error_body};

/// Where it all lies.
const BASE: &str = "/scim/v2";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().merge(discovery::router()).merge(users::router()).merge(groups::router())
}

/// Whether refusals at this address are SCIM errors and no problem documents.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with("/scim/")
}

/// The address of a resource.
fn location(url: &PublicUrl, resources: &str, id: &str) -> String {
    format!("{}{BASE}/{resources}/{id}", url.0)
}

/// A JSON answer.
fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response()
}

/// An answer with one resource: its version as `ETag`, and where it is, as its `meta` says.
fn resource(status: StatusCode, whole: &Value, shown: &Value) -> Response {
    let mut response = answer(status, shown);
    for (name, pointer) in [(ETAG, "/meta/version"), (LOCATION, "/meta/location")] {
        let value = whole.pointer(pointer).and_then(Value::as_str);
        let value = value.and_then(|text| HeaderValue::from_str(text).ok());
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The object with one more member.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.insert(name.to_owned(), value);
    }
    object
}

/// A list, or a part of one.
fn list_response(total: i64, start: u32, resources: &[Value]) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}
