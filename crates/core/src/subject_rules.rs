//! Which subjects a policy allows.

use std::collections::BTreeMap;

use clm_types::{ErrorCode, Refusal};
use clm_x509::{NameAttribute, SubjectName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What may stand in the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubjectRules {
    /// Rules per attribute, by its label: CN, O, OU, L, ST, STREET, C, DC, UID, SERIALNUMBER, EMAIL.
    pub attributes: BTreeMap<String, AttributeRule>,
    /// Whether attributes without a rule are allowed, with any value. The common name always is.
    pub other_attributes_allowed: bool,
}

/// What one attribute must be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttributeRule {
    /// It must be there.
    pub required: bool,
    /// The only values it may have; empty: any value.
    pub values: Vec<String>,
}

impl Default for SubjectRules {
    fn default() -> Self {
        Self { attributes: BTreeMap::new(), other_attributes_allowed: true }
    }
}

const fn label(attribute: NameAttribute) -> &'static str {
    match attribute {
        NameAttribute::CommonName => "CN",
        NameAttribute::SerialNumber => "SERIALNUMBER",
        NameAttribute::Country => "C",
        NameAttribute::Locality => "L",
        NameAttribute::State => "ST",
        NameAttribute::Street => "STREET",
        NameAttribute::Organization => "O",
        NameAttribute::OrganizationalUnit => "OU",
        NameAttribute::DomainComponent => "DC",
        NameAttribute::UserId => "UID",
        NameAttribute::Email => "EMAIL",
    }
}

const LABELS: [&str; 11] = ["CN", "SERIALNUMBER", "C", "L", "ST", "STREET", "O", "OU", "DC", "UID", "EMAIL"];

impl SubjectRules {
    /// Fails unless every part of the document means something.
    ///
    /// # Errors
    /// `policy_invalid`.
    pub fn check_document(&self) -> Result<(), Refusal> {
        match self.attributes.keys().find(|label| !LABELS.contains(&label.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(Refusal::new(
                ErrorCode::PolicyInvalid,
                format!("`{unknown}` is no attribute of a subject"),
            )
            .field("/rules/subject/attributes")
            .hint(format!("one of {}", LABELS.join(", ")))),
        }
    }

    /// Fails unless the subject is allowed.
    ///
    /// # Errors
    /// `name_not_allowed`, `name_missing`.
    pub fn check(&self, subject: &SubjectName) -> Result<(), Refusal> {
        for (attribute, value) in subject.attributes() {
            self.check_attribute(label(attribute), value)?;
        }
        for (name, rule) in self.attributes.iter().filter(|(_, rule)| rule.required) {
            if !subject.attributes().any(|(attribute, _)| label(attribute) == name) {
                return Err(Refusal::new(
                    ErrorCode::NameMissing,
                    format!("the policy requires {name} in the subject"),
                )
                .field("/subject")
                .hint(values_in_words(name, rule)));
            }
        }
        Ok(())
    }

    fn check_attribute(&self, name: &str, value: &str) -> Result<(), Refusal> {
        let refused = |detail: String| Err(Refusal::new(ErrorCode::NameNotAllowed, detail).field("/subject"));
        match self.attributes.get(name) {
            None if self.other_attributes_allowed || name == "CN" => Ok(()),
            None => refused(format!("the policy does not allow {name} in the subject")),
            Some(rule) if rule.values.is_empty() || rule.values.iter().any(|each| each == value) => Ok(()),
            Some(rule) => refused(format!(
                "the policy does not allow {name}={value} in the subject: {}",
                values_in_words(name, rule)
            )),
        }
    }
}

fn values_in_words(name: &str, rule: &AttributeRule) -> String {
    if rule.values.is_empty() {
        format!("{name} may have any value")
    } else {
        format!("{name} is one of {}", rule.values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rules: &str, subject: &str) -> Option<ErrorCode> {
        let rules: SubjectRules = serde_json::from_str(rules).unwrap();
        rules.check(&subject.parse().unwrap()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn a_fixed_organization_must_be_exactly_that() {
        let rules = r#"{"attributes":{"O":{"required":true,"values":["Example"]}}}"#;
        assert_eq!(verdict(rules, "CN=a,O=Example"), None);
        assert_eq!(verdict(rules, "CN=a,O=Other"), Some(ErrorCode::NameNotAllowed));
        assert_eq!(verdict(rules, "CN=a,O=Example,O=Other"), Some(ErrorCode::NameNotAllowed));
        assert_eq!(verdict(rules, "CN=a"), Some(ErrorCode::NameMissing));
    }

    #[test]
    fn attributes_without_a_rule_can_be_forbidden() {
        let rules = r#"{"other_attributes_allowed":false}"#;
        assert_eq!(verdict(rules, "CN=a"), None);
        assert_eq!(verdict(rules, "CN=a,OU=x"), Some(ErrorCode::NameNotAllowed));
    }

    #[test]
    fn a_rule_for_an_unknown_attribute_is_refused() {
        let rules: SubjectRules = serde_json::from_str(r#"{"attributes":{"X":{}}}"#).unwrap();
        assert_eq!(rules.check_document().unwrap_err().code, ErrorCode::PolicyInvalid);
    }
}
