//! How SCIM refuses (RFC 7644 §3.12).

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clm_core::CoreError;
use clm_core::provisioned_users::NAME_FIELD;
use clm_types::{ErrorCode, Refusal};
use serde_json::{Value, json};

use super::with;
use crate::failure::Failure;

/// Of bodies, both ways.
pub(crate) const MEDIA_TYPE: &str = "application/scim+json";

/// The `scimType` of an error, where its code does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScimType(pub(crate) &'static str);

/// A failed request, with its `scimType`.
#[derive(Debug)]
pub(super) struct ScimFailure {
    failure: Failure,
    scim_type: Option<ScimType>,
}

impl ScimFailure {
    fn new(scim_type: &'static str, detail: impl Into<String>) -> Self {
        let failure = Failure::new(ErrorCode::InvalidRequest, detail);
        Self { failure, scim_type: Some(ScimType(scim_type)) }
    }

    /// A body that is not what it should be.
    pub(super) fn syntax(detail: impl Into<String>) -> Self {
        Self::new("invalidSyntax", detail)
    }

    /// A filter that is not understood.
    pub(super) fn filter(detail: impl Into<String>) -> Self {
        Self::new("invalidFilter", detail)
    }

    /// A path of a change that is not understood.
    pub(super) fn path(detail: impl Into<String>) -> Self {
        Self::new("invalidPath", detail)
    }

    /// A value that an attribute cannot have.
    pub(super) fn value(detail: impl Into<String>) -> Self {
        Self::new("invalidValue", detail)
    }

    /// More than is done in one call.
    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Self::new("tooMany", detail)
    }

    #[cfg(test)]
    pub(super) fn kind(&self) -> Option<&'static str> {
        self.scim_type.map(|kind| kind.0)
    }
}

impl From<Failure> for ScimFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, scim_type: None }
    }
}

impl From<Refusal> for ScimFailure {
    fn from(refusal: Refusal) -> Self {
        Failure::from(refusal).into()
    }
}

impl From<CoreError> for ScimFailure {
    fn from(error: CoreError) -> Self {
        Failure::from(error).into()
    }
}

impl IntoResponse for ScimFailure {
    fn into_response(self) -> Response {
        let mut response = self.failure.into_response();
        if let Some(scim_type) = self.scim_type {
            response.extensions_mut().insert(scim_type);
        }
        response
    }
}

/// The body of a refusal, for the outermost layer.
pub(crate) fn error_body(refusal: &Refusal, status: StatusCode, known: Option<ScimType>) -> Value {
    let detail = match &refusal.hint {
        Some(hint) => format!("{}: {hint}", refusal.detail),
        None => refusal.detail.clone(),
    };
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": status.as_u16().to_string(),
        "detail": detail,
    });
    match known.or_else(|| of_refusal(refusal)) {
        Some(ScimType(name)) => with(body, "scimType", json!(name)),
        None => body,
    }
}

fn of_refusal(refusal: &Refusal) -> Option<ScimType> {
    match (refusal.code, refusal.field.as_deref()) {
        (ErrorCode::AlreadyExists, _) => Some(ScimType("uniqueness")),
        (ErrorCode::InvalidRequest, Some(NAME_FIELD)) => Some(ScimType("mutability")),
        (ErrorCode::InvalidRequest, Some("/startIndex" | "/count")) => Some(ScimType("tooMany")),
        (ErrorCode::InvalidRequest, _) => Some(ScimType("invalidValue")),
        _ => None,
    }
}
