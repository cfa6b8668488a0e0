//! The typed documents of a workflow: who must approve, and when nobody need.

use clm_types::{ErrorCode, KeyAlgorithm, Refusal, RoleId, UserId};
use clm_x509::San;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::is_forbidden;
use crate::name_rules::is_below_any;
use crate::proposal::ProposedCertificate;

/// Most steps of a workflow, and most approvals of a step.
const MOST_STEPS: usize = 20;
const LARGEST_QUORUM: u32 = 20;

/// The chain of approvals, `workflows.definition`. Nobody ever approves a request of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDefinition {
    /// Steps in their order; without any, nothing needs approval.
    pub steps: Vec<WorkflowStepDefinition>,
}

/// One step of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowStepDefinition {
    /// Name to show.
    pub name: String,
    /// Holders of this role decide; this or `approver_user_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub approver_role_id: Option<RoleId>,
    /// This user decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub approver_user_id: Option<UserId>,
    /// Approvals needed, by as many people.
    pub quorum: u32,
    /// Seconds from the step's turn until it expires; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
}

/// Conditions under which nobody need approve: all that are given must hold. Each workflow has a
/// list of them, and one that holds is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AutoApproval {
    /// Only these profiles; empty: any.
    pub profiles: Vec<String>,
    /// At most this lifetime in seconds.
    pub max_validity_seconds: Option<u64>,
    /// Only these key algorithms; empty: any.
    #[schema(value_type = Vec<String>)]
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// Only DNS names that are these or below them (`.`: all), no other kind of name, no wildcard;
    /// empty: any names.
    pub dns_suffixes: Vec<String>,
    /// Only requesters with one of these roles; empty: anybody.
    #[schema(value_type = Vec<uuid::Uuid>)]
    pub requester_role_ids: Vec<RoleId>,
}

impl WorkflowDefinition {
    /// Reads a stored or received document.
    ///
    /// # Errors
    /// `policy_invalid`, with what does not fit.
    pub fn parse(document: &serde_json::Value) -> Result<Self, Refusal> {
        Self::deserialize(document).map_err(|error| {
            Refusal::new(ErrorCode::PolicyInvalid, format!("the workflow's definition: {error}"))
                .field("/definition")
        })
    }

    /// Fails unless every step can be decided.
    ///
    /// # Errors
    /// `policy_invalid`.
    pub fn check_document(&self) -> Result<(), Refusal> {
        let wrong = |field: String, detail: &str| {
            Err(Refusal::new(ErrorCode::PolicyInvalid, detail).field(format!("/definition/{field}")))
        };
        if self.steps.len() > MOST_STEPS {
            return wrong("steps".to_owned(), "a workflow has at most 20 steps");
        }
        for (index, step) in self.steps.iter().enumerate() {
            if let Err(detail) = step.check() {
                return wrong(format!("steps/{index}"), detail);
            }
        }
        Ok(())
    }
}

impl WorkflowStepDefinition {
    fn check(&self) -> Result<(), &'static str> {
        let forbidden = self.name.chars().any(is_forbidden);
        if self.name.trim().is_empty() || self.name.chars().count() > 100 || forbidden {
            return Err("a step has a name of 1 to 100 characters without control characters");
        }
        if self.approver_role_id.is_some() == self.approver_user_id.is_some() {
            return Err("a step has either approver_role_id or approver_user_id");
        }
        if self.quorum == 0 || self.quorum > LARGEST_QUORUM {
            return Err("a step's quorum is 1 to 20");
        }
        if self.approver_user_id.is_some() && self.quorum != 1 {
            return Err("a step that one user decides has the quorum 1");
        }
        if self.deadline_seconds.is_some_and(|seconds| seconds == 0) {
            return Err("a step's deadline is at least 1 second");
        }
        Ok(())
    }
}

impl AutoApproval {
    /// Reads a stored or received list of conditions, or a single one.
    ///
    /// # Errors
    /// `policy_invalid`, with what does not fit.
    pub fn parse_list(document: &serde_json::Value) -> Result<Vec<Self>, Refusal> {
        let read = if document.is_object() {
            Self::deserialize(document).map(|only| vec![only])
        } else {
            Vec::deserialize(document)
        };
        read.map_err(|error| {
            Refusal::new(ErrorCode::PolicyInvalid, format!("the auto-approval conditions: {error}"))
                .field("/auto_approval")
        })
    }

    /// Whether it speaks of the certificate, and not only of who asks.
    const fn is_about_certificate(&self) -> bool {
        !(self.profiles.is_empty()
            && self.max_validity_seconds.is_none()
            && self.key_algorithms.is_empty()
            && self.dns_suffixes.is_empty())
    }

    /// Whether the conditions hold; if not, the first that does not, in words. Without a proposed
    /// certificate (revocations) only who asks is looked at.
    pub fn explain(&self, proposed: Option<&ProposedCertificate>, role_ids: &[RoleId]) -> Result<(), String> {
        if !self.requester_role_ids.is_empty()
            && !self.requester_role_ids.iter().any(|id| role_ids.contains(id))
        {
            return Err("the requester has none of the roles it is for".to_owned());
        }
        match proposed {
            Some(proposed) => self.explain_certificate(proposed),
            None if self.is_about_certificate() => {
                Err("its conditions are about new certificates".to_owned())
            }
            None => Ok(()),
        }
    }

    fn explain_certificate(&self, proposed: &ProposedCertificate) -> Result<(), String> {
        if !self.profiles.is_empty() && !self.profiles.contains(&proposed.profile) {
            return Err(format!("the profile is {}", proposed.profile));
        }
        if let Some(most) = self.max_validity_seconds
            && proposed.validity_seconds > most
        {
            return Err(format!("the validity is more than {most} seconds"));
        }
        if !self.key_algorithms.is_empty() && !self.key_algorithms.contains(&proposed.key_algorithm) {
            return Err(format!("the key is {}", proposed.key_algorithm));
        }
        if self.dns_suffixes.is_empty() {
            return Ok(());
        }
        match proposed.sans.iter().find(|name| !self.covers(name)) {
            None if proposed.sans.is_empty() => Err("there is no DNS name".to_owned()),
            None => Ok(()),
            Some(name) => Err(format!("`{name}` is not among its DNS names")),
        }
    }

    fn covers(&self, name: &San) -> bool {
        matches!(name, San::Dns(dns) if !name.is_wildcard() && is_below_any(dns, &self.dns_suffixes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::sample;
    use serde_json::json;

    fn definition(step: &serde_json::Value) -> Result<(), Refusal> {
        WorkflowDefinition::parse(&json!({"steps": [step]})).and_then(|it| it.check_document())
    }

    #[test]
    fn a_step_needs_one_kind_of_approver_and_a_quorum() {
        let role = crate::roles::APPROVER;
        assert!(definition(&json!({"name": "a", "approver_role_id": role, "quorum": 2})).is_ok());
        for wrong in [
            json!({"name": "a", "quorum": 1}),
            json!({"name": "a", "approver_role_id": role, "approver_user_id": role, "quorum": 1}),
            json!({"name": "a", "approver_role_id": role, "quorum": 0}),
            json!({"name": "a", "approver_user_id": role, "quorum": 2}),
            json!({"name": "", "approver_role_id": role, "quorum": 1}),
            json!({"name": "a", "approver_role_id": role, "quorum": 1, "deadline_seconds": 0}),
            json!({"name": "a", "approver_role_id": role, "quorum": 1, "self_approval": true}),
        ] {
            assert_eq!(definition(&wrong).unwrap_err().code, ErrorCode::PolicyInvalid, "{wrong}");
        }
    }

    #[test]
    fn conditions_hold_all_together_or_say_why_not() {
        let holds = |conditions: serde_json::Value| {
            let parsed = AutoApproval::parse_list(&json!([conditions])).unwrap().remove(0);
            let proposed = sample::server();
            parsed.explain(Some(&proposed), &proposed.requester_role_ids).err()
        };
        assert_eq!(holds(json!({})), None);
        let all = json!({"profiles": ["tls-server"], "max_validity_seconds": 7_776_000, "key_algorithms": ["ecdsa-p256"],
                         "dns_suffixes": ["example.com"], "requester_role_ids": [crate::roles::REQUESTER]});
        assert_eq!(holds(all), None);
        for (conditions, word) in [
            (json!({"profiles": ["tls-client"]}), "profile"),
            (json!({"max_validity_seconds": 1}), "validity"),
            (json!({"key_algorithms": ["rsa-4096"]}), "key"),
            (json!({"dns_suffixes": ["example.net"]}), "www.example.com"),
            (json!({"requester_role_ids": [crate::roles::ADMINISTRATOR]}), "roles"),
        ] {
            assert!(holds(conditions).unwrap().contains(word), "{word}");
        }
    }

    #[test]
    fn a_condition_on_names_covers_no_wildcard_and_no_certificate_without_names() {
        let condition =
            AutoApproval { dns_suffixes: vec!["example.com".to_owned()], ..AutoApproval::default() };
        let mut proposed = sample::server();
        proposed.sans = vec![San::dns("*.example.com").unwrap()];
        assert!(condition.explain(Some(&proposed), &[]).is_err());
        proposed.sans.clear();
        assert!(condition.explain(Some(&proposed), &[]).is_err());
    }

    #[test]
    fn a_condition_on_certificates_never_approves_a_revocation() {
        let condition = AutoApproval { max_validity_seconds: Some(1), ..AutoApproval::default() };
        assert!(condition.explain(None, &[]).is_err());
        assert!(AutoApproval::default().explain(None, &[]).is_ok());
    }
}
