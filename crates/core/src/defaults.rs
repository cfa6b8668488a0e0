//! The workflows and policies that a new organization begins with.

use clm_core_db::PgConnection;
use clm_types::{KeyAlgorithm, KeySource, WorkflowKind};
use serde_json::{Value, json};

use crate::policies::{PolicyDraft, insert_policy};
use crate::policy_rules::PolicyRules;
use crate::roles::{APPROVER, SERVICE};
use crate::workflows::{WorkflowDraft, checked_documents, insert_workflow};
use crate::{Core, CoreError, Ctx};

const DAY: u64 = 86_400;

/// Adds the default workflows, then the policies that name them, in an open transaction.
pub(crate) async fn insert_defaults(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
) -> Result<(), CoreError> {
    for draft in workflows() {
        let documents = checked_documents(&draft)?;
        insert_workflow(core, conn, ctx, &draft, &documents, None).await?;
    }
    for draft in policies() {
        let rules = PolicyRules::parse(&draft.rules)?;
        rules.check_document()?;
        insert_policy(core, conn, ctx, &draft, &rules, None).await?;
    }
    Ok(())
}

/// One approval for people, none for programs with the role `service`; revocation at once, since
/// a compromised key must not wait.
fn workflows() -> [WorkflowDraft; 3] {
    let one_approval = json!({"steps": [
        {"name": "Approval", "approver_role_id": APPROVER, "quorum": 1, "deadline_seconds": 14 * DAY}
    ]});
    let services = json!([{"requester_role_ids": [SERVICE], "max_validity_seconds": 90 * DAY}]);
    let draft = |kind: WorkflowKind, name: &str, definition: &Value, auto: Option<&Value>| WorkflowDraft {
        code: kind.to_string(),
        name: name.to_owned(),
        kind,
        definition: definition.clone(),
        auto_approval: auto.cloned(),
    };
    [
        draft(WorkflowKind::Issuance, "Issuance with one approval", &one_approval, Some(&services)),
        draft(WorkflowKind::Renewal, "Renewal with one approval", &one_approval, Some(&services)),
        draft(WorkflowKind::Revocation, "Revocation without approval", &json!({"steps": []}), None),
    ]
}

fn policies() -> [PolicyDraft; 3] {
    [
        policy("tls-server", "TLS servers", false),
        policy("tls-client", "TLS clients", true),
        policy("tls-server-client", "TLS servers that are clients too", false),
    ]
}

/// Any name that the profile allows: an organization narrows it to its own.
fn policy(profile: &str, name: &str, email: bool) -> PolicyDraft {
    let email_domains: &[&str] = if email { &["."] } else { &[] };
    PolicyDraft {
        code: profile.to_owned(),
        name: name.to_owned(),
        rules: json!({
            "profiles": [profile],
            "key_algorithms": KeyAlgorithm::ALL,
            "key_sources": KeySource::ALL,
            "names": {
                "dns_suffixes": ["."],
                "wildcards_allowed": true,
                "ip_ranges": ["0.0.0.0/0", "::/0"],
                "email_domains": email_domains,
                "uri_prefixes": ["https:", "spiffe:", "urn:"],
            },
            "max_names": 100,
            "max_validity_seconds": 398 * DAY,
            "default_validity_seconds": 90 * DAY,
            "workflows": {"issuance": "issuance", "renewal": "renewal", "revocation": "revocation"},
        }),
        compliance_frameworks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::sample;

    #[test]
    fn the_defaults_are_valid_and_allow_a_first_request() {
        for draft in workflows() {
            assert!(checked_documents(&draft).is_ok(), "{}", draft.code);
        }
        for draft in policies() {
            let rules = PolicyRules::parse(&draft.rules).unwrap();
            rules.check_document().unwrap();
            let mut proposed = sample::server();
            proposed.profile.clone_from(&draft.code);
            assert_eq!(rules.check(&proposed), Ok(()), "{}", draft.code);
        }
    }
}
