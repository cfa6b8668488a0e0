//! Changes that were refused, for the audit log.

use axum::http::Uri;
use axum::response::Response;
use clm_core::{Core, Ctx};
use clm_types::Refusal;
use uuid::Uuid;

use crate::failure::Failure;
use crate::routes::Route;

/// A call as its refusal is put on record. A read is none: it changes nothing.
pub(crate) struct Call {
    ctx: Ctx,
    route: &'static Route,
    uri: Uri,
}

impl Call {
    pub(crate) fn new(ctx: &Ctx, route: &'static Route, uri: &Uri) -> Option<Self> {
        (route.method != "GET").then(|| Self { ctx: ctx.clone(), route, uri: uri.clone() })
    }

    /// Notes a refusal of the call.
    pub(crate) fn note(&self, core: &Core, refusal: &Refusal) {
        let (action, object_type) = action(self.route);
        let object_id = object_id(self.route.path, self.uri.path());
        core.note_refusal(&self.ctx, (&action, &object_type), object_id, refusal);
    }

    /// Notes the refusal that an answer is, if it is one.
    pub(crate) fn note_answer(&self, core: &Core, answer: &Result<Response, Failure>) {
        let failure = match answer {
            Ok(response) => response.extensions().get::<Failure>(),
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            self.note(core, &failure.0);
        }
    }
}

/// `noun.verb` and the noun: the first word of the path, and the last one, or what the method means.
fn action(route: &Route) -> (String, String) {
    let path = route.path.trim_start_matches("/api/v1").trim_start_matches("/scim/v2").to_ascii_lowercase();
    let mut words = path.split('/').filter(|word| !word.is_empty() && !word.starts_with('{'));
    let noun = words.next().map(singular).unwrap_or_default();
    let verb = words
        .next_back()
        .map_or_else(|| if route.method == "POST" { "create" } else { "update" }.to_owned(), singular);
    (format!("{noun}.{verb}"), noun)
}

fn singular(word: &str) -> String {
    let word = word.replace('-', "_");
    match (word.strip_suffix("ies"), word.strip_suffix('s')) {
        (Some(stem), _) => format!("{stem}y"),
        (None, Some(stem)) => stem.to_owned(),
        (None, None) => word,
    }
}

fn object_id(pattern: &str, path: &str) -> Option<Uuid> {
    let place = pattern.split('/').position(|word| word == "{id}")?;
    path.split('/').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes;

    #[test]
    fn each_change_has_a_noun_and_a_verb() {
        let of = |method, path| action(routes::find(method, path).unwrap()).0;
        assert_eq!(of("POST", "/api/v1/requests"), "request.create");
        assert_eq!(of("POST", "/api/v1/requests/{id}/approve"), "request.approve");
        assert_eq!(of("POST", "/api/v1/certificates/{id}/revoke"), "certificate.revoke");
        assert_eq!(of("PATCH", "/api/v1/certificates/{id}"), "certificate.update");
        assert_eq!(of("PUT", "/api/v1/policies/{id}"), "policy.update");
        assert_eq!(of("POST", "/api/v1/api-keys"), "api_key.create");
        assert_eq!(of("POST", "/api/v1/role-assignments/{id}/revoke"), "role_assignment.revoke");
        assert_eq!(of("POST", "/api/v1/integrity/runs"), "integrity.run");
        assert_eq!(of("PATCH", "/scim/v2/Users/{id}"), "user.update");
    }

    #[test]
    fn the_object_is_in_the_path() {
        let id = Uuid::from_u128(7);
        assert_eq!(object_id("/api/v1/users/{id}/disable", &format!("/api/v1/users/{id}/disable")), Some(id));
        assert_eq!(object_id("/api/v1/users", "/api/v1/users"), None);
        assert_eq!(object_id("/api/v1/users/{id}", "/api/v1/users/me"), None);
    }
}
