//! `GET /ca/{authority}.crt` (DER, RFC 2585) and `.pem`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_core::Core;
use clm_types::ErrorCode;

use super::cached::Cached;
use super::{Trouble, authority_in};
use crate::{etag, pem};

pub(super) async fn serve(
    State(core): State<Arc<Core>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let der = authority_in(&file, ".crt").or_else(|| authority_in(&file, ".cer"));
    let (authority, is_pem) = match der {
        Some(authority) => (Some(authority), false),
        None => (authority_in(&file, ".pem"), true),
    };
    let authority = authority.ok_or(Trouble(ErrorCode::NotFound))?;
    let bytes = core.authority_certificate(authority).await?;
    let (bytes, content_type) = if is_pem {
        let text = pem::certificate(&STANDARD.encode(bytes));
        (text.into_bytes(), "application/x-pem-file")
    } else {
        (bytes, "application/pkix-cert")
    };
    let cached = Cached {
        tag: etag::tag_of(&bytes),
        bytes: bytes.into(),
        content_type,
        this_update: None,
        next_update: None,
    };
    Ok(cached.answer(&headers, core.clock.now()))
}
