//! `attributes` and `excludedAttributes`: what of a resource the caller wants to see (RFC 7644 §3.9).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::ScimFailure;
use super::filter::plain;

/// The query of every answer with resources.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownQuery {
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

/// Which attributes are shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All but these.
    Without(Vec<String>),
    /// These, and those that are always shown.
    Only(Vec<String>),
}

impl ShownQuery {
    pub(super) fn read(&self, schema: &str) -> Result<Shown, ScimFailure> {
        let names = |text: &str| {
            text.split(',').map(|name| plain(name.trim(), schema)).filter(|name| !name.is_empty()).collect()
        };
        match (&self.attributes, &self.excluded_attributes) {
            (Some(_), Some(_)) => {
                Err(ScimFailure::value("attributes and excludedAttributes exclude each other"))
            }
            (Some(only), None) => Ok(Shown::Only(names(only))),
            (None, without) => Ok(Shown::Without(without.as_deref().map(names).unwrap_or_default())),
        }
    }
}

impl Shown {
    /// Whether anything of this attribute is shown.
    pub(super) fn has(&self, attribute: &str) -> bool {
        match self {
            Self::Without(names) => !names.iter().any(|name| name == attribute),
            Self::Only(names) => names.iter().any(|name| begins(name, attribute)),
        }
    }

    /// What of a resource is shown.
    pub(super) fn of(&self, resource: &Value) -> Value {
        let Value::Object(members) = resource else { return resource.clone() };
        let kept = members.iter().filter_map(|(name, value)| {
            let lower = name.to_ascii_lowercase();
            let always = matches!(lower.as_str(), "schemas" | "id");
            let value = if always { Some(value.clone()) } else { self.part(&lower, value) };
            value.map(|value| (name.clone(), value))
        });
        Value::Object(kept.collect())
    }

    fn part(&self, attribute: &str, value: &Value) -> Option<Value> {
        if !self.has(attribute) {
            return None;
        }
        let (names, wanted) = match self {
            Self::Without(names) => (names, false),
            Self::Only(names) if names.iter().any(|name| name == attribute) => return Some(value.clone()),
            Self::Only(names) => (names, true),
        };
        let keep = |sub: &str| {
            let whole = format!("{attribute}.{}", sub.to_ascii_lowercase());
            names.contains(&whole) == wanted
        };
        Some(pruned(value, &keep))
    }
}

fn begins(name: &str, attribute: &str) -> bool {
    name.strip_prefix(attribute).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn pruned(value: &Value, keep: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| pruned(item, keep)).collect()),
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| keep(name));
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::GROUP;
    use serde_json::json;

    fn shown(attributes: Option<&str>, excluded: Option<&str>) -> Value {
        let query = ShownQuery {
            attributes: attributes.map(str::to_owned),
            excluded_attributes: excluded.map(str::to_owned),
        };
        let group = json!({"schemas": [GROUP], "id": "1", "displayName": "a", "members": [{"value": "2", "$ref": "x"}]});
        query.read(GROUP).unwrap().of(&group)
    }

    #[test]
    fn what_is_asked_for_is_shown_and_what_always_is() {
        assert_eq!(
            shown(Some("displayname"), None),
            json!({"schemas": [GROUP], "id": "1", "displayName": "a"})
        );
        let members = json!({"schemas": [GROUP], "id": "1", "members": [{"value": "2"}]});
        assert_eq!(shown(Some(&format!("{GROUP}:members.value")), None), members);
        assert_eq!(shown(Some(""), None), json!({"schemas": [GROUP], "id": "1"}));
    }

    #[test]
    fn what_is_excluded_is_not_shown() {
        let without = json!({"schemas": [GROUP], "id": "1", "displayName": "a"});
        assert_eq!(shown(None, Some("members, id")), without);
        assert_eq!(shown(None, Some("members.$ref"))["members"], json!([{"value": "2"}]));
    }
}
