//! Bodies and parameters whose faults are problem documents.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use clm_core::Ctx;
use clm_types::{ErrorCode, Refusal};
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A JSON body. An absent body counts as `{}` for types that can do with that.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = has_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Failure::new(ErrorCode::BodyTooLarge, "the body could not be read in full"))?;
        let octets: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        if !bytes.is_empty() && !is_json {
            return Err(Failure::new(ErrorCode::UnsupportedMediaType, "the body must be application/json"));
        }
        parse(octets).map(Self)
    }
}

fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Failure> {
    // A list of members in their order would be read as if they were named.
    if octets.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "the body is a JSON object").into());
    }
    serde_json::from_slice(octets).map_err(|error| {
        let detail = format!("the body cannot be read: {error}");
        Refusal::new(ErrorCode::InvalidRequest, detail).into()
    })
}

fn has_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The query parameters.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| invalid("the query", &error.body_text()))
    }
}

/// The variable part of the path. What is no identifier is not there: 404.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(id)| Self(id)).map_err(|_| {
            let detail = "the address holds no valid identifier (a UUID)";
            Refusal::new(ErrorCode::NotFound, detail).into()
        })
    }
}

/// Who calls: put there by [`crate::gate`], so a handler that takes it cannot be reached without credentials.
pub(crate) struct Caller(pub(crate) Ctx);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let ctx = parts.extensions.get::<Ctx>().cloned();
        ctx.map(Self).ok_or_else(|| Failure::new(ErrorCode::Unauthenticated, "no credentials were sent"))
    }
}

fn invalid(what: &str, fault: &str) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, format!("{what} cannot be read: {fault}"))
}
