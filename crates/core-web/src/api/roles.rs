//! `/api/v1/roles`: named sets of permissions.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clm_api::Page;
use clm_api::page::PageQuery;
use clm_api::roles::{NewRole, Role, RoleChange};
use clm_core::{Core, roles};
use clm_types::RoleId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::etag::{IfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, update))
}

/// Makes a role of the caller's organization; nobody grants what they do not hold.
#[utoipa::path(post, path = "/roles", tag = "roles", request_body = NewRole,
    responses((status = 201, body = Role)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewRole>,
) -> Result<Response, Failure> {
    let new = roles::NewRole {
        code: new.code,
        name: new.name,
        description: new.description,
        parent_role_id: new.parent_role_id,
        permissions: new.permissions,
    };
    let made = core.create_role(&ctx, &new).await?;
    let location = format!("/api/v1/roles/{}", made.id);
    Ok(answer::created(&location, Some(made.version), view(made)))
}

/// Lists the built-in roles and those of the caller's organization.
#[utoipa::path(get, path = "/roles", tag = "roles", params(PageQuery),
    responses((status = 200, body = Page<Role>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_roles(&ctx, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows a role.
#[utoipa::path(get, path = "/roles/{id}", tag = "roles", params(("id" = Uuid, Path)),
    responses((status = 200, body = Role)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RoleId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(versioned(core.show_role(&ctx, id).await?).answer(&headers))
}

/// Changes a role of the caller's organization, for all who hold it.
#[utoipa::path(put, path = "/roles/{id}", tag = "roles", params(("id" = Uuid, Path)),
    request_body = RoleChange, responses((status = 200, body = Role)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<RoleId>,
    condition: IfMatch,
    Body(change): Body<RoleChange>,
) -> Result<Versioned<Role>, Failure> {
    let current = async { Ok(core.show_role(&ctx, id).await?.version) };
    let version = condition.version(current).await?;
    let change = roles::RoleChange {
        name: change.name,
        description: change.description,
        permissions: change.permissions,
    };
    Ok(versioned(core.update_role(&ctx, id, version, &change).await?))
}

fn versioned(row: roles::Role) -> Versioned<Role> {
    Versioned { version: row.version, body: view(row) }
}

fn view(row: roles::Role) -> Role {
    Role {
        id: row.id.into(),
        code: row.role_code,
        name: row.role_name,
        description: row.description,
        parent_role_id: row.parent_role_id.map(Into::into),
        permissions: super::texts(&row.permissions),
        built_in: row.is_system,
        organization_id: row.organization_id.map(Into::into),
        version: row.version,
    }
}
