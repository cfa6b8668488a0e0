//! `GET /crl/{authority}.crl` (RFC 5280, RFC 2585).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_core::Core;
use clm_types::ErrorCode;

use super::cached::Cached;
use super::{Trouble, authority_in};

pub(super) async fn serve(
    State(core): State<Arc<Core>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let authority = authority_in(&file, ".crl").ok_or(Trouble(ErrorCode::NotFound))?;
    let crl = core.crl(authority).await?;
    let cached = Cached {
        bytes: crl.der.clone(),
        content_type: "application/pkix-crl",
        this_update: Some(crl.this_update),
        next_update: Some(crl.next_update),
    };
    Ok(cached.answer(&headers, core.clock.now()))
}
