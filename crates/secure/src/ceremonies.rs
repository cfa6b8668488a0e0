//! Ceremonies: authorities made as a plan says that a quorum of operators signed, with a signed transcript.

use std::collections::{BTreeMap, BTreeSet};

use clm_secure_db::ceremonies::{self, CeremonyRow};
use clm_types::ids::new_uuid;
use clm_types::{AuthorityRecord, ErrorCode, KeyAlgorithm, Refusal, Time};
use clm_x509::{PublicKey, SubjectName, algorithm};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::audit_keys::SignedStatement;
use crate::committer::Write;
use crate::envelope::Envelope;
use crate::new_authorities::AuthorityPlan;
use crate::signing_keys::KeyStore;
use crate::{Secure, SecureError};

/// Authorities of one ceremony.
const MOST_AUTHORITIES: usize = 50;

/// What shall be made, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyPlan {
    /// Name for people.
    pub title: String,
    /// The authorities; a parent stands before its children, or is there already.
    #[serde(rename = "authority")]
    pub authorities: Vec<PlannedAuthority>,
}

/// One authority of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedAuthority {
    /// Unique name.
    pub name: String,
    /// RFC 4514.
    pub subject: String,
    /// `root-ca` or `issuing-ca`.
    pub profile: String,
    /// Name of the authority that signs it; none for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Of its key.
    pub key_algorithm: KeyAlgorithm,
    /// Where its key is made, and stays.
    #[serde(default)]
    pub key_store: KeyStore,
    /// Days that its certificate lives.
    pub validity_days: u32,
    /// Where Core serves CRL, OCSP and certificates.
    pub base_url: String,
    /// What it may sign.
    pub envelope: Envelope,
    /// Name of the authority that it takes over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<String>,
}

/// Who may hold a ceremony.
#[derive(Debug, Clone, Default)]
pub struct Quorum {
    /// Operators by name, with their public keys.
    pub operators: BTreeMap<String, PublicKey>,
    /// How many of them must have signed the plan.
    pub threshold: usize,
}

/// An operator's signature under the canonical JSON of a plan.
#[derive(Debug, Clone)]
pub struct PlanSignature {
    /// Which operator.
    pub operator: String,
    /// As `openssl dgst -sha256 -sign` makes it.
    pub signature: Vec<u8>,
}

impl CeremonyPlan {
    /// Exactly the octets that operators sign.
    ///
    /// # Errors
    /// When the plan has no JSON form.
    pub fn octets(&self) -> Result<Vec<u8>, SecureError> {
        let json = clm_types::canonical_json(self);
        json.map(String::into_bytes).map_err(|_| SecureError::Damaged("a plan has no JSON form".into()))
    }

    /// Everything that can be refused without making anything.
    fn check(&self, known: &[AuthorityRecord]) -> Result<(), Refusal> {
        if self.authorities.is_empty() || self.authorities.len() > MOST_AUTHORITIES {
            let detail = format!("a plan has 1 to {MOST_AUTHORITIES} authorities");
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/authority"));
        }
        let mut names: BTreeSet<&str> = known.iter().map(|authority| authority.name.as_str()).collect();
        let mut planned = BTreeSet::new();
        for (index, authority) in self.authorities.iter().enumerate() {
            let point = |refusal: Refusal| refusal.field(format!("/authority/{index}"));
            authority.check(&names, known).map_err(point)?;
            if !planned.insert(&authority.name) {
                let detail = format!("`{}` is planned twice", authority.name);
                return Err(point(Refusal::new(ErrorCode::InvalidRequest, detail)));
            }
            names.insert(&authority.name);
        }
        Ok(())
    }
}

impl PlannedAuthority {
    fn check(&self, names: &BTreeSet<&str>, known: &[AuthorityRecord]) -> Result<(), Refusal> {
        let refuse = |detail: String| Err(Refusal::new(ErrorCode::InvalidRequest, detail));
        let subject: SubjectName = self.subject.parse()?;
        if self.parent.is_some() != (self.profile == "issuing-ca") {
            return refuse("an issuing-ca has a parent, a root-ca has none".into());
        }
        for (role, other) in [("parent", &self.parent), ("succeeds", &self.succeeds)] {
            if let Some(other) = other.as_deref().filter(|other| !names.contains(other)) {
                return refuse(format!("{role}: there is no authority `{other}`, nor one planned before"));
            }
        }
        // A ceremony that was cut off is held again: what it made must be what is planned.
        match known.iter().find(|authority| authority.name == self.name) {
            Some(there)
                if there.subject != subject.to_string() || there.key_algorithm != self.key_algorithm =>
            {
                refuse(format!("there is another authority `{}` already: {}", self.name, there.subject))
            }
            _ => Ok(()),
        }
    }

    fn plan(&self, operator: &str) -> AuthorityPlan {
        AuthorityPlan {
            name: self.name.clone(),
            subject: self.subject.clone(),
            profile: self.profile.clone(),
            parent: self.parent.clone(),
            key_algorithm: self.key_algorithm,
            key_store: self.key_store,
            validity_days: self.validity_days,
            base_url: self.base_url.clone(),
            envelope: self.envelope.clone(),
            operator: operator.to_owned(),
        }
    }
}

impl Quorum {
    /// Checks every signature; what the transcript says of them.
    pub(crate) fn check(&self, plan: &[u8], signatures: &[PlanSignature]) -> Result<Value, Refusal> {
        let mut approved = BTreeMap::new();
        for PlanSignature { operator, signature } in signatures {
            let denied = |why: &str| {
                Refusal::new(ErrorCode::PermissionDenied, format!("the signature of `{operator}`: {why}"))
                    .hint("operators sign the plan that `ceremony check --plan FILE` writes")
            };
            let key = self.operators.get(operator).ok_or_else(|| denied("no such operator is configured"))?;
            algorithm::verify(key, plan, signature).map_err(|_| denied("it is not one under this plan"))?;
            approved.insert(operator, hex::encode(key.fingerprint()));
        }
        let (have, need) = (approved.len(), self.threshold);
        if have < need {
            let detail = format!("{have} of the {need} operators that are needed have signed the plan");
            return Err(Refusal::new(ErrorCode::PermissionDenied, detail));
        }
        Ok(json!(approved))
    }
}

impl Secure {
    /// Checks a plan without making anything.
    ///
    /// # Errors
    /// The first refusal, naming the authority.
    pub async fn check_ceremony(&self, plan: &CeremonyPlan) -> Result<(), SecureError> {
        Ok(plan.check(&self.list_authorities().await?)?)
    }

    /// Makes what is planned, and the transcript. Held again, it finishes what was cut off, or gives the first transcript.
    ///
    /// # Errors
    /// `permission_denied` without the quorum, refusals of the plan, or trouble of ours.
    pub async fn hold_ceremony(
        &self,
        plan: &CeremonyPlan,
        quorum: &Quorum,
        signatures: &[PlanSignature],
        operator: &str,
    ) -> Result<SignedStatement, SecureError> {
        let octets = plan.octets()?;
        let approved = quorum.check(&octets, signatures)?;
        let digest = clm_x509::sha256(&octets).to_vec();
        if let Some(transcript) = self.find_transcript(&digest).await? {
            return Ok(transcript);
        }
        self.check_ceremony(plan).await?;
        let began_at = self.parts.clock.now();
        for planned in &plan.authorities {
            self.create_authority(&planned.plan(operator)).await?;
            if let Some(old) = &planned.succeeds {
                self.succeed_authority(old, &planned.name, operator).await?;
            }
        }
        let made = self.made_by(plan).await?;
        let ended_at = self.parts.clock.now();
        let statement = json!({
            "what": "a ceremony was held", "title": plan.title, "plan": plan, "plan_sha256": hex::encode(&digest),
            "operators": approved, "operators_needed": quorum.threshold, "authorities": made, "held_by": operator,
            "began_at": began_at, "ended_at": ended_at,
        });
        let transcript = self.sign_statement(statement).await?;
        let plan = (plan.title.as_str(), json!(plan));
        self.store_ceremony(plan, digest, &transcript, (operator, ended_at)).await?;
        Ok(transcript)
    }

    pub(crate) async fn find_transcript(
        &self,
        digest: &[u8],
    ) -> Result<Option<SignedStatement>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let found = ceremonies::find_transcript(&mut conn, digest).await?;
        let damaged = |_| SecureError::Damaged("the transcript of a ceremony".into());
        found.map(serde_json::from_value).transpose().map_err(damaged)
    }

    /// What the transcript says of each authority.
    async fn made_by(&self, plan: &CeremonyPlan) -> Result<Vec<Value>, SecureError> {
        let mut made = Vec::with_capacity(plan.authorities.len());
        for planned in &plan.authorities {
            let authority = self.authority_named(&planned.name).await?;
            let certificate = &authority.certificate;
            made.push(json!({
                "name": planned.name, "authority_id": authority.row.id, "subject": authority.row.subject,
                "certificate_sha256": hex::encode(certificate.fingerprint()), "not_after": authority.row.not_after,
                "public_key_sha256": hex::encode(certificate.public_key().fingerprint()),
                "private_key_id": authority.row.private_key_id, "key_store": planned.key_store,
            }));
        }
        Ok(made)
    }

    /// Keeps a plan, named by its title, with the transcript of what was done.
    pub(crate) async fn store_ceremony(
        &self,
        (title, plan): (&str, Value),
        plan_sha256: Vec<u8>,
        transcript: &SignedStatement,
        (operator, held_at): (&str, Time),
    ) -> Result<(), SecureError> {
        let id = new_uuid(held_at, &self.parts.entropy);
        let entry = AuditDraft {
            occurred_at: held_at,
            actor: Actor::Operator(operator.to_owned()),
            organization_id: None,
            operation_id: None,
            action: "ceremony.hold",
            object_type: "ceremony",
            object_id: Some(id),
            outcome: Outcome::Allowed,
            reason: Some(title.to_owned()),
            detail: json!({ "plan_sha256": hex::encode(&plan_sha256), "signature": transcript.signature }),
        };
        let row = CeremonyRow {
            id,
            title: title.to_owned(),
            plan,
            plan_sha256,
            transcript: json!(transcript),
            held_by: operator.to_owned(),
            held_at,
        };
        self.commit(Write { ceremonies: vec![row], audit: vec![entry], ..Write::default() }).await
    }
}
