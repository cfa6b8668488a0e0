//! What an authority may sign, whatever Core says.

use std::collections::BTreeMap;

use clm_types::{CertificateSpec, ErrorCode, KeyAlgorithm, Mandate, OrganizationId, Refusal};
use clm_x509::{San, SubjectName};
use serde::{Deserialize, Serialize};

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::{Secure, SecureError};

/// The limits of one authority, kept in Secure alone (`certificate_authorities.envelope`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Profiles that it may sign.
    pub profiles: Vec<String>,
    /// Subject key algorithms that it may sign.
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// Longest lifetime of what it signs, in seconds.
    pub max_validity_seconds: u64,
    /// Distinct approvers, other than the requester, that an issuance needs.
    #[serde(default)]
    pub required_approvals: usize,
    /// Distinct approvers, other than the requester, that handing out a private key needs.
    #[serde(default = "two")]
    pub export_approvals: usize,
    /// DNS suffixes by organization; an organization that is not named may have any name.
    #[serde(default)]
    pub dns_suffixes: BTreeMap<OrganizationId, Vec<String>>,
    /// Lifetime of its CRLs, in seconds.
    #[serde(default = "week")]
    pub crl_validity_seconds: u32,
    /// Parts that its CRLs are divided into, so that a revocation makes only one of them anew; 0 for one list of all.
    /// Certificates stay in the part that they were issued in.
    #[serde(default)]
    pub crl_shards: u16,
    /// Whether a revocation makes a delta to the full list, which is made anew when half of its life is over.
    #[serde(default)]
    pub delta_crls: bool,
    /// How long its OCSP answers may be kept, in seconds.
    #[serde(default = "hour")]
    pub ocsp_validity_seconds: u32,
    /// Who signs its OCSP answers.
    #[serde(default)]
    pub ocsp_signer: OcspSigner,
    /// Whether answers to requests without nonce are signed ahead, for every certificate.
    #[serde(default)]
    pub presigned_ocsp: bool,
}

/// Who signs the OCSP answers of an authority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OcspSigner {
    /// A responder that the authority certified, with a key in the database; the authority itself until there is one.
    #[default]
    Responder,
    /// The authority, with its own key.
    Authority,
}

const fn two() -> usize {
    2
}

const fn week() -> u32 {
    7 * 86_400
}

const fn hour() -> u32 {
    3_600
}

/// Most parts of an authority's CRLs.
const MOST_SHARDS: u16 = 1024;

/// Shortest life of a CRL or an OCSP answer, in seconds.
const SHORTEST_VALIDITY: u32 = 10;

impl Envelope {
    /// Refuses what no authority can keep to.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(crate) fn require_sound(&self) -> Result<(), Refusal> {
        let invalid = |detail: String| Err(Refusal::new(ErrorCode::InvalidRequest, detail));
        if self.crl_shards > MOST_SHARDS {
            return invalid(format!("crl_shards is {}; {MOST_SHARDS} at most", self.crl_shards));
        }
        if self.crl_validity_seconds.min(self.ocsp_validity_seconds) < SHORTEST_VALIDITY {
            return invalid(format!("CRLs and OCSP answers must live for {SHORTEST_VALIDITY} s at least"));
        }
        Ok(())
    }

    /// Checks an issuance against the limits.
    ///
    /// # Errors
    /// `mandate_outside_envelope`, saying which limit.
    pub fn check(
        &self,
        spec: &CertificateSpec,
        mandate: &Mandate,
        key: KeyAlgorithm,
        subject: &SubjectName,
        names: &[San],
    ) -> Result<(), Refusal> {
        if !self.profiles.contains(&spec.profile) {
            return Err(outside(&format!(
                "profile `{}`; it signs {}",
                spec.profile,
                self.profiles.join(", ")
            )));
        }
        if !self.key_algorithms.contains(&key) {
            return Err(outside(&format!("{key} keys")));
        }
        if spec.validity_seconds > self.max_validity_seconds {
            let (asked, most) = (spec.validity_seconds, self.max_validity_seconds);
            return Err(outside(&format!("a validity of {asked} s; {most} s at most")));
        }
        self.check_approvals(mandate)?;
        self.check_names(spec.organization_id, subject, names)
    }

    /// Checks the handing out of a private key.
    ///
    /// # Errors
    /// `mandate_outside_envelope`, when too few approved.
    pub(crate) fn check_export(&self, mandate: &Mandate) -> Result<(), Refusal> {
        let (have, need) = (approvers(mandate), self.export_approvals);
        if have >= need {
            return Ok(());
        }
        let detail = format!("handing out a private key needs {need} approvals by others, it has {have}");
        Err(Refusal::new(ErrorCode::MandateOutsideEnvelope, detail)
            .hint("`export_approvals` in the authority's envelope says how many"))
    }

    fn check_approvals(&self, mandate: &Mandate) -> Result<(), Refusal> {
        let approvers = approvers(mandate);
        if approvers < self.required_approvals {
            return Err(outside(&format!("{approvers} approval(s); it needs {}", self.required_approvals)));
        }
        Ok(())
    }

    fn check_names(
        &self,
        organization: OrganizationId,
        subject: &SubjectName,
        names: &[San],
    ) -> Result<(), Refusal> {
        let Some(suffixes) = self.dns_suffixes.get(&organization) else {
            return Ok(());
        };
        let fits = |name: &str| {
            let name = name.trim_start_matches("*.");
            suffixes.iter().any(|suffix| name == suffix || name.ends_with(&format!(".{suffix}")))
        };
        let outsider = names.iter().find(|name| !matches!(name, San::Dns(dns) if fits(dns)));
        if let Some(name) = outsider {
            return Err(outside(&format!("the name {name} for this organization")));
        }
        match subject.common_name() {
            Some(name) if name.contains('.') && !fits(name) => {
                Err(outside(&format!("the common name {name} for this organization")))
            }
            _ => Ok(()),
        }
    }
}

impl Secure {
    /// Sets what an authority may sign.
    ///
    /// # Errors
    /// `authority_not_found`, `invalid_request`, or trouble of ours.
    pub async fn set_envelope(
        &self,
        name: &str,
        envelope: &Envelope,
        operator: String,
    ) -> Result<(), SecureError> {
        envelope.require_sound()?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let found = clm_secure_db::authorities::find_by_name(&mut conn, name).await?;
        drop(conn);
        let (id, _) = found.ok_or_else(|| {
            Refusal::new(ErrorCode::AuthorityNotFound, format!("there is no authority `{name}`"))
        })?;
        let envelope = serde_json::to_value(envelope)
            .map_err(|_| SecureError::Damaged("an envelope has no JSON form".into()))?;
        let entry = AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Operator(operator),
            organization_id: None,
            operation_id: None,
            action: "authority.set_envelope",
            object_type: "authority",
            object_id: Some(id),
            outcome: Outcome::Allowed,
            reason: None,
            detail: envelope.clone(),
        };
        self.commit(Write { envelopes: vec![(id, envelope)], audit: vec![entry], ..Write::default() })
            .await?;
        self.parts.authorities.forget();
        Ok(())
    }
}

/// Distinct people other than the requester who approved.
fn approvers(mandate: &Mandate) -> usize {
    let others = mandate.approvals.iter().map(|approval| approval.user_id);
    let others = others.filter(|user| *user != mandate.requester_user_id);
    others.collect::<std::collections::BTreeSet<_>>().len()
}

fn outside(what: &str) -> Refusal {
    Refusal::new(ErrorCode::MandateOutsideEnvelope, format!("the authority does not sign {what}"))
        .hint("an operator of the Secure Service sets what an authority may sign")
}
