//! The typed document of a certificate policy, `policies.policy_rules`.

use clm_types::{ErrorCode, KeyAlgorithm, KeySource, Refusal, RoleId, WorkflowKind};
use clm_x509::{Profile, San};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::name_rules::NameRules;
use crate::proposal::ProposedCertificate;
use crate::subject_rules::SubjectRules;

/// What certificates may be asked for, by whom, and who decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRules {
    /// Allowed profiles; at least one.
    pub profiles: Vec<String>,
    /// Allowed authorities by id or name; empty: every one.
    #[serde(default)]
    pub authorities: Vec<String>,
    /// Allowed key algorithms; at least one.
    #[schema(value_type = Vec<String>)]
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// Allowed sources of keys (`csr`, `generated`, `reused`); at least one.
    #[schema(value_type = Vec<String>)]
    pub key_sources: Vec<KeySource>,
    /// Allowed subject alternative names.
    #[serde(default)]
    pub names: NameRules,
    /// Most subject alternative names in one certificate.
    pub max_names: u32,
    /// Longest lifetime in seconds.
    pub max_validity_seconds: u64,
    /// Lifetime in seconds when the request names none.
    pub default_validity_seconds: u64,
    /// Allowed subjects.
    #[serde(default)]
    pub subject: SubjectRules,
    /// Only holders of one of these roles may ask; empty: everybody with the permission.
    #[serde(default)]
    #[schema(value_type = Vec<uuid::Uuid>)]
    pub requester_role_ids: Vec<RoleId>,
    /// Who decides.
    #[serde(default)]
    pub workflows: PolicyWorkflows,
}

/// Codes of the workflows that decide; without one, what the policy allows is approved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyWorkflows {
    /// For new certificates.
    pub issuance: Option<String>,
    /// For renewals.
    pub renewal: Option<String>,
    /// For revocations, holds and releases.
    pub revocation: Option<String>,
    /// For handing out private keys; without one, two approvers decide.
    pub key_export: Option<String>,
}

impl PolicyWorkflows {
    /// The code for this kind.
    pub fn code(&self, kind: WorkflowKind) -> Option<&str> {
        match kind {
            WorkflowKind::Issuance => self.issuance.as_deref(),
            WorkflowKind::Renewal => self.renewal.as_deref(),
            WorkflowKind::Revocation => self.revocation.as_deref(),
            WorkflowKind::KeyExport => self.key_export.as_deref(),
        }
    }
}

impl PolicyRules {
    /// Reads a stored or received document.
    ///
    /// # Errors
    /// `policy_invalid`, with what does not fit.
    pub fn parse(document: &serde_json::Value) -> Result<Self, Refusal> {
        Self::deserialize(document).map_err(|error| {
            Refusal::new(ErrorCode::PolicyInvalid, format!("the policy's rules: {error}")).field("/rules")
        })
    }

    /// Fails unless every part of the document means something and none contradicts another.
    ///
    /// # Errors
    /// `policy_invalid`.
    pub fn check_document(&self) -> Result<(), Refusal> {
        let wrong = |field: &str, detail: String| {
            Err(Refusal::new(ErrorCode::PolicyInvalid, detail).field(format!("/rules/{field}")))
        };
        if self.profiles.is_empty() || self.key_algorithms.is_empty() || self.key_sources.is_empty() {
            return wrong(
                "profiles",
                "profiles, key_algorithms and key_sources each need at least one entry".to_owned(),
            );
        }
        if let Some(unknown) = self.profiles.iter().find(|name| Profile::built_in(name).is_none()) {
            return wrong("profiles", format!("there is no profile `{unknown}`"));
        }
        if self.default_validity_seconds == 0 || self.default_validity_seconds > self.max_validity_seconds {
            return wrong(
                "default_validity_seconds",
                "the default validity must be more than 0 and at most the longest".to_owned(),
            );
        }
        self.names.check_document()?;
        self.subject.check_document()
    }

    /// Fails unless the policy allows this certificate.
    ///
    /// # Errors
    /// The first rule that is broken, each with its own code, field and the rule in words.
    pub fn check(&self, proposed: &ProposedCertificate) -> Result<(), Refusal> {
        self.check_requester(proposed)?;
        self.check_profile_and_authority(proposed)?;
        self.check_key(proposed)?;
        self.check_validity(proposed.validity_seconds)?;
        self.check_names(proposed)?;
        self.subject.check(&proposed.subject)
    }

    fn check_requester(&self, proposed: &ProposedCertificate) -> Result<(), Refusal> {
        let allowed = self.requester_role_ids.is_empty()
            || self.requester_role_ids.iter().any(|role| proposed.requester_role_ids.contains(role));
        if allowed {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::PermissionDenied,
            "the policy takes requests only from holders of certain roles, and you have none of them",
        )
        .field("/policy"))
    }

    fn check_profile_and_authority(&self, proposed: &ProposedCertificate) -> Result<(), Refusal> {
        if !self.profiles.contains(&proposed.profile) {
            return Err(Refusal::new(
                ErrorCode::ProfileNotAllowed,
                format!("the policy does not allow the profile `{}`", proposed.profile),
            )
            .field("/profile")
            .hint(format!("it allows {}", self.profiles.join(", "))));
        }
        let id = proposed.authority_id.to_string();
        let allowed = self.authorities.is_empty()
            || self.authorities.iter().any(|each| *each == id || *each == proposed.authority_name);
        if allowed {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::AuthorityNotAllowed,
            format!("the policy does not allow the authority `{}`", proposed.authority_name),
        )
        .field("/authority")
        .hint(format!("it allows {}", self.authorities.join(", "))))
    }

    fn check_key(&self, proposed: &ProposedCertificate) -> Result<(), Refusal> {
        if !self.key_algorithms.contains(&proposed.key_algorithm) {
            return Err(Refusal::new(
                ErrorCode::KeyAlgorithmNotAllowed,
                format!("the policy does not allow {} keys", proposed.key_algorithm),
            )
            .field(key_field(proposed.key_source))
            .hint(format!("it allows {}", listed(self.key_algorithms.iter().map(|each| each.as_str())))));
        }
        if self.key_sources.contains(&proposed.key_source) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::KeyAlgorithmNotAllowed,
            format!("the policy does not allow keys that are `{}`", proposed.key_source),
        )
        .field(key_field(proposed.key_source))
        .hint(format!("it allows {}", listed(self.key_sources.iter().map(|each| each.as_str())))))
    }

    fn check_validity(&self, seconds: u64) -> Result<(), Refusal> {
        if seconds == 0 {
            return Err(Refusal::new(ErrorCode::ValidityInvalid, "the validity is 0 seconds")
                .field("/validity_seconds"));
        }
        if seconds <= self.max_validity_seconds {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::ValidityTooLong,
            format!(
                "{seconds} seconds of validity are more than the {} that the policy allows",
                self.max_validity_seconds
            ),
        )
        .field("/validity_seconds")
        .hint(format!(
            "ask for at most {} seconds ({} days)",
            self.max_validity_seconds,
            self.max_validity_seconds / 86_400
        )))
    }

    fn check_names(&self, proposed: &ProposedCertificate) -> Result<(), Refusal> {
        let count = proposed.sans.len();
        if count > self.max_names as usize {
            return Err(Refusal::new(
                ErrorCode::TooManyNames,
                format!("{count} names are more than the {} that the policy allows", self.max_names),
            )
            .field("/sans"));
        }
        for (index, name) in proposed.sans.iter().enumerate() {
            self.names.check(name, &format!("/sans/{index}"))?;
        }
        // Old clients still compare host names with the common name.
        match proposed.subject.common_name().map(host_in) {
            Some(Some(host)) => self.names.check(&host, "/subject"),
            _ => Ok(()),
        }
    }
}

/// The host that a common name would be taken for, if any.
fn host_in(common_name: &str) -> Option<San> {
    if let Ok(address) = common_name.parse() {
        return Some(San::Ip(address));
    }
    common_name.contains('.').then(|| San::dns(common_name).ok()).flatten()
}

/// The field of a request that says where the key comes from.
pub(crate) const fn key_field(source: KeySource) -> &'static str {
    match source {
        KeySource::Csr => "/csr_pem",
        KeySource::Generated | KeySource::Reused => "/key_algorithm",
    }
}

fn listed<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::sample;
    use serde_json::json;

    fn rules() -> PolicyRules {
        PolicyRules::parse(&json!({
            "profiles": ["tls-server"],
            "authorities": ["issuing"],
            "key_algorithms": ["ecdsa-p256"],
            "key_sources": ["csr"],
            "names": {"dns_suffixes": ["example.com"]},
            "max_names": 2,
            "max_validity_seconds": 90 * 86_400,
            "default_validity_seconds": 30 * 86_400,
            "requester_role_ids": [crate::roles::REQUESTER],
        }))
        .unwrap()
    }

    #[test]
    fn what_keeps_every_rule_is_allowed() {
        assert!(rules().check_document().is_ok());
        assert_eq!(rules().check(&sample::server()), Ok(()));
    }

    type Break = fn(&mut ProposedCertificate);

    #[test]
    fn each_broken_rule_has_its_own_code_and_field() {
        let cases: [(Break, ErrorCode, &str); 10] = [
            (|p| p.profile = "tls-client".to_owned(), ErrorCode::ProfileNotAllowed, "/profile"),
            (|p| p.authority_name = "other".to_owned(), ErrorCode::AuthorityNotAllowed, "/authority"),
            (|p| p.key_algorithm = KeyAlgorithm::Rsa2048, ErrorCode::KeyAlgorithmNotAllowed, "/csr_pem"),
            (|p| p.key_source = KeySource::Generated, ErrorCode::KeyAlgorithmNotAllowed, "/key_algorithm"),
            (|p| p.validity_seconds += 1, ErrorCode::ValidityTooLong, "/validity_seconds"),
            (|p| p.validity_seconds = 0, ErrorCode::ValidityInvalid, "/validity_seconds"),
            (|p| p.sans.push(San::dns("www.example.net").unwrap()), ErrorCode::NameNotAllowed, "/sans/1"),
            (|p| p.sans = vec![San::dns("a.example.com").unwrap(); 3], ErrorCode::TooManyNames, "/sans"),
            (|p| p.subject = "CN=www.example.net".parse().unwrap(), ErrorCode::NameNotAllowed, "/subject"),
            (|p| p.requester_role_ids.clear(), ErrorCode::PermissionDenied, "/policy"),
        ];
        for (break_it, code, field) in cases {
            let mut proposed = sample::server();
            break_it(&mut proposed);
            let refusal = rules().check(&proposed).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_deref()), (code, Some(field)));
        }
    }

    #[test]
    fn a_common_name_that_is_no_host_is_not_held_to_the_name_rules() {
        let mut proposed = sample::server();
        proposed.subject = "CN=Ann Example".parse().unwrap();
        assert_eq!(rules().check(&proposed), Ok(()));
    }

    #[test]
    fn unknown_fields_are_refused() {
        let mut document = serde_json::to_value(rules()).unwrap();
        document["max_name"] = json!(1);
        let refusal = PolicyRules::parse(&document).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::PolicyInvalid);
        assert!(refusal.detail.contains("max_name"));
    }

    #[test]
    fn contradictory_documents_are_refused() {
        let breaks: [fn(&mut PolicyRules); 4] = [
            |r| r.profiles.clear(),
            |r| r.profiles.push("nonsense".to_owned()),
            |r| r.default_validity_seconds = r.max_validity_seconds + 1,
            |r| r.names.dns_suffixes.push("*".to_owned()),
        ];
        for break_it in breaks {
            let mut rules = rules();
            break_it(&mut rules);
            assert_eq!(rules.check_document().unwrap_err().code, ErrorCode::PolicyInvalid);
        }
    }
}
