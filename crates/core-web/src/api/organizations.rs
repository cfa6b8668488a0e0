//! `/api/v1/organizations`.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_api::Page;
use clm_api::organizations::{NewOrganization, Organization, OrganizationChange, Subscription};
use clm_api::page::PageQuery;
use clm_core::{Core, organizations, subscriptions};
use clm_types::OrganizationId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::etag::{IfMatch, OptionalIfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, update))
        .routes(routes!(subscribe))
        .routes(routes!(suspend))
        .routes(routes!(close))
        .routes(routes!(resume))
}

/// Makes an organization with the default workflows and policies.
#[utoipa::path(post, path = "/organizations", tag = "organizations", request_body = NewOrganization,
    responses((status = 201, body = Organization)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewOrganization>,
) -> Result<Response, Failure> {
    let new = organizations::NewOrganization { code: new.code, name: new.name };
    let made = core.create_organization(&ctx, &new).await?;
    let location = format!("/api/v1/organizations/{}", made.id);
    Ok(answer::created(&location, Some(made.version), view(made)))
}

/// Lists organizations, newest first: all for those who may read everywhere, else the caller's own.
#[utoipa::path(get, path = "/organizations", tag = "organizations", params(PageQuery),
    responses((status = 200, body = Page<Organization>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_organizations(&ctx, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows an organization.
#[utoipa::path(get, path = "/organizations/{id}", tag = "organizations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Organization)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = core.show_organization(&ctx, id).await?;
    Ok(versioned(found).answer(&headers))
}

/// Changes name and settings of the caller's organization, or of any with a role for all organizations.
#[utoipa::path(put, path = "/organizations/{id}", tag = "organizations", params(("id" = Uuid, Path)),
    request_body = OrganizationChange, responses((status = 200, body = Organization)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
    condition: IfMatch,
    Body(change): Body<OrganizationChange>,
) -> Result<Versioned<Organization>, Failure> {
    let current = async { Ok(core.show_organization(&ctx, id).await?.version) };
    let version = condition.version(current).await?;
    let change = organizations::OrganizationChange {
        name: change.name,
        settings: serde_json::Value::Object(change.settings),
    };
    Ok(versioned(core.update_organization(&ctx, id, version, &change).await?))
}

/// Says what an organization has subscribed to; needs a role for all organizations. What is left out is no limit. A limit
/// below what there is, and the end of a subscription, end nothing: they refuse new certificates, members and authorities.
#[utoipa::path(put, path = "/organizations/{id}/subscription", tag = "organizations", params(("id" = Uuid, Path)),
    request_body = Subscription, responses((status = 200, body = Organization)))]
async fn subscribe(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
    condition: IfMatch,
    Body(new): Body<Subscription>,
) -> Result<Versioned<Organization>, Failure> {
    let version = condition.version(async { Ok(core.show_organization(&ctx, id).await?.version) }).await?;
    let new = subscriptions::Subscription {
        plan: new.plan,
        status: new.status,
        expires_at: new.expires_at,
        max_certificates: new.max_certificates,
        max_users: new.max_users,
        max_authorities: new.max_authorities,
    };
    Ok(versioned(core.set_subscription(&ctx, id, version, &new).await?))
}

/// Closes an organization for good: nobody works in it, and nobody resumes it. CRL and OCSP go on.
#[utoipa::path(post, path = "/organizations/{id}/close", tag = "organizations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Organization)))]
async fn close(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
    OptionalIfMatch(condition): OptionalIfMatch,
) -> Result<Versioned<Organization>, Failure> {
    let version = condition.version(async { Ok(core.show_organization(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.close_organization(&ctx, id, version).await?))
}

/// Suspends an organization: nobody works in it any more. CRL and OCSP go on.
#[utoipa::path(post, path = "/organizations/{id}/suspend", tag = "organizations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Organization)))]
async fn suspend(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
    OptionalIfMatch(condition): OptionalIfMatch,
) -> Result<Versioned<Organization>, Failure> {
    let version = condition.version(async { Ok(core.show_organization(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.suspend_organization(&ctx, id, version).await?))
}

/// Lets people work in a suspended organization again.
#[utoipa::path(post, path = "/organizations/{id}/resume", tag = "organizations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Organization)))]
async fn resume(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<OrganizationId>,
    OptionalIfMatch(condition): OptionalIfMatch,
) -> Result<Versioned<Organization>, Failure> {
    let version = condition.version(async { Ok(core.show_organization(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.resume_organization(&ctx, id, version).await?))
}

fn versioned(row: organizations::Organization) -> Versioned<Organization> {
    Versioned { version: row.version, body: view(row) }
}

fn view(row: organizations::Organization) -> Organization {
    Organization {
        id: row.id.into(),
        code: row.org_code,
        name: row.org_name,
        status: row.status,
        subscription_plan: row.subscription_plan,
        subscription_status: row.subscription_status,
        subscription_expires_at: row.subscription_expires_at,
        license_max_certificates: row.license_max_certificates,
        license_max_users: row.license_max_users,
        license_max_authorities: row.license_max_authorities,
        settings: row.settings,
        created_at: row.created_at,
        version: row.version,
    }
}
