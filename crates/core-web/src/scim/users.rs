//! `/scim/v2/Users`: the members of the organization.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clm_core::Core;
use clm_core::provisioned_users::{
    NewProvisionedUser, ProvisionedUser, ProvisionedUserChange, ProvisionedUserFilter,
};
use clm_types::UserId;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Members, each, member, text, truth};
use super::failure::ScimFailure;
use super::list::ListQuery;
use super::patch::{self, Kind, Operation};
use super::shown::ShownQuery;
use super::version::{self, Wanted};
use super::{USER, answer, filter, list_response, location, resource, with};
use crate::extract::{Caller, Id, Query};
use crate::{Edge, PublicUrl, etag};

/// What is filtered on, in words.
const FILTERS: &str = "id, userName, externalId, emails and displayName";
/// Attributes of the core schema that clients send and that are not kept.
const NOT_KEPT: &[&str] = &[
    "schemas",
    "id",
    "meta",
    "name",
    "nickname",
    "profileurl",
    "title",
    "usertype",
    "preferredlanguage",
    "locale",
    "timezone",
    "password",
    "phonenumbers",
    "ims",
    "photos",
    "addresses",
    "groups",
    "entitlements",
    "roles",
    "x509certificates",
];

pub(super) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, replace, change, delete))
}

/// Makes a user of the organization, without roles and password.
#[utoipa::path(post, path = "/Users", tag = "scim",
    request_body(content = Value, content_type = "application/scim+json"),
    responses((status = 201, body = Value, content_type = "application/scim+json")))]
async fn create(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Query(shown): Query<ShownQuery>,
    body: Members,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(USER)?;
    let made = core.create_provisioned_user(&ctx, &new_user(&body)?).await?;
    let whole = view(&url, &made);
    Ok(resource(StatusCode::CREATED, &whole, &shown.of(&whole)))
}

/// Lists the members of the organization that fit a filter.
#[utoipa::path(get, path = "/Users", tag = "scim",
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn list(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Query(query): Query<ListQuery>,
    Query(shown): Query<ShownQuery>,
) -> Result<Response, ScimFailure> {
    let (shown, window) = (shown.read(USER)?, query.window());
    let filter = query.filter.as_deref().map_or_else(|| Ok(ProvisionedUserFilter::default()), read_filter)?;
    let found = core.list_provisioned_users(&ctx, &filter, window).await?;
    let views: Vec<Value> = found.items.iter().map(|user| shown.of(&view(&url, user))).collect();
    Ok(answer(StatusCode::OK, &list_response(found.total, window.start, &views)))
}

/// Shows a member.
#[utoipa::path(get, path = "/Users/{id}", tag = "scim", params(("id" = Uuid, Path)),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn show(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    Query(shown): Query<ShownQuery>,
    headers: HeaderMap,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(USER)?;
    let user = core.show_provisioned_user(&ctx, id).await?;
    if etag::is_known(&headers, &format!("\"{}\"", user.version)) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let whole = view(&url, &user);
    Ok(resource(StatusCode::OK, &whole, &shown.of(&whole)))
}

/// Replaces what is known of a member. `active: false` ends everything that the user has here; without `active` that stays.
#[utoipa::path(put, path = "/Users/{id}", tag = "scim", params(("id" = Uuid, Path)),
    request_body(content = Value, content_type = "application/scim+json"),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn replace(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    Query(shown): Query<ShownQuery>,
    Wanted(version): Wanted,
    body: Members,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(USER)?;
    let change = ProvisionedUserChange {
        username: body.text("userName")?,
        email: email(&body)?,
        display_name: display_name(&body)?,
        external_id: Some(external_id(&body)?),
        active: body.get("active").map(|value| truth("active", value)).transpose()?,
    };
    let user = core.change_provisioned_user(&ctx, id, version, &change).await?;
    let whole = view(&url, &user);
    Ok(resource(StatusCode::OK, &whole, &shown.of(&whole)))
}

/// Changes some of what is known of a member.
#[utoipa::path(patch, path = "/Users/{id}", tag = "scim", params(("id" = Uuid, Path)),
    request_body(content = Value, content_type = "application/scim+json"),
    responses((status = 200, body = Value, content_type = "application/scim+json")))]
async fn change(
    State(core): State<Arc<Core>>,
    State(url): State<PublicUrl>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    Query(shown): Query<ShownQuery>,
    Wanted(version): Wanted,
    body: Members,
) -> Result<Response, ScimFailure> {
    let shown = shown.read(USER)?;
    let mut change = ProvisionedUserChange::default();
    for operation in patch::parse(&body, USER)? {
        apply(&mut change, &operation)?;
    }
    let user = core.change_provisioned_user(&ctx, id, version, &change).await?;
    let whole = view(&url, &user);
    Ok(resource(StatusCode::OK, &whole, &shown.of(&whole)))
}

/// Ends a membership with everything that the user has here. Who belongs nowhere else is deleted.
#[utoipa::path(delete, path = "/Users/{id}", tag = "scim", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<UserId>,
    Wanted(version): Wanted,
) -> Result<StatusCode, ScimFailure> {
    core.delete_provisioned_user(&ctx, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(url: &PublicUrl, user: &ProvisionedUser) -> Value {
    let id = user.id.to_string();
    let shown = json!({
        "schemas": [USER],
        "id": id,
        "userName": user.username,
        "displayName": user.display_name,
        "emails": [{"value": user.email, "type": "work"}],
        "active": user.active,
        "meta": {
            "resourceType": "User",
            "created": user.created_at,
            "lastModified": user.updated_at,
            "location": location(url, "Users", &id),
            "version": version::tag(user.version),
        },
    });
    match &user.external_id {
        Some(external_id) => with(shown, "externalId", json!(external_id)),
        None => shown,
    }
}

fn read_filter(text: &str) -> Result<ProvisionedUserFilter, ScimFailure> {
    let mut read = ProvisionedUserFilter::default();
    for term in filter::parse(text, USER)? {
        match term.attribute.as_str() {
            // What is no id is nobody's.
            "id" => read.id = Some(term.value.parse().unwrap_or_default()),
            "username" => read.username = Some(term.value),
            "externalid" => read.external_id = Some(term.value),
            "emails" | "emails.value" => read.email = Some(term.value),
            "displayname" => read.display_name = Some(term.value),
            other => return Err(filter::unknown(other, FILTERS)),
        }
    }
    Ok(read)
}

fn new_user(body: &Members) -> Result<NewProvisionedUser, ScimFailure> {
    let username = body.text("userName")?.ok_or_else(|| ScimFailure::value("userName is missing"))?;
    // Where a name to sign in with is an address, it is that of its user.
    let email = email(body)?.or_else(|| username.contains('@').then(|| username.clone()));
    Ok(NewProvisionedUser {
        email: email.ok_or_else(|| ScimFailure::value("emails is missing"))?,
        display_name: display_name(body)?.unwrap_or_else(|| username.clone()),
        username,
        external_id: external_id(body)?,
        active: body.get("active").map_or(Ok(true), |value| truth("active", value))?,
    })
}

fn external_id(body: &Members) -> Result<Option<String>, ScimFailure> {
    Ok(body.text("externalId")?.filter(|id| !id.is_empty()))
}

fn email(body: &Members) -> Result<Option<String>, ScimFailure> {
    body.get("emails").map_or(Ok(None), one_address)
}

/// The primary address of several, else the first.
fn one_address(value: &Value) -> Result<Option<String>, ScimFailure> {
    let is_primary = |item: &&Value| {
        let primary = item.as_object().and_then(|item| member(item, "primary"));
        primary.is_some_and(|value| truth("primary", value).is_ok_and(|truth| truth))
    };
    let items = each(value);
    let Some(item) = items.iter().find(is_primary).or_else(|| items.first()) else {
        return Ok(None);
    };
    let address = item.as_object().map_or(Some(item), |item| member(item, "value"));
    address.map(|address| text("emails.value", address)).transpose()
}

/// What is to be shown: the name to show, else what there is of the name.
fn display_name(body: &Members) -> Result<Option<String>, ScimFailure> {
    if let Some(name) = body.text("displayName")?.filter(|name| !name.trim().is_empty()) {
        return Ok(Some(name));
    }
    let Some(Value::Object(name)) = body.get("name") else {
        return Ok(None);
    };
    let part = |part: &str| member(name, part).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let both = format!("{} {}", part("givenName"), part("familyName"));
    let found = [part("formatted"), both.trim()].into_iter().find(|name| !name.is_empty());
    Ok(found.map(str::to_owned))
}

fn apply(change: &mut ProvisionedUserChange, operation: &Operation) -> Result<(), ScimFailure> {
    let Operation { kind, attribute, value, .. } = operation;
    let is_removed = *kind == Kind::Remove;
    let needed = |name: &str| {
        let message = format!("{name} cannot be removed: every user has one");
        if is_removed { Err(ScimFailure::value(message)) } else { Ok(()) }
    };
    match attribute.as_str() {
        "username" => {
            needed("userName")?;
            change.username = Some(text("userName", value)?);
        }
        "displayname" => {
            needed("displayName")?;
            change.display_name = Some(text("displayName", value)?);
        }
        "active" => {
            needed("active")?;
            // Some clients send it as a list of one.
            let value = each(value).first().unwrap_or(value);
            let value = value.as_object().and_then(|value| member(value, "value")).unwrap_or(value);
            change.active = Some(truth("active", value)?);
        }
        "emails"
            if operation.sub.as_deref().is_none_or(|sub| sub == "value")
                && operation.filter.as_deref().is_none_or(is_of_kept_address) =>
        {
            needed("emails")?;
            let address = one_address(value)?.ok_or_else(|| ScimFailure::value("emails is empty"))?;
            change.email = Some(address);
        }
        "emails" => {}
        "externalid" if is_removed || value.is_null() => change.external_id = Some(None),
        "externalid" => {
            change.external_id = Some(Some(text("externalId", value)?).filter(|id| !id.is_empty()));
        }
        other if NOT_KEPT.contains(&other) || other.starts_with("urn:") => {}
        other => return Err(patch::not_understood(other)),
    }
    Ok(())
}

/// Whether a filter on addresses means the one that is kept, which is shown as that of work.
fn is_of_kept_address(filter: &str) -> bool {
    let words: Vec<_> =
        filter.split_whitespace().map(|word| word.trim_matches('"').to_ascii_lowercase()).collect();
    words.split(|word| word == "and").all(|term| {
        let term: Vec<_> = term.iter().map(String::as_str).collect();
        matches!(term.as_slice(), ["type", "eq", "work"] | ["primary", "eq", "true"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(body: Value) -> Members {
        let Value::Object(body) = body else { unreachable!() };
        Members(body)
    }

    fn patched(operations: &Value) -> Result<ProvisionedUserChange, ScimFailure> {
        let mut change = ProvisionedUserChange::default();
        for operation in patch::parse(&members(json!({"Operations": operations})), USER)? {
            apply(&mut change, &operation)?;
        }
        Ok(change)
    }

    #[test]
    fn entra_and_okta_are_understood() {
        let entra = json!([
            {"op": "Replace", "path": "active", "value": "False"},
            {"op": "Add", "path": "emails[type eq \"work\"].value", "value": "a@example.com"},
            {"op": "Replace", "path": "name.givenName", "value": "Ann"},
            {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "IT"},
            {"op": "Remove", "path": "externalId"},
        ]);
        let change = patched(&entra).unwrap();
        assert_eq!((change.active, change.email.as_deref()), (Some(false), Some("a@example.com")));
        assert_eq!((change.external_id, change.display_name), (Some(None), None));
        let okta = patched(&json!([{"op": "replace", "value": {"active": false}}])).unwrap();
        assert_eq!(okta.active, Some(false));
        let listed =
            patched(&json!([{"op": "replace", "path": "active", "value": [{"value": "True"}]}])).unwrap();
        assert_eq!(listed.active, Some(true));
    }

    #[test]
    fn addresses_of_other_types_do_not_become_the_one_that_is_kept() {
        let address = |path: &str| {
            patched(&json!([{"op": "replace", "path": path, "value": "a@example.com"}])).unwrap().email
        };
        for kept in ["type eq \"Work\"", "primary eq true", "type eq \"work\" and primary eq True"] {
            assert!(address(&format!("emails[{kept}].value")).is_some(), "{kept}");
        }
        for other in ["type eq \"home\"", "type eq \"work\" and type eq \"home\"", "primary eq false", ""] {
            assert_eq!(address(&format!("emails[{other}].value")), None, "{other}");
        }
        assert!(address("emails").is_some() && address("emails.value").is_some());
    }

    #[test]
    fn what_every_user_has_is_not_removed_and_what_is_unknown_is_refused() {
        for (operation, kind) in [
            (json!({"op": "remove", "path": "displayName"}), "invalidValue"),
            (json!({"op": "remove", "path": "active"}), "invalidValue"),
            (json!({"op": "replace", "path": "active", "value": "maybe"}), "invalidValue"),
            (json!({"op": "replace", "path": "emails", "value": []}), "invalidValue"),
            (json!({"op": "replace", "path": "shoeSize", "value": 44}), "invalidPath"),
        ] {
            assert_eq!(patched(&json!([operation])).unwrap_err().kind(), Some(kind), "{operation}");
        }
    }

    #[test]
    fn a_user_is_made_of_what_the_client_has() {
        let user = new_user(&members(json!({
            "UserName": "ann@example.com", "name": {"givenName": "Ann", "familyName": "Example"}, "active": "true",
            "emails": [{"value": "home@example.com"}, {"value": "work@example.com", "primary": true}],
        })));
        let user = user.unwrap();
        assert_eq!((user.display_name.as_str(), user.email.as_str()), ("Ann Example", "work@example.com"));
        let bare = new_user(&members(json!({"userName": "ann@example.com"}))).unwrap();
        assert_eq!((bare.email.as_str(), bare.active), ("ann@example.com", true));
        assert!(new_user(&members(json!({"userName": "ann"}))).is_err());
        assert!(new_user(&members(json!({"emails": []}))).is_err());
    }
}
