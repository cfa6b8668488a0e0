//! `/api/v1/certificates/{id}/key`: private keys that Secure holds, and how one leaves.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use clm_api::Page;
use clm_api::audit::{AuditEntry, KeyAccessQuery};
use clm_api::keys::{
    ExportedKey, KeyAccess, KeyImport, KeyRestoration, NewKeyExport, PrivateKey, Sealed, TransportKey,
};
use clm_api::requests::Request;
use clm_core::{Core, keys};
use clm_types::{CertificateId, KeyChange, KeyRecord, RequestId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::secure_view;
use super::requests::{AT_ONCE, begun};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::wait::WaitUntil;
use crate::{Edge, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(transport))
        .routes(routes!(show, import, set_access, delete))
        .routes(routes!(restore))
        .routes(routes!(accesses))
        .routes(routes!(export))
        .routes(routes!(fetch))
}

/// Shows the public key that private keys are sealed to on their way in.
#[utoipa::path(get, path = "/transport-key", tag = "keys", responses((status = 200, body = TransportKey)))]
async fn transport(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
) -> Result<Json<TransportKey>, Failure> {
    let key = core.find_transport_key(&ctx).await?;
    Ok(Json(TransportKey { id: key.id, public_key: key.public_key }))
}

/// Shows what is known of a certificate's private key.
#[utoipa::path(get, path = "/certificates/{id}/key", tag = "keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = PrivateKey)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
) -> Result<Json<PrivateKey>, Failure> {
    Ok(Json(view(core.show_key(&ctx, id).await?)))
}

/// Brings in the private key of a certificate, sealed to the transport key.
#[utoipa::path(put, path = "/certificates/{id}/key", tag = "keys", params(("id" = Uuid, Path)),
    request_body = KeyImport, responses((status = 200, body = PrivateKey)))]
async fn import(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    Body(body): Body<KeyImport>,
) -> Result<Json<PrivateKey>, Failure> {
    let sealed =
        clm_types::Sealed { encapsulated: body.sealed.encapsulated, ciphertext: body.sealed.ciphertext };
    let change = KeyChange::Import { transport_key_id: body.transport_key_id, sealed };
    Ok(Json(view(core.change_key(&ctx, id, change, None).await?)))
}

/// Sets who may export a private key.
#[utoipa::path(patch, path = "/certificates/{id}/key", tag = "keys", params(("id" = Uuid, Path)),
    request_body = KeyAccess, responses((status = 200, body = PrivateKey)))]
async fn set_access(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    Body(body): Body<KeyAccess>,
) -> Result<Json<PrivateKey>, Failure> {
    let change = KeyChange::SetAccess { exportable: body.exportable, users: body.users };
    Ok(Json(view(core.change_key(&ctx, id, change, body.reason).await?)))
}

/// Deletes a private key: it is used no more, and erased for good once it has been kept for a while.
#[utoipa::path(delete, path = "/certificates/{id}/key", tag = "keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = PrivateKey)))]
async fn delete(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
) -> Result<Json<PrivateKey>, Failure> {
    Ok(Json(view(core.change_key(&ctx, id, KeyChange::Delete, None).await?)))
}

/// Takes the deletion of a private key back, until it is erased.
#[utoipa::path(post, path = "/certificates/{id}/key/restore", tag = "keys", params(("id" = Uuid, Path)),
    request_body = KeyRestoration, responses((status = 200, body = PrivateKey)))]
async fn restore(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    Body(body): Body<KeyRestoration>,
) -> Result<Json<PrivateKey>, Failure> {
    Ok(Json(view(core.change_key(&ctx, id, KeyChange::Restore, body.reason).await?)))
}

/// Lists what was done, or refused, with a certificate's private key, newest first.
#[utoipa::path(get, path = "/certificates/{id}/key/accesses", tag = "keys",
    params(("id" = Uuid, Path), KeyAccessQuery), responses((status = 200, body = Page<AuditEntry>)))]
async fn accesses(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<KeyAccessQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_key_accesses(&ctx, id, page).await?;
    Ok(paging::answer(&uri, found, secure_view))
}

/// Asks for a private key. Once it is approved, its requester may fetch it for a day.
#[utoipa::path(post, path = "/certificates/{id}/key/exports", tag = "keys", params(("id" = Uuid, Path)),
    request_body = NewKeyExport, responses((status = 201, body = Request, description = "It can be fetched"),
        (status = 202, body = Request, description = "Waits for approval"),
        (status = 200, body = Request, description = "Rejected, cancelled or expired")))]
async fn export(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<CertificateId>,
    until: WaitUntil,
    Body(body): Body<NewKeyExport>,
) -> Result<Response, Failure> {
    let new = keys::NewKeyExport { recipient: body.recipient, purpose: body.purpose, reason: body.reason };
    let request = core.request_key_export(&ctx, id, new, AT_ONCE).await?;
    begun(&core, &ctx, request, until).await
}

/// Fetches the private key of an approved request, sealed to the recipient that it names.
#[utoipa::path(post, path = "/requests/{id}/key", tag = "keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = ExportedKey)))]
async fn fetch(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RequestId>,
) -> Result<Response, Failure> {
    let key = core.fetch_key(&ctx, id).await?;
    let body = ExportedKey {
        certificate_id: key.certificate_id,
        key_algorithm: key.key_algorithm,
        sealed: Sealed { encapsulated: key.sealed.encapsulated, ciphertext: key.sealed.ciphertext },
    };
    Ok(Json(body).into_response())
}

fn view(record: KeyRecord) -> PrivateKey {
    PrivateKey {
        certificate_id: record.certificate_id,
        key_algorithm: record.key_algorithm,
        origin: record.origin,
        exportable: record.exportable,
        users: record.users,
        access_count: record.access_count,
        last_accessed_at: record.last_accessed_at,
        deleted_at: record.deleted_at,
        destroyed_at: record.destroyed_at,
        created_at: record.created_at,
    }
}
