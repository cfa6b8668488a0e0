//! `POST /ocsp/{authority}` and `GET /ocsp/{authority}/{base64}` (RFC 6960 appendix A).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use clm_core::Core;
use clm_types::{AuthorityId, ErrorCode};

use super::Trouble;
use super::cached::Cached;
use crate::etag;

const REQUEST: &str = "application/ocsp-request";
const RESPONSE: &str = "application/ocsp-response";
/// Clients differ in whether they pad.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) async fn answer_post(
    State(core): State<Arc<Core>>,
    Path(authority): Path<AuthorityId>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Trouble> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_none_or(|essence| !essence.eq_ignore_ascii_case(REQUEST)) {
        return Err(Trouble(ErrorCode::UnsupportedMediaType));
    }
    let reply = core.ocsp(authority, &body).await?;
    Ok(([(CONTENT_TYPE, RESPONSE)], reply.der).into_response())
}

pub(super) async fn answer_get(
    State(core): State<Arc<Core>>,
    Path((authority, request)): Path<(AuthorityId, String)>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    // What is no base64 is a malformed request, and has an OCSP answer.
    let request = LENIENT.decode(request.as_bytes()).unwrap_or_default();
    let reply = core.ocsp(authority, &request).await?;
    if reply.next_update.is_none() {
        return Ok(([(CONTENT_TYPE, RESPONSE)], reply.der).into_response());
    }
    let cached = Cached {
        tag: etag::tag_of(&reply.der),
        bytes: reply.der.into(),
        content_type: RESPONSE,
        this_update: None,
        next_update: reply.next_update,
    };
    Ok(cached.answer(&headers, core.clock.now()))
}

/// The answer of a service that is too busy to look.
pub(super) fn try_later() -> Response {
    ([(CONTENT_TYPE, RESPONSE)], clm_core::validation::try_later()).into_response()
}
