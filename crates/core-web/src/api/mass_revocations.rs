//! `/api/v1/mass-revocations`: revoking many certificates by one decision of two people.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use clm_api::Page;
use clm_api::mass_revocations::{
    MassRevocation, MassRevocationCertificate, MassRevocationCertificateQuery, NewMassRevocation,
    RevocationImpact, RevocationShare,
};
use clm_api::page::PageQuery;
use clm_core::{Core, mass_revocations as rules};
use clm_types::{ErrorCode, MassRevocationId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(plan))
        .routes(routes!(show))
        .routes(routes!(certificates))
        .routes(routes!(approve))
        .routes(routes!(cancel))
}

/// Says what a mass revocation would mean; writes nothing.
#[utoipa::path(post, path = "/mass-revocations/plan", tag = "mass-revocations", request_body = NewMassRevocation,
    responses((status = 200, body = RevocationImpact)))]
async fn plan(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewMassRevocation>,
) -> Result<Json<RevocationImpact>, Failure> {
    Ok(Json(impact(core.plan_mass_revocation(&ctx, &parse(new)).await?)))
}

/// Writes down exactly which certificates are to be revoked; another person must approve it.
#[utoipa::path(post, path = "/mass-revocations", tag = "mass-revocations", request_body = NewMassRevocation,
    responses((status = 201, body = MassRevocation)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewMassRevocation>,
) -> Result<Response, Failure> {
    let created = core.create_mass_revocation(&ctx, &parse(new)).await?;
    let location = format!("/api/v1/mass-revocations/{}", created.id);
    Ok(answer::created(&location, None, view(created)?))
}

/// Lists mass revocations, newest first.
#[utoipa::path(get, path = "/mass-revocations", tag = "mass-revocations", params(PageQuery),
    responses((status = 200, body = Page<MassRevocation>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    paging::try_answer(&uri, core.list_mass_revocations(&ctx, page).await?, view)
}

/// Shows a mass revocation and how it gets on.
#[utoipa::path(get, path = "/mass-revocations/{id}", tag = "mass-revocations", params(("id" = Uuid, Path)),
    responses((status = 200, body = MassRevocation)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<MassRevocationId>,
) -> Result<Json<MassRevocation>, Failure> {
    Ok(Json(view(core.show_mass_revocation(&ctx, id).await?)?))
}

/// Lists the certificates of a mass revocation, and what became of each.
#[utoipa::path(get, path = "/mass-revocations/{id}/certificates", tag = "mass-revocations",
    params(("id" = Uuid, Path), MassRevocationCertificateQuery),
    responses((status = 200, body = Page<MassRevocationCertificate>)))]
async fn certificates(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<MassRevocationId>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<MassRevocationCertificateQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_mass_revocation_items(&ctx, id, query.status.as_deref(), page).await?;
    Ok(paging::answer(&uri, found, certificate))
}

/// Approves a mass revocation of somebody else: it is carried out from now on.
#[utoipa::path(post, path = "/mass-revocations/{id}/approve", tag = "mass-revocations", params(("id" = Uuid, Path)),
    responses((status = 202, body = MassRevocation, description = "It runs; Location says how it gets on")))]
async fn approve(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<MassRevocationId>,
) -> Result<Response, Failure> {
    let approved = core.approve_mass_revocation(&ctx, id).await?;
    Ok(answer::accepted(&format!("/api/v1/mass-revocations/{id}"), view(approved)?))
}

/// Stops a mass revocation; what it has revoked stays revoked.
#[utoipa::path(post, path = "/mass-revocations/{id}/cancel", tag = "mass-revocations", params(("id" = Uuid, Path)),
    responses((status = 200, body = MassRevocation)))]
async fn cancel(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<MassRevocationId>,
) -> Result<Json<MassRevocation>, Failure> {
    Ok(Json(view(core.cancel_mass_revocation(&ctx, id).await?)?))
}

fn parse(new: NewMassRevocation) -> rules::NewMassRevocation {
    let selection = new.selection;
    rules::NewMassRevocation {
        selection: rules::Selection {
            authority_id: selection.authority_id,
            profile: selection.profile,
            owner_user_id: selection.owner_user_id,
            issued_after: selection.issued_after,
            issued_before: selection.issued_before,
            expires_before: selection.expires_before,
            san: selection.san,
            tag: selection.tag,
            text: selection.text,
            same_key_as: selection.same_key_as,
            certificate_ids: selection.certificate_ids,
            everything: selection.everything,
        },
        reason: new.reason,
        invalidity_date: new.invalidity_date,
        comment: new.comment,
    }
}

fn view(row: rules::MassRevocation) -> Result<MassRevocation, Failure> {
    let stored = serde_json::from_value(row.impact)
        .map_err(|_| Failure::new(ErrorCode::Internal, "a stored impact cannot be read"))?;
    Ok(MassRevocation {
        id: row.id.into(),
        organization_id: row.organization_id.into(),
        requester_user_id: row.requester_user_id.into(),
        approver_user_id: row.approver_user_id.map(Into::into),
        selection: row.selection,
        impact: impact(stored),
        reason: row.reason,
        invalidity_date: row.invalidity_date,
        comment: row.comment,
        status: row.status,
        certificates: row.certificate_count.unsigned_abs(),
        revoked: row.revoked_count.unsigned_abs(),
        refused: row.refused_count.unsigned_abs(),
        failure_code: row.failure_code,
        failure_detail: row.failure_detail,
        decided_at: row.decided_at,
        completed_at: row.completed_at,
        created_at: row.created_at,
    })
}

fn impact(impact: rules::Impact) -> RevocationImpact {
    let shares = |shares: Vec<rules::Share>| {
        let share = |one: rules::Share| RevocationShare { name: one.name, certificates: one.certificates };
        shares.into_iter().map(share).collect()
    };
    RevocationImpact {
        certificates: impact.certificates,
        authorities: shares(impact.authorities),
        profiles: shares(impact.profiles),
        owners: shares(impact.owners),
    }
}

fn certificate(row: rules::MassRevocationItem) -> MassRevocationCertificate {
    MassRevocationCertificate {
        certificate_id: row.certificate_id.into(),
        operation_id: row.operation_id.into(),
        common_name: row.common_name,
        serial_number: row.serial_number,
        status: row.status,
        failure_code: row.failure_code,
    }
}
