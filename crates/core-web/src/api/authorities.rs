//! `/api/v1/authorities`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_api::Page;
use clm_api::authorities::Authority;
use clm_core::Core;
use clm_types::{AuthorityId, AuthorityRecord, ErrorCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Id};
use crate::failure::Failure;
use crate::{Edge, ValidationUrl, pem};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// Lists the authorities; they are few, so all are on one page.
#[utoipa::path(get, path = "/authorities", tag = "authorities",
    responses((status = 200, body = Page<Authority>)))]
async fn list(
    State(core): State<Arc<Core>>,
    State(url): State<ValidationUrl>,
    Caller(ctx): Caller,
) -> Result<Json<Page<Authority>>, Failure> {
    let authorities = core.list_authorities(&ctx).await?;
    let items = authorities.iter().map(|record| view(record, &url)).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Shows an authority.
#[utoipa::path(get, path = "/authorities/{id}", tag = "authorities", params(("id" = Uuid, Path)),
    responses((status = 200, body = Authority)))]
async fn show(
    State(core): State<Arc<Core>>,
    State(url): State<ValidationUrl>,
    Caller(ctx): Caller,
    Id(id): Id<AuthorityId>,
) -> Result<Json<Authority>, Failure> {
    let record = core.show_authority(&ctx, &id.to_string()).await?;
    view(&record, &url).map(Json)
}

fn view(record: &AuthorityRecord, url: &ValidationUrl) -> Result<Authority, Failure> {
    let der = STANDARD
        .decode(&record.certificate)
        .map_err(|_| Failure::new(ErrorCode::Internal, "an authority's certificate cannot be read"))?;
    let (id, base) = (record.authority_id, &url.0);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    Ok(Authority {
        id,
        name: record.name.clone(),
        parent_id: record.parent_id,
        status: record.status.clone(),
        subject: record.subject.clone(),
        key_algorithm: record.key_algorithm,
        certificate_id: record.certificate_id,
        certificate_pem: pem::certificate(&record.certificate),
        fingerprint_sha256: hex::encode(digest),
        not_before: record.not_before,
        not_after: record.not_after,
        profiles: record.profiles.clone(),
        max_validity_seconds: record.max_validity_seconds,
        crl_number: record.crl_number,
        next_crl_at: record.next_crl_at,
        crl_shards: record.crl_shards,
        delta_crls: record.delta_crls,
        crl_url: format!("{base}/crl/{id}.crl"),
        ocsp_url: format!("{base}/ocsp/{id}"),
        issuer_url: format!("{base}/ca/{id}.crt"),
    })
}
