//! PATCH (RFC 7644 §3.5.2) as it is spelled out there, and as identity providers spell it: `Replace`, values without a path,
//! paths as names of members, texts for truths.

use serde_json::Value;

use super::body::{Members, member};
use super::failure::ScimFailure;
use super::filter::plain;

/// Operations of one call at most.
const MOST_OPERATIONS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    Replace,
    Remove,
}

/// One change of one attribute.
#[derive(Debug, PartialEq)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// In lower case, without the schema before it.
    pub(super) attribute: String,
    /// Between brackets.
    pub(super) filter: Option<String>,
    /// After a dot, in lower case.
    pub(super) sub: Option<String>,
    /// Null where there is none.
    pub(super) value: Value,
}

/// Reads the changes of a resource of a schema, in their order.
pub(super) fn parse(body: &Members, schema: &str) -> Result<Vec<Operation>, ScimFailure> {
    let operations = body.get("Operations").and_then(Value::as_array);
    let operations = operations.ok_or_else(|| ScimFailure::syntax("Operations must be an array"))?;
    let mut read = Vec::new();
    for operation in operations {
        let Value::Object(operation) = operation else {
            return Err(ScimFailure::syntax("an operation must be an object"));
        };
        let kind = kind(member(operation, "op"))?;
        let value = member(operation, "value").cloned().unwrap_or(Value::Null);
        match (member(operation, "path"), value) {
            (Some(Value::String(path)), value) => read.push(at(kind, path, value, schema)?),
            (Some(_), _) => return Err(ScimFailure::path("a path must be a text")),
            (None, Value::Object(values)) if kind != Kind::Remove => {
                for (path, value) in values {
                    read.push(at(kind, &path, value, schema)?);
                }
            }
            (None, _) => {
                return Err(ScimFailure::path("an operation without a path has an object as its value"));
            }
        }
        if read.len() > MOST_OPERATIONS {
            return Err(ScimFailure::value(format!("more than {MOST_OPERATIONS} changes in one call")));
        }
    }
    Ok(read)
}

fn kind(op: Option<&Value>) -> Result<Kind, ScimFailure> {
    let op = op.and_then(Value::as_str).unwrap_or_default();
    [("add", Kind::Add), ("replace", Kind::Replace), ("remove", Kind::Remove)]
        .into_iter()
        .find(|(name, _)| op.eq_ignore_ascii_case(name))
        .map(|(_, kind)| kind)
        .ok_or_else(|| ScimFailure::syntax("op must be add, replace or remove"))
}

fn at(kind: Kind, path: &str, value: Value, schema: &str) -> Result<Operation, ScimFailure> {
    let (path, filter, rest) = match path.split_once('[') {
        Some((attribute, rest)) => {
            let (filter, rest) = rest.rsplit_once(']').ok_or_else(|| not_understood(path))?;
            (attribute, Some(filter.to_owned()), rest)
        }
        None => (path, None, ""),
    };
    let path = plain(path.trim(), schema);
    // Names of other schemas hold dots.
    let (attribute, sub) = match path.split_once('.') {
        Some((attribute, sub)) if filter.is_none() && !path.starts_with("urn:") => {
            (attribute.to_owned(), Some(sub.to_owned()))
        }
        _ => (path, rest.strip_prefix('.').map(str::to_ascii_lowercase)),
    };
    if attribute.is_empty() || filter.is_some() && !rest.is_empty() && sub.is_none() {
        return Err(not_understood(&attribute));
    }
    Ok(Operation { kind, attribute, filter, sub, value })
}

/// A path that leads nowhere.
pub(super) fn not_understood(path: &str) -> ScimFailure {
    let shown: String = path.chars().take(60).collect();
    ScimFailure::path(format!("there is nothing at the path `{shown}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::USER;
    use serde_json::json;

    fn read(operation: &Value) -> Result<Vec<Operation>, ScimFailure> {
        let Value::Object(body) = json!({"Operations": [operation]}) else { unreachable!() };
        parse(&Members(body), USER)
    }

    #[test]
    fn paths_are_read_as_identity_providers_write_them() {
        let one = |path: &str| {
            let read = read(&json!({"op": "Replace", "path": path, "value": "x"})).unwrap().remove(0);
            (read.attribute, read.filter, read.sub)
        };
        let plain = |name: &str| (name.to_owned(), None, None);
        assert_eq!(one("displayName"), plain("displayname"));
        assert_eq!(one("urn:ietf:params:scim:schemas:core:2.0:User:active"), plain("active"));
        assert_eq!(one("name.givenName"), ("name".to_owned(), None, Some("givenname".to_owned())));
        let work = ("emails".to_owned(), Some("type eq \"work\"".to_owned()), Some("value".to_owned()));
        assert_eq!(one("emails[type eq \"work\"].value"), work);
        let extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
        assert_eq!(one(extension), plain(&extension.to_ascii_lowercase()));
    }

    #[test]
    fn without_a_path_each_member_is_one() {
        let read = read(&json!({"op": "replace", "value": {"active": "False", "displayName": "A"}})).unwrap();
        let names: Vec<_> = read.iter().map(|one| (one.attribute.as_str(), one.value.clone())).collect();
        assert_eq!(names, [("active", json!("False")), ("displayname", json!("A"))]);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for (wrong, kind) in [
            (json!({"op": "move", "path": "a"}), "invalidSyntax"),
            (json!({"path": "a"}), "invalidSyntax"),
            (json!(7), "invalidSyntax"),
            (json!({"op": "remove"}), "invalidPath"),
            (json!({"op": "add", "value": 7}), "invalidPath"),
            (json!({"op": "add", "path": 7}), "invalidPath"),
            (json!({"op": "add", "path": "", "value": 7}), "invalidPath"),
            (json!({"op": "add", "path": "a[b", "value": 7}), "invalidPath"),
            (json!({"op": "add", "path": "a[b]c", "value": 7}), "invalidPath"),
        ] {
            assert_eq!(read(&wrong).unwrap_err().kind(), Some(kind), "{wrong}");
        }
        assert!(parse(&Members(serde_json::Map::new()), USER).is_err());
    }
}
