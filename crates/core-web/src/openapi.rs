//! The description of the API (OpenAPI 3.1): from the handlers, completed from the table of routes.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use clm_core::organization_settings::OrganizationSettings;
use clm_core::policy_rules::PolicyRules;
use clm_core::workflow_definition::{AutoApproval, WorkflowDefinition};
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::PublicUrl;
use crate::idempotency::LONGEST_KEY;
use crate::routes::{Access, Condition, Idempotency, ROUTES, Route};

/// The parts that no handler describes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "CLM",
        description = "Certificate lifecycle management. Errors are problem documents (RFC 9457). Lists are read with \
                       `limit` and `cursor`. What changes carries an `ETag`; PUT and PATCH need it as `If-Match`, \
                       actions on it take it. What lies under `/scim/v2` is SCIM 2.0 (RFC 7643, RFC 7644): its bodies \
                       are described by `/scim/v2/Schemas`, its errors are those of SCIM.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(
        clm_api::Problem,
        PolicyRules,
        WorkflowDefinition,
        AutoApproval,
        OrganizationSettings
    ))
)]
struct Document;

/// Properties that hold a document which has a schema of its own.
const DOCUMENTS: &[(&str, &str, &str)] = &[
    ("Organization", "settings", "StoredOrganizationSettings"),
    ("OrganizationChange", "settings", "OrganizationSettings"),
    ("Policy", "rules", "PolicyRules"),
    ("PolicyDraft", "rules", "PolicyRules"),
    ("Workflow", "definition", "WorkflowDefinition"),
    ("WorkflowDraft", "definition", "WorkflowDefinition"),
];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| print(&document()));

/// The description as JSON text, the same on every run.
pub fn text() -> &'static str {
    &DOCUMENT
}

/// The description with the address at which this installation is reached, as an answer.
pub(crate) fn answer_at(url: &PublicUrl) -> ([(HeaderName, &'static str); 1], Bytes) {
    let mut document = document();
    if let Some(fields) = document.as_object_mut() {
        fields.insert("servers".to_owned(), json!([{"url": &*url.0}]));
    }
    ([(CONTENT_TYPE, "application/json")], print(&document).into())
}

fn print(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

fn document() -> Value {
    let mut parts = Document::openapi();
    parts.merge(crate::routes().into_openapi());
    let mut document = serde_json::to_value(parts).unwrap_or_default();
    for (schema, property, reference) in DOCUMENTS {
        let pointer = format!("/components/schemas/{schema}/properties/{property}");
        if let Some(slot) = document.pointer_mut(&pointer) {
            let description = slot.get("description").cloned().unwrap_or_default();
            *slot = json!({"$ref": format!("#/components/schemas/{reference}"), "description": description});
        }
    }
    for route in ROUTES {
        complete(&mut document, route);
        make_body_optional(&mut document, route);
    }
    if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
        schemas.insert("ScimError".to_owned(), scim_error());
        schemas.insert("StoredOrganizationSettings".to_owned(), stored_settings());
    }
    if let Some(components) = document.get_mut("components") {
        components["securitySchemes"] = json!({"api_key": {"type": "http", "scheme": "bearer",
            "description": "An API key, `clm_pat_…` or `clm_svc_…`."},
            "session": {"type": "http", "scheme": "bearer", "description": "A session, `clm_ses_…`."}});
    }
    document
}

/// What was written by another version, or before there were known settings, is shown too and takes no effect.
fn stored_settings() -> Value {
    let known = "#/components/schemas/OrganizationSettings";
    json!({
        "type": "object",
        "description": "Settings as they are stored: the known ones, and what else stands there and takes no effect.",
        "anyOf": [{"$ref": known}, {"type": "object", "additionalProperties": true}],
    })
}

fn scim_error() -> Value {
    json!({
        "type": "object",
        "description": "An error of SCIM.",
        "required": ["schemas", "status", "detail"],
        "properties": {
            "schemas": {"type": "array", "items": {"type": "string"}},
            "status": {"type": "string", "pattern": "^[45][0-9]{2}$", "description": "As in the answer's head."},
            "scimType": {"type": "string"},
            "detail": {"type": "string"},
        },
    })
}

/// A body of which nothing must be there can be absent as a whole.
fn make_body_optional(document: &mut Value, route: &Route) {
    let (method, path) = (route.method.to_ascii_lowercase(), route.path.replace('/', "~1"));
    let body = format!("/paths/{path}/{method}/requestBody");
    let schema = document.pointer(&format!("{body}/content/application~1json/schema/$ref"));
    let Some(schema) = schema.and_then(Value::as_str).map(|name| name.trim_start_matches('#')) else {
        return;
    };
    if document.pointer(&format!("{schema}/required")).is_some() {
        return;
    }
    if let Some(Value::Object(body)) = document.pointer_mut(&body) {
        body.insert("required".to_owned(), json!(false));
    }
}

/// Adds what the table knows: credentials, permission, headers, the problem document.
fn complete(document: &mut Value, route: &Route) {
    let method = route.method.to_ascii_lowercase();
    let operation = document.get_mut("paths").and_then(|paths| paths.get_mut(route.path)?.get_mut(&method));
    let Some(Value::Object(operation)) = operation else {
        return;
    };
    if let Access::Permission(permission) = route.access {
        operation.insert("x-permission".to_owned(), json!(permission));
    }
    if route.access != Access::Public {
        operation.insert("security".to_owned(), json!([{"api_key": []}, {"session": []}]));
    }
    if route.fresh {
        operation.insert("x-fresh-factor".to_owned(), json!(true));
    }
    // What the handlers are called is not unique among them.
    operation.insert("operationId".to_owned(), json!(operation_id(route)));
    let headers = headers(route);
    if let Value::Array(parameters) = operation.entry("parameters").or_insert_with(|| json!([])) {
        parameters.extend(headers);
    }
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        if crate::scim::is_ours(route.path) {
            let content =
                json!({crate::scim::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ScimError"}}});
            let error =
                json!({"description": "An error of SCIM (RFC 7644 section 3.12)", "content": content});
            responses.insert("default".to_owned(), error);
            return;
        }
        let problem = json!({"description": "A problem", "content": {"application/problem+json":
            {"schema": {"$ref": "#/components/schemas/Problem"}}}});
        responses.insert("default".to_owned(), problem);
    }
}

/// From method and path: `post_users_id_disable`.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/api/v1").replace(['-', '.'], "_");
    let words =
        path.split('/').map(|word| word.trim_matches(['{', '}', '_'])).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", route.method, words.join("_")).to_ascii_lowercase()
}

fn headers(route: &Route) -> Vec<Value> {
    let header = |name: &str, required: bool, description: &str, schema: Value| json!({"name": name, "in": "header", "required": required, "description": description, "schema": schema});
    let mut headers = Vec::new();
    if route.idempotency != Idempotency::None {
        headers.push(header(
            "Idempotency-Key",
            route.idempotency == Idempotency::Required,
            "Fresh for each new call; the same one repeats the call without a second effect.",
            json!({"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}),
        ));
    }
    if route.condition != Condition::None {
        let required = route.condition == Condition::Required;
        let text = json!({"type": "string"});
        headers.push(header("If-Match", required, "The ETag of the version that was read.", text));
    }
    if route.access != Access::Public {
        headers.push(header(
            "CLM-Organization",
            false,
            "The organization to work in, for API keys that are good for several.",
            json!({"type": "string", "format": "uuid"}),
        ));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_a_name_of_its_own() {
        let mut names: Vec<String> = ROUTES.iter().map(operation_id).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:#?}");
        assert!(names.contains(&"post_users_id_disable".to_owned()));
    }

    #[test]
    fn a_body_can_be_absent_where_nothing_must_be_in_it() {
        let required = |path: &str| document()["paths"][path]["post"]["requestBody"]["required"].clone();
        assert_eq!(required("/api/v1/certificates/{id}/renew"), json!(false));
        assert_eq!(required("/api/v1/certificates/{id}/revoke"), json!(true));
    }

    #[test]
    fn settings_are_described_as_they_are_sent_and_as_they_are_stored() {
        let schemas = &document()["components"]["schemas"];
        let factor = &schemas["SignInSettings"]["properties"]["second_factor"];
        assert_eq!(factor["enum"], json!(["optional", "required", null]), "{factor:#}");
        assert_eq!(schemas["OrganizationSettings"]["additionalProperties"], false);
        let shown = schemas["Organization"]["properties"]["settings"]["$ref"].as_str().unwrap_or_default();
        assert_eq!(shown, "#/components/schemas/StoredOrganizationSettings");
        assert_eq!(schemas["StoredOrganizationSettings"]["anyOf"][1]["additionalProperties"], true);
    }

    #[test]
    fn common_search_is_described_as_not_there() {
        let search = &document()["paths"]["/scim/v2/.search"]["post"]["responses"];
        assert!(search["501"]["content"][crate::scim::MEDIA_TYPE].is_object(), "{search:#}");
    }
}
