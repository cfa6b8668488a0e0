//! `/scim/v2/Groups`: the groups of the organization, and who belongs to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clm_core::Core;
use clm_core::group_members::{MOST_MEMBERS, MemberChange};
use clm_core::groups::{GroupFilter, GroupNames};
use clm_core::provisioned_groups::{ProvisionedGroup, ProvisionedGroupChange};
use clm_types::{GroupId, UserId};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Members, each, member, text};
use super::failure::ScimFailure;
use super::list::ListQuery;
use super::patch::{self, Kind, Operation};
use super::shown::{Shown, ShownQuery};
use super::version::{self, Wanted};
use super::{GROUP, answer, filter, list_response, location, resource, with};
use crate::extract::{Caller, Id, Query};
use crate::{Edge, PublicUrl, etag};

/// Members named in all changes of one call at most.
const MOST_NAMED: usize = 10_000;
/// What is filtered on, in words.
const FILTERS: &str = "id, displayName and externalId";

pub(super) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, replace, change, delete))
}

/// Makes a group of the organization, without roles.
#[utoipa::path(post, path = "/Groups", tag = "scim",
    request_body(content = Value, content_type = "application/scim+json"),
    responses((status = 201, body = Value, content_type = "application/scim+json")))]
async fn create(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Query(shown): Query<ShownQuery>,
    body: Members,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(GROUP)?;
    let display_name =
        body.text("displayName")?.ok_or_else(|| ScimFailure::value("displayName is missing"))?;
    let names = GroupNames { display_name, external_id: external_id(&body)? };
    let added = body.get("members").map_or_else(|| Ok(BTreeSet::new()), users)?;
    let members = MemberChange { added, ..MemberChange::default() };
    let made = core.create_provisioned_group(&ctx, &names, &members).await?;
    Ok(one(&url, StatusCode::CREATED, &made, &shown))
}

/// Lists the groups of the organization that fit a filter.
#[utoipa::path(get, path = "/Groups", tag = "scim",
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn list(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Query(query): Query<ListQuery>,
    Query(shown): Query<ShownQuery>,
) -> Result<Response, ScimFailure> {
    let (shown, window) = (shown.read(GROUP)?, query.window());
    let filter = query.filter.as_deref().map_or_else(|| Ok(GroupFilter::default()), read_filter)?;
    let found = core.list_provisioned_groups(&ctx, &filter, window, shown.has("members")).await?;
    let views: Vec<Value> = found.items.iter().map(|group| shown.of(&view(&url, group))).collect();
    Ok(answer(StatusCode::OK, &list_response(found.total, window.start, &views)))
}

/// Shows a group with its members.
#[utoipa::path(get, path = "/Groups/{id}", tag = "scim", params(("id" = Uuid, Path)),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn show(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Query(shown): Query<ShownQuery>,
    headers: HeaderMap,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(GROUP)?;
    let found = core.show_provisioned_group(&ctx, id, shown.has("members")).await?;
    if etag::is_known(&headers, &format!("\"{}\"", found.group.version)) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(one(&url, StatusCode::OK, &found, &shown))
}

/// Replaces a group. Members stay as they are when the body has none.
#[utoipa::path(put, path = "/Groups/{id}", tag = "scim", params(("id" = Uuid, Path)),
    request_body(content = Value, content_type = "application/scim+json"),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn replace(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Query(shown): Query<ShownQuery>,
    Wanted(version): Wanted,
    body: Members,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(GROUP)?;
    let added = body.get("members").map(users).transpose()?;
    let change = ProvisionedGroupChange {
        display_name: body.text("displayName")?,
        external_id: Some(external_id(&body)?),
        members: MemberChange {
            others_leave: added.is_some(),
            added: added.unwrap_or_default(),
            removed: BTreeSet::new(),
        },
    };
    let group = core.change_provisioned_group(&ctx, id, version, &change).await?;
    Ok(one(&url, StatusCode::OK, &group, &shown))
}

/// Changes some of a group: what it is called, who belongs to it.
#[utoipa::path(patch, path = "/Groups/{id}", tag = "scim", params(("id" = Uuid, Path)),
    request_body(content = Value, content_type = "application/scim+json"),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn change(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Query(shown): Query<ShownQuery>,
    Wanted(version): Wanted,
    body: Members,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(GROUP)?;
    let change = read_change(&body)?;
    let group = core.change_provisioned_group(&ctx, id, version, &change).await?;
    Ok(one(&url, StatusCode::OK, &group, &shown))
}

/// Deletes a group: what its members hold by it alone ends at once.
#[utoipa::path(delete, path = "/Groups/{id}", tag = "scim", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<GroupId>,
    Wanted(version): Wanted,
) -> Result<StatusCode, ScimFailure> {
    core.delete_provisioned_group(&ctx, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn one(url: &PublicUrl, status: StatusCode, group: &ProvisionedGroup, shown: &Shown) -> Response {
    let whole = view(url, group);
    resource(status, &whole, &shown.of(&whole))
}

fn view(url: &PublicUrl, found: &ProvisionedGroup) -> Value {
    let (group, id) = (&found.group, found.group.id.to_string());
    let members = found.members.iter().map(|user| {
        let id = user.to_string();
        json!({"value": id, "$ref": location(url, "Users", &id), "type": "User"})
    });
    let shown = json!({
        "schemas": [GROUP],
        "id": id,
        "displayName": group.display_name,
        "members": members.collect::<Vec<_>>(),
        "meta": {
            "resourceType": "Group",
            "created": group.created_at,
            "lastModified": group.updated_at,
            "location": location(url, "Groups", &id),
            "version": version::tag(group.version),
        },
    });
    match &group.external_id {
        Some(external_id) => with(shown, "externalId", json!(external_id)),
        None => shown,
    }
}

fn read_filter(text: &str) -> Result<GroupFilter, ScimFailure> {
    let mut read = GroupFilter::default();
    for term in filter::parse(text, GROUP)? {
        match term.attribute.as_str() {
            // What is no id is no group's.
            "id" => read.id = Some(term.value.parse().unwrap_or_default()),
            "displayname" => read.display_name = Some(term.value),
            "externalid" => read.external_id = Some(term.value),
            other => return Err(filter::unknown(other, FILTERS)),
        }
    }
    Ok(read)
}

fn external_id(body: &Members) -> Result<Option<String>, ScimFailure> {
    Ok(body.text("externalId")?.filter(|id| !id.is_empty()))
}

/// The users in a list of members.
fn users(value: &Value) -> Result<BTreeSet<UserId>, ScimFailure> {
    let items = each(value);
    if items.len() > MOST_MEMBERS {
        return Err(ScimFailure::value(format!("a group has {MOST_MEMBERS} members at most")));
    }
    items.iter().map(user).collect()
}

fn user(item: &Value) -> Result<UserId, ScimFailure> {
    let id = item.as_object().map_or(Some(item), |item| member(item, "value"));
    let id = text("members.value", id.unwrap_or(&Value::Null))?;
    parse_id(&id)
}

fn parse_id(id: &str) -> Result<UserId, ScimFailure> {
    id.parse().map_err(|_| ScimFailure::value("a member is named by the id of a user"))
}

fn read_change(body: &Members) -> Result<ProvisionedGroupChange, ScimFailure> {
    let operations = patch::parse(body, GROUP)?;
    let of_members = operations.iter().filter(|operation| operation.attribute == "members");
    if of_members.map(|operation| each(&operation.value).len()).sum::<usize>() > MOST_NAMED {
        return Err(ScimFailure::too_many(format!("one call names {MOST_NAMED} members at most")));
    }
    let mut change = ProvisionedGroupChange::default();
    for operation in &operations {
        apply(&mut change, operation)?;
    }
    Ok(change)
}

fn apply(change: &mut ProvisionedGroupChange, operation: &Operation) -> Result<(), ScimFailure> {
    let Operation { kind, attribute, value, .. } = operation;
    match attribute.as_str() {
        "displayname" if *kind == Kind::Remove => {
            return Err(ScimFailure::value("displayName cannot be removed: every group has one"));
        }
        "displayname" => change.display_name = Some(text("displayName", value)?),
        "externalid" if *kind == Kind::Remove || value.is_null() => change.external_id = Some(None),
        "externalid" => {
            change.external_id = Some(Some(text("externalId", value)?).filter(|id| !id.is_empty()));
        }
        "members" => change_members(&mut change.members, operation)?,
        "schemas" | "id" | "meta" => {}
        other if other.starts_with("urn:") => {}
        other => return Err(patch::not_understood(other)),
    }
    Ok(())
}

/// Adds a change of members to those before it, so that all of them are made at once.
fn change_members(change: &mut MemberChange, operation: &Operation) -> Result<(), ScimFailure> {
    if operation.sub.is_some() {
        return Err(ScimFailure::path("members have no attribute that is changed by itself"));
    }
    match (operation.kind, named(operation)?) {
        (Kind::Add, Some(users)) => {
            for user in &users {
                change.removed.remove(user);
            }
            change.added.extend(users);
        }
        (Kind::Remove, Some(users)) => {
            for user in &users {
                change.added.remove(user);
            }
            change.removed.extend(users);
        }
        (Kind::Replace, Some(added)) => {
            *change = MemberChange { others_leave: true, added, removed: BTreeSet::new() };
        }
        (Kind::Remove, None) => *change = MemberChange { others_leave: true, ..MemberChange::default() },
        // Only who says so takes everybody out.
        (Kind::Add | Kind::Replace, None) => {
            return Err(ScimFailure::value("the value is missing: a list of members"));
        }
    }
    Ok(())
}

/// Whom an operation is about: `members[value eq "…"]`, or its value.
fn named(operation: &Operation) -> Result<Option<BTreeSet<UserId>>, ScimFailure> {
    let Some(filter) = &operation.filter else {
        let value = Some(&operation.value).filter(|value| !value.is_null());
        return value.map(users).transpose();
    };
    let terms = filter::parse(filter, GROUP)?;
    match terms.as_slice() {
        [term] if term.attribute == "value" && operation.kind == Kind::Remove => {
            Ok(Some(BTreeSet::from([parse_id(&term.value)?])))
        }
        _ => Err(ScimFailure::path("members are taken out by `members[value eq \"id\"]`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45";
    const BOB: &str = "0199f0c3-7d59-7014-a6e2-3f8b9a0d1e46";

    fn patched(operations: &Value) -> Result<ProvisionedGroupChange, ScimFailure> {
        let Value::Object(body) = json!({"Operations": operations}) else { unreachable!() };
        read_change(&Members(body))
    }

    fn set(ids: &[&str]) -> BTreeSet<UserId> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn members_join_and_leave_as_identity_providers_say_it() {
        let change = patched(&json!([
            {"op": "Add", "path": "members", "value": [{"value": ANN}, {"value": BOB}]},
            {"op": "Remove", "path": "members", "value": [{"value": BOB}]},
        ]));
        let expected = MemberChange { others_leave: false, added: set(&[ANN]), removed: set(&[BOB]) };
        assert_eq!(change.unwrap().members, expected);
        let one =
            patched(&json!([{"op": "remove", "path": format!("members[value eq \"{ANN}\"]")}])).unwrap();
        assert_eq!(one.members.removed, set(&[ANN]));
        let all = patched(&json!([{"op": "remove", "path": "members"}])).unwrap();
        assert_eq!(all.members, MemberChange { others_leave: true, ..MemberChange::default() });
        let okta = json!([{"op": "replace", "value": {"id": "x", "displayName": "Web", "members": [{"value": ANN}]}}]);
        let okta = patched(&okta).unwrap();
        assert_eq!(okta.display_name.as_deref(), Some("Web"));
        assert_eq!((okta.members.others_leave, okta.members.added), (true, set(&[ANN])));
    }

    #[test]
    fn what_is_no_member_is_refused() {
        for (operation, kind) in [
            (json!({"op": "add", "path": "members", "value": [{"value": "ann"}]}), "invalidValue"),
            (json!({"op": "add", "path": "members", "value": [{}]}), "invalidValue"),
            (json!({"op": "replace", "path": "members"}), "invalidValue"),
            (json!({"op": "replace", "path": "members", "value": null}), "invalidValue"),
            (json!({"op": "replace", "value": {"members": null}}), "invalidValue"),
            (json!({"op": "add", "path": "members"}), "invalidValue"),
            (json!({"op": "replace", "path": "members.display", "value": "Ann"}), "invalidPath"),
            (json!({"op": "remove", "path": "members.display"}), "invalidPath"),
            (json!({"op": "remove", "path": format!("members[value eq \"{ANN}\"].display")}), "invalidPath"),
            (json!({"op": "remove", "path": "members[display eq \"Ann\"]"}), "invalidPath"),
            (json!({"op": "remove", "path": "members[value sw \"0\"]"}), "invalidFilter"),
            (json!({"op": "add", "path": "roles", "value": "administrator"}), "invalidPath"),
        ] {
            assert_eq!(patched(&json!([operation])).unwrap_err().kind(), Some(kind), "{operation}");
        }
        let emptied = patched(&json!([{"op": "replace", "path": "members", "value": []}])).unwrap();
        assert_eq!(emptied.members, MemberChange { others_leave: true, ..MemberChange::default() });
    }

    #[test]
    fn the_members_named_in_one_call_are_counted_together() {
        let half =
            json!({"op": "add", "path": "members", "value": vec![json!({"value": ANN}); MOST_NAMED / 2]});
        let one = json!({"op": "remove", "path": format!("members[value eq \"{BOB}\"]")});
        assert!(patched(&json!([half, half])).is_ok());
        assert_eq!(patched(&json!([half, one, half])).unwrap_err().kind(), Some("tooMany"));
    }
}
