//! What `workflow_instances.context` holds: the request as submitted, complete, so that any process can carry it on.

use std::collections::BTreeMap;

use clm_types::{
    AuthorityId, CertificateSpec, ErrorCode, KeyAlgorithm, KeyExportSpec, Refusal, RevocationSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::CoreError;
use crate::fields::is_forbidden;

/// Most tags of a certificate, and octets of its custom fields.
const MOST_TAGS: usize = 50;
const LARGEST_CUSTOM_FIELDS: usize = 16 * 1024;
/// Longest names and values, in characters.
const LONGEST_LABEL: usize = 100;
const LONGEST_VALUE: usize = 500;
const LONGEST_TEXT: usize = 2000;

/// The stored request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestContext {
    /// What shall be issued; absent where no certificate is to be made. The mandate's digest covers exactly this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<CertificateSpec>,
    /// What shall be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revocation: Option<RevocationSpec>,
    /// The private key that shall be handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_export: Option<KeyExportSpec>,
    /// The authority that shall act.
    pub(crate) authority_id: AuthorityId,
    /// Of the key in the CSR or the one to be generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_algorithm: Option<KeyAlgorithm>,
    /// What the inventory shall say of the certificate.
    #[serde(flatten)]
    pub(crate) labels: Labels,
    /// A word to the approvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// Why no approval was needed, or why it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval_reason: Option<String>,
    /// How long each step may take once its turn has come, in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) step_deadlines: Vec<Option<u64>>,
}

impl RequestContext {
    /// Reads what is stored.
    pub(crate) fn parse(context: &Value) -> Result<Self, CoreError> {
        Self::deserialize(context)
            .map_err(|error| CoreError::defect_of("a stored request cannot be read", error))
    }

    /// As it is stored.
    pub(crate) fn to_json(&self) -> Result<Value, CoreError> {
        serde_json::to_value(self)
            .map_err(|error| CoreError::defect_of("a request cannot be written down", error))
    }
}

/// What people note about a certificate, for finding it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Where it is used, for example `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The organization's own category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Fields of the organization's own.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub custom_fields: serde_json::Map<String, Value>,
}

impl Labels {
    /// Fails unless everything has a bounded size and can be stored.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.tags.len() > MOST_TAGS {
            return Err(invalid("/tags", format!("a certificate has at most {MOST_TAGS} tags")));
        }
        for (name, value) in &self.tags {
            check_text("/tags", name, 1, LONGEST_LABEL)?;
            check_text("/tags", value, 0, LONGEST_VALUE)?;
        }
        check_label("/environment", self.environment.as_deref())?;
        check_label("/category", self.category.as_deref())?;
        check_custom_fields(&self.custom_fields)
    }
}

/// Fails unless a name of one line fits.
pub(crate) fn check_label(field: &str, text: Option<&str>) -> Result<(), Refusal> {
    text.map_or(Ok(()), |text| check_text(field, text, 1, LONGEST_LABEL))
}

/// Fails unless a text of several lines fits.
pub(crate) fn check_comment(field: &str, text: Option<&str>) -> Result<(), Refusal> {
    let Some(text) = text else { return Ok(()) };
    let lines = text.replace(['\n', '\r', '\t'], " ");
    check_text(field, &lines, 0, LONGEST_TEXT)
}

fn check_text(field: &str, text: &str, shortest: usize, longest: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if length < shortest || length > longest {
        return Err(invalid(
            field,
            format!("this has {length} characters; {shortest} to {longest} are taken"),
        ));
    }
    if text.chars().any(is_forbidden) {
        return Err(invalid(field, "control characters (NUL, line ends, …) are not taken".to_owned()));
    }
    Ok(())
}

fn check_custom_fields(fields: &serde_json::Map<String, Value>) -> Result<(), Refusal> {
    let text = serde_json::to_string(fields).unwrap_or_default();
    if text.len() > LARGEST_CUSTOM_FIELDS {
        return Err(invalid(
            "/custom_fields",
            format!("custom fields take {LARGEST_CUSTOM_FIELDS} octets at most"),
        ));
    }
    // PostgreSQL's jsonb cannot hold U+0000.
    if text.contains("\\u0000") {
        return Err(invalid("/custom_fields", "the character NUL is not taken".to_owned()));
    }
    Ok(())
}

fn invalid(field: &str, detail: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, detail).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_that_cannot_be_stored_or_shown_are_refused() {
        let labels = |document: Value| serde_json::from_value::<Labels>(document).unwrap().check();
        assert!(labels(json!({"tags": {"team": "web"}, "environment": "production"})).is_ok());
        for wrong in [
            json!({"tags": {"": "x"}}),
            json!({"tags": {"a\u{0}b": "x"}}),
            json!({"tags": {"a": "x".repeat(501)}}),
            json!({"environment": "a\nb"}),
            json!({"category": ""}),
            json!({"custom_fields": {"a": "b\u{0}"}}),
            json!({"custom_fields": {"a": "x".repeat(20_000)}}),
        ] {
            let refusal = labels(wrong.clone()).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{wrong}");
            assert!(refusal.field.is_some());
        }
    }

    #[test]
    fn a_comment_may_have_lines_but_no_nul() {
        assert!(check_comment("/comment", Some("one\r\n\ttwo")).is_ok());
        assert!(check_comment("/comment", Some("a\u{0}")).is_err());
        assert!(check_comment("/comment", None).is_ok());
    }
}
