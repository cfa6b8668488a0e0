//! `GET /crl/{authority}.crl` and, of parts of its certificates, `/crl/{authority}/{shard}.crl`; deltas are at
//! `/crl/{authority}/{shard}-delta.crl` (RFC 5280, RFC 2585).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_core::Core;
use clm_core::validation::CrlName;
use clm_types::{AuthorityId, ErrorCode};

use super::cached::Cached;
use super::{Trouble, authority_in};
use crate::etag;

pub(super) async fn serve(
    State(core): State<Arc<Core>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let authority = authority_in(&file, ".crl").ok_or(Trouble(ErrorCode::NotFound))?;
    answer(&core, CrlName { authority, shard: 0, delta: false }, &headers).await
}

pub(super) async fn serve_part(
    State(core): State<Arc<Core>>,
    Path((authority, file)): Path<(AuthorityId, String)>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let name = name_in(authority, &file).ok_or(Trouble(ErrorCode::NotFound))?;
    answer(&core, name, &headers).await
}

async fn answer(core: &Core, name: CrlName, headers: &HeaderMap) -> Result<Response, Trouble> {
    let crl = core.crl(name).await?;
    let cached = Cached {
        tag: etag::of_digest(&crl.sha256),
        bytes: crl.der.clone(),
        content_type: "application/pkix-crl",
        this_update: Some(crl.this_update),
        next_update: Some(crl.next_update),
    };
    Ok(cached.answer(headers, core.clock.now()))
}

/// `7.crl` or `7-delta.crl`. The full list of all has its own address.
fn name_in(authority: AuthorityId, file: &str) -> Option<CrlName> {
    let stem = file.strip_suffix(".crl")?;
    let (number, delta) = stem.strip_suffix("-delta").map_or((stem, false), |number| (number, true));
    let shard =
        number.parse().ok().filter(|shard: &u16| shard.to_string() == number && (*shard > 0 || delta))?;
    Some(CrlName { authority, shard, delta })
}
