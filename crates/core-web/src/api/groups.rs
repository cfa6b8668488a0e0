//! `/api/v1/groups`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use clm_api::Page;
use clm_api::groups::{Group, GroupDraft, GroupMember, GroupMembers, GroupRole, GroupRoleChoice, GroupRoles};
use clm_api::page::PageQuery;
use clm_core::group_members::MemberChange;
use clm_core::{Core, group_members, groups};
use clm_types::{ErrorCode, GroupId, Refusal, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::etag::{IfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, answer, paging};

/// Users who join or leave by one call.
const MOST_AT_ONCE: usize = 1000;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, update, delete))
        .routes(routes!(list_members, add_members))
        .routes(routes!(remove_members))
        .routes(routes!(list_roles, give_role))
        .routes(routes!(take_role))
}

/// Makes a group of the caller's organization, without members and roles.
#[utoipa::path(post, path = "/groups", tag = "groups", request_body = GroupDraft,
    responses((status = 201, body = Group)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(draft): Body<GroupDraft>,
) -> Result<Response, Failure> {
    let made = core.create_group(&ctx, &names(draft)).await?;
    let location = format!("/api/v1/groups/{}", made.id);
    Ok(answer::created(&location, Some(made.version), view(made)))
}

/// Lists the groups of the caller's organization, newest first.
#[utoipa::path(get, path = "/groups", tag = "groups", params(PageQuery),
    responses((status = 200, body = Page<Group>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_groups(&ctx, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows a group.
#[utoipa::path(get, path = "/groups/{id}", tag = "groups", params(("id" = Uuid, Path)),
    responses((status = 200, body = Group)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(versioned(core.show_group(&ctx, id).await?).answer(&headers))
}

/// Calls a group otherwise.
#[utoipa::path(put, path = "/groups/{id}", tag = "groups", params(("id" = Uuid, Path)),
    request_body = GroupDraft, responses((status = 200, body = Group)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    condition: IfMatch,
    Body(draft): Body<GroupDraft>,
) -> Result<Versioned<Group>, Failure> {
    let version = condition.version(async { Ok(core.show_group(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.update_group(&ctx, id, version, &names(draft)).await?))
}

/// Deletes a group: what its members hold by it alone ends at once.
#[utoipa::path(delete, path = "/groups/{id}", tag = "groups", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    condition: IfMatch,
) -> Result<StatusCode, Failure> {
    let version = condition.version(async { Ok(core.show_group(&ctx, id).await?.version) }).await?;
    core.delete_group(&ctx, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the members of a group, newest first.
#[utoipa::path(get, path = "/groups/{id}/members", tag = "groups", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<GroupMember>)))]
async fn list_members(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_group_members(&ctx, id, page).await?;
    Ok(paging::answer(&uri, found, member))
}

/// Lets users of the organization join a group. They hold its roles from now on. Who is a member already stays one.
#[utoipa::path(post, path = "/groups/{id}/members", tag = "groups", params(("id" = Uuid, Path)),
    request_body = GroupMembers, responses((status = 204)))]
async fn add_members(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Body(members): Body<GroupMembers>,
) -> Result<StatusCode, Failure> {
    let change = MemberChange { added: users(members)?, ..MemberChange::default() };
    core.change_group_members(&ctx, id, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes users out of a group. What they hold by it alone ends at once. Who is no member stays none.
#[utoipa::path(post, path = "/groups/{id}/members/remove", tag = "groups", params(("id" = Uuid, Path)),
    request_body = GroupMembers, responses((status = 204)))]
async fn remove_members(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Body(members): Body<GroupMembers>,
) -> Result<StatusCode, Failure> {
    let change = MemberChange { removed: users(members)?, ..MemberChange::default() };
    core.change_group_members(&ctx, id, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the roles that a group gives its members.
#[utoipa::path(get, path = "/groups/{id}/roles", tag = "groups", params(("id" = Uuid, Path)),
    responses((status = 200, body = GroupRoles)))]
async fn list_roles(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
) -> Result<Json<GroupRoles>, Failure> {
    let items = core.list_group_roles(&ctx, id).await?.into_iter().map(role).collect();
    Ok(Json(GroupRoles { items }))
}

/// Gives a role to all members of a group, those of later too. Nobody gives what they do not hold.
#[utoipa::path(post, path = "/groups/{id}/roles", tag = "groups", params(("id" = Uuid, Path)),
    request_body = GroupRoleChoice, responses((status = 204)))]
async fn give_role(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Body(choice): Body<GroupRoleChoice>,
) -> Result<StatusCode, Failure> {
    core.give_group_role(&ctx, id, choice.role_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a role from a group, and so at once from all who hold it by the group alone.
#[utoipa::path(post, path = "/groups/{id}/roles/take", tag = "groups", params(("id" = Uuid, Path)),
    request_body = GroupRoleChoice, responses((status = 204)))]
async fn take_role(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Body(choice): Body<GroupRoleChoice>,
) -> Result<StatusCode, Failure> {
    core.take_group_role(&ctx, id, choice.role_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn users(members: GroupMembers) -> Result<BTreeSet<UserId>, Refusal> {
    if (1..=MOST_AT_ONCE).contains(&members.user_ids.len()) {
        return Ok(members.user_ids.into_iter().collect());
    }
    let detail = format!("1 to {MOST_AT_ONCE} users join or leave at once");
    Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/user_ids"))
}

fn names(draft: GroupDraft) -> groups::GroupNames {
    groups::GroupNames { display_name: draft.display_name, external_id: draft.external_id }
}

fn versioned(row: groups::Group) -> Versioned<Group> {
    Versioned { version: row.version, body: view(row) }
}

fn view(row: groups::Group) -> Group {
    Group {
        id: row.id.into(),
        display_name: row.display_name,
        external_id: row.external_id,
        created_at: row.created_at,
        version: row.version,
    }
}

fn member(row: group_members::GroupMember) -> GroupMember {
    GroupMember {
        user_id: row.user_id.into(),
        username: row.username,
        display_name: row.display_name,
        joined_at: row.created_at,
    }
}

fn role(row: groups::GroupRole) -> GroupRole {
    GroupRole {
        role_id: row.role_id.into(),
        code: row.role_code,
        name: row.role_name,
        given_at: row.created_at,
    }
}
