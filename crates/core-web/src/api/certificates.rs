//! `/api/v1/certificates`: the inventory, downloads, revocation, renewal.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use clm_api::Page;
use clm_api::certificates::{
    Certificate, CertificateLookup, CertificateQuery, CertificateUpdate, OrganizationFilter, Release,
    Renewal, Revocation,
};
use clm_api::requests::Request;
use clm_core::{Core, Ctx, certificates, renewals, revocations};
use clm_types::{CertificateId, ErrorCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::certificate_view::view;
use super::requests::{AT_ONCE, begun};
use crate::etag::{IfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::wait::WaitUntil;
use crate::{Edge, paging, pem};

const PEM_CHAIN: &str = "application/pem-certificate-chain";
const DER: &str = "application/pkix-cert";

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(look_up))
        .routes(routes!(show, update))
        .routes(routes!(revoke))
        .routes(routes!(release))
        .routes(routes!(renew))
}

/// Lists the certificates of the organization, newest first; with a role for all organizations also those of another
/// one, or of all.
#[utoipa::path(get, path = "/certificates", tag = "certificates", params(CertificateQuery),
    responses((status = 200, body = Page<Certificate>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<CertificateQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let whose = match query.organization {
        None => certificates::Whose::Own,
        Some(OrganizationFilter::One(id)) => certificates::Whose::Organization(id),
        Some(OrganizationFilter::All) => certificates::Whose::All,
    };
    let asked = certificates::CertificateQuery {
        whose,
        status: query.status,
        owner: query.owner,
        authority: query.authority,
        expires_before: query.expires_before,
        expires_after: query.expires_after,
        san: query.san,
        tag: query.tag,
        text: query.text,
    };
    let found = core.list_certificates(&ctx, &asked, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Finds one certificate by what is printed on it: `sha256`, or `serial` (and `authority`).
#[utoipa::path(get, path = "/certificates/lookup", tag = "certificates", params(CertificateLookup),
    responses((status = 200, body = Certificate)))]
async fn look_up(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    headers: HeaderMap,
    Query(query): Query<CertificateLookup>,
) -> Result<Response, Failure> {
    let lookup = match (query.sha256, query.serial, query.authority) {
        (Some(sha256), None, None) => certificates::CertificateLookup::Fingerprint(sha256),
        (None, Some(serial), authority) => certificates::CertificateLookup::Serial(serial, authority),
        _ => {
            let detail = "give either sha256 or serial";
            return Err(Failure::new(ErrorCode::InvalidRequest, detail));
        }
    };
    let found = core.look_up_certificate(&ctx, &lookup).await?;
    Ok(versioned(found).answer(&headers))
}

/// Shows a certificate: its metadata as JSON, or itself in the form that `Accept` names.
#[utoipa::path(get, path = "/certificates/{id}", tag = "certificates", params(("id" = Uuid, Path)),
    responses((status = 200, content((Certificate = "application/json"),
        (String = "application/pem-certificate-chain"), (Vec<u8> = "application/pkix-cert")))))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut response = match wanted(&headers) {
        Form::Json => versioned(core.show_certificate(&ctx, id).await?).answer(&headers),
        form => download(&core, &ctx, id, form).await?,
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Changes the metadata of a certificate: what is absent stays, what is null is cleared.
#[utoipa::path(patch, path = "/certificates/{id}", tag = "certificates", params(("id" = Uuid, Path)),
    request_body = CertificateUpdate, responses((status = 200, body = Certificate)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    condition: IfMatch,
    Body(change): Body<CertificateUpdate>,
) -> Result<Versioned<Certificate>, Failure> {
    let current = async { Ok(core.show_certificate(&ctx, id).await?.version) };
    let version = condition.version(current).await?;
    let change = certificates::CertificateChange {
        owner_user_id: change.owner_user_id,
        tags: change.tags,
        environment: change.environment,
        category: change.category,
        custom_fields: change.custom_fields,
        notes: change.notes,
    };
    Ok(versioned(core.update_certificate(&ctx, id, version, change).await?))
}

/// Revokes a certificate or puts it on hold; at once when nobody need approve.
#[utoipa::path(post, path = "/certificates/{id}/revoke", tag = "certificates", params(("id" = Uuid, Path)),
    request_body = Revocation, responses((status = 201, body = Request, description = "Revoked"),
        (status = 202, body = Request, description = "Waits for approval"),
        (status = 200, body = Request, description = "Rejected, cancelled or expired")))]
async fn revoke(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    until: WaitUntil,
    Body(body): Body<Revocation>,
) -> Result<Response, Failure> {
    let new = revocations::NewRevocation {
        reason: body.reason,
        invalidity_date: body.invalidity_date,
        comment: body.comment,
    };
    let request = core.revoke_certificate(&ctx, id, new, AT_ONCE).await?;
    begun(&core, &ctx, request, until).await
}

/// Releases a certificate from hold.
#[utoipa::path(post, path = "/certificates/{id}/release", tag = "certificates", params(("id" = Uuid, Path)),
    request_body = Release, responses((status = 201, body = Request, description = "Released"),
        (status = 202, body = Request, description = "Waits for approval"),
        (status = 200, body = Request, description = "Rejected, cancelled or expired")))]
async fn release(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    until: WaitUntil,
    Body(body): Body<Release>,
) -> Result<Response, Failure> {
    let request = core.release_certificate(&ctx, id, body.comment, AT_ONCE).await?;
    begun(&core, &ctx, request, until).await
}

/// Renews a certificate: with a new CSR, with a newly generated key, or (with neither) with the same key.
#[utoipa::path(post, path = "/certificates/{id}/renew", tag = "certificates", params(("id" = Uuid, Path)),
    request_body = Renewal, responses(
        (status = 201, body = Request, description = "Issued; Location is the new certificate"),
        (status = 202, body = Request, description = "Waits; Location is the request"),
        (status = 200, body = Request, description = "Rejected, cancelled or expired")))]
async fn renew(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    until: WaitUntil,
    Body(body): Body<Renewal>,
) -> Result<Response, Failure> {
    let new = renewals::NewRenewal {
        csr_pem: body.csr_pem,
        key_algorithm: body.key_algorithm,
        validity_seconds: body.validity_seconds,
        comment: body.comment,
    };
    let submitted = core.renew_certificate(&ctx, id, new, AT_ONCE).await?;
    begun(&core, &ctx, submitted.request, until).await
}

/// The form that the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    PemChain,
    Der,
}

/// The first form that `Accept` names; JSON for anything else.
fn wanted(headers: &HeaderMap) -> Form {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let types = accept.split(',').map(|one| one.split(';').next().unwrap_or_default().trim());
    let mut forms = types.filter_map(|essence| match essence.to_ascii_lowercase().as_str() {
        "application/json" => Some(Form::Json),
        PEM_CHAIN => Some(Form::PemChain),
        DER => Some(Form::Der),
        _ => None,
    });
    forms.next().unwrap_or(Form::Json)
}

async fn download(core: &Core, ctx: &Ctx, id: CertificateId, form: Form) -> Result<Response, Failure> {
    let issued = core.download_certificate(ctx, id).await?;
    if form == Form::Der {
        let der = pem::to_der(&issued.pem)
            .ok_or_else(|| Failure::new(ErrorCode::Internal, "the certificate cannot be read"))?;
        return Ok(([(CONTENT_TYPE, DER)], der).into_response());
    }
    let chain = format!("{}{}", issued.pem, issued.chain_pem);
    Ok(([(CONTENT_TYPE, PEM_CHAIN)], chain).into_response())
}

fn versioned(certificate: certificates::Certificate) -> Versioned<Certificate> {
    Versioned { version: certificate.version, body: view(certificate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_form_is_taken() {
        let form = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wanted(&headers)
        };
        assert_eq!(form("text/html, application/pkix-cert;q=0.9"), Form::Der);
        assert_eq!(form("application/pem-certificate-chain"), Form::PemChain);
        assert_eq!(form("*/*"), Form::Json);
        assert_eq!(wanted(&HeaderMap::new()), Form::Json);
    }
}
