//! Importing an authority that other software made: its key, what it signed, and what it revoked.
//!
//! The authority is `pending`, and serves nobody, until everything is here; an import that was cut off is finished by the
//! same call. Called for one that is active, it brings what came to the old system meanwhile.

mod activation;
mod checks;
mod rows;

use std::collections::HashMap;

use clm_secure_db::authorities::NewAuthority;
use clm_secure_db::imports::{self, NamedAuthority};
use clm_types::{
    AuthorityId, ErrorCode, OperationId, OrganizationId, PrivateKeyId, Refusal, SerialNumber, Time, UserId,
};
use clm_x509::crl::RevokedEntry;
use clm_x509::foreign::ForeignCertificate;
use fail::fail_point;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::audit_keys::SignedStatement;
use crate::ceremonies::{PlanSignature, Quorum};
use crate::committer::Write;
use crate::envelope::Envelope;
use crate::{Secure, SecureError};

pub use checks::CheckedImport;

/// Profile of certificates that were imported: which one they would have here is not known.
pub const PROFILE: &str = "imported";

/// Certificates, or revocations without one, of one commit.
const BATCH: usize = 250;

/// Times that the key is wrapped while encryption keys are rotated under it.
const MOST_ATTEMPTS: u32 = 10;

/// What an authority brings along.
#[derive(Debug)]
pub struct AuthorityImport {
    /// Unique name.
    pub name: String,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificates above it, DER, from its issuer up; needed if its issuer is not an authority of this installation.
    pub chain: Vec<Vec<u8>>,
    /// Its key.
    pub key: ImportedKey,
    /// Its newest full revocation list, DER; none for one that never revoked anything.
    pub crl: Option<Vec<u8>>,
    /// Whether the list names all that it revoked, though it names a distribution point.
    pub crl_is_complete: bool,
    /// What it signed.
    pub issued: Vec<IssuedFile>,
    /// Whose that is, and who answers for it; needed if there is any.
    pub owner: Option<(OrganizationId, UserId)>,
    /// Where Core serves CRL, OCSP and certificates from now on: `http://host:port`.
    pub base_url: String,
    /// What it may sign.
    pub envelope: Envelope,
}

/// The key of an authority, from before.
#[derive(Debug)]
pub enum ImportedKey {
    /// PKCS#8, to be wrapped.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// In the token, under the CKA_ID of these 16 octets; it stays there.
    Token(PrivateKeyId),
}

/// A certificate, and where it was read.
#[derive(Debug)]
pub struct IssuedFile {
    /// For people.
    pub source: String,
    /// DER.
    pub der: Vec<u8>,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportOutcome {
    /// The authority.
    pub authority_id: AuthorityId,
    /// Certificates that are new.
    pub certificates: usize,
    /// Of them and of those from before, newly revoked or on hold.
    pub revoked: usize,
    /// Newly revoked without a certificate: only the list names them.
    pub revoked_alone: usize,
}

/// What is told of an import while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// Certificates and entries of the list that were looked at.
    pub done: usize,
    /// All of them.
    pub total: usize,
}

/// An import under way.
struct Import<'a> {
    checked: &'a CheckedImport,
    authority_id: AuthorityId,
    revoked: HashMap<&'a SerialNumber, &'a RevokedEntry>,
    operator: &'a str,
    now: Time,
}

impl Secure {
    /// Does what was checked, in batches; `progress` hears of each. Done again, it does what is missing. Gives what was
    /// done, and the signed transcript of it.
    ///
    /// # Errors
    /// `permission_denied` without the quorum; `conflict` when the name, the key or a serial number belongs to something
    /// else; or trouble of ours.
    pub async fn import_authority(
        &self,
        checked: &CheckedImport,
        quorum: &Quorum,
        signatures: &[PlanSignature],
        operator: &str,
        progress: impl FnMut(ImportProgress),
    ) -> Result<(ImportOutcome, SignedStatement), SecureError> {
        let octets = checked.octets()?;
        let approved = quorum.check(&octets, signatures)?;
        let digest = clm_x509::sha256(&octets).to_vec();
        let began_at = self.parts.clock.now();
        let outcome = self.import(checked, operator, progress).await?;
        if let Some(transcript) = self.find_transcript(&digest).await? {
            return Ok((outcome, transcript));
        }
        let ended_at = self.parts.clock.now();
        let statement = json!({
            "what": "an authority was imported", "plan": checked.summary(), "plan_sha256": hex::encode(&digest),
            "operators": approved, "operators_needed": quorum.threshold, "authority_id": outcome.authority_id,
            "certificates": outcome.certificates, "revoked": outcome.revoked, "revoked_alone": outcome.revoked_alone,
            "held_by": operator, "began_at": began_at, "ended_at": ended_at,
        });
        let transcript = self.sign_statement(statement).await?;
        let plan = (format!("import of {}", checked.import.name), checked.summary());
        self.store_ceremony((&plan.0, plan.1), digest, &transcript, (operator, ended_at)).await?;
        Ok((outcome, transcript))
    }

    async fn import(
        &self,
        checked: &CheckedImport,
        operator: &str,
        mut progress: impl FnMut(ImportProgress),
    ) -> Result<ImportOutcome, SecureError> {
        let (authority_id, pending) = self.begin_import(checked, operator).await?;
        fail_point!("secure_import_after_begin");
        let mut import = Import {
            checked,
            authority_id,
            revoked: checked.entries().iter().map(|entry| (&entry.serial, entry)).collect(),
            operator,
            now: self.parts.clock.now(),
        };
        let mut outcome = ImportOutcome { authority_id, certificates: 0, revoked: 0, revoked_alone: 0 };
        let total = checked.issued.len() + checked.entries().len();
        let mut done = 0;
        for batch in checked.issued.chunks(BATCH) {
            // Ids carry the time: Core must not take a row of now for an old one.
            import.now = self.parts.clock.now();
            self.import_certificates(&import, batch, &mut outcome).await?;
            fail_point!("secure_import_after_batch");
            done += batch.len();
            progress(ImportProgress { done, total });
        }
        for batch in checked.entries().chunks(BATCH) {
            import.now = self.parts.clock.now();
            self.import_revocations(&import, batch, &mut outcome).await?;
            done += batch.len();
            progress(ImportProgress { done, total });
        }
        import.now = self.parts.clock.now();
        if pending {
            self.activate_import(&import, &outcome).await?;
            self.parts.authorities.forget();
            self.publish_scope(authority_id, 0, true).await?;
        } else {
            self.renew_import(&import).await?;
        }
        Ok(outcome)
    }

    /// The authority that the import belongs to, and whether it is still to be activated.
    async fn begin_import(
        &self,
        checked: &CheckedImport,
        operator: &str,
    ) -> Result<(AuthorityId, bool), SecureError> {
        if let Some(found) = self.find_imported(checked).await? {
            return Ok((found.id.into(), found.status == "pending"));
        }
        let now = self.parts.clock.now();
        let authority_id = AuthorityId::generate(now, &self.parts.entropy);
        let audit = AuditDraft {
            occurred_at: now,
            actor: Actor::Operator(operator.to_owned()),
            organization_id: None,
            operation_id: None,
            action: "authority.begin_import",
            object_type: "authority",
            object_id: Some(authority_id.into()),
            outcome: Outcome::Allowed,
            reason: None,
            detail: checked.summary(),
        };
        let row = checked.new_authority(authority_id, now)?;
        self.commit(Write { new_authorities: vec![row], audit: vec![audit], ..Write::default() }).await?;
        Ok((authority_id, true))
    }

    /// The authority with this name, if there is one; it must be of this key, and one whose import was cut off be the same.
    async fn find_imported(&self, checked: &CheckedImport) -> Result<Option<NamedAuthority>, SecureError> {
        let name = &checked.import.name;
        let key = checked.certificate.public_key.fingerprint();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let found = imports::list_authorities(&mut conn, name, &key).await?;
        drop(conn);
        let conflict = |detail: String| Err(Refusal::new(ErrorCode::Conflict, detail).into());
        for other in &found {
            if other.name != *name {
                return conflict(format!("the key is that of the authority `{}` already", other.name));
            }
            if other.public_key_sha256.as_deref() != Some(&key)
                || other.subject != checked.certificate.subject
            {
                return conflict(format!(
                    "there is an authority `{name}` already, of another key or subject"
                ));
            }
            if other.status == "pending" && !checked.goes_on(other)? {
                let detail = "the import was begun with another envelope, base URL, chain or issuer";
                return conflict(format!("{detail}: finish it as it was begun"));
            }
        }
        Ok(found.into_iter().next())
    }
}

impl Import<'_> {
    /// Where the lists go on.
    fn continued_crls(&self) -> Option<(uuid::Uuid, (i64, Time))> {
        let crl = self.checked.crl.as_ref()?;
        let number = i64::try_from(crl.number.unwrap_or_default()).ok()?;
        Some((self.authority_id.into(), (number, crl.this_update)))
    }

    fn audit(
        &self,
        action: &'static str,
        object: (&'static str, uuid::Uuid),
        operation_id: Option<OperationId>,
        detail: Value,
    ) -> AuditDraft {
        AuditDraft {
            occurred_at: self.now,
            actor: Actor::Operator(self.operator.to_owned()),
            organization_id: self.checked.import.owner.map(|(organization_id, _)| organization_id),
            operation_id,
            action,
            object_type: object.0,
            object_id: Some(object.1),
            outcome: Outcome::Allowed,
            reason: None,
            detail,
        }
    }
}

impl CheckedImport {
    fn new_authority(&self, id: AuthorityId, now: Time) -> Result<NewAuthority, SecureError> {
        let base = self.import.base_url.trim_end_matches('/');
        let envelope = serde_json::to_value(&self.import.envelope);
        Ok(NewAuthority {
            id: id.into(),
            name: self.import.name.clone(),
            parent_authority_id: self.parent.as_ref().map(|parent| parent.row.id),
            key_algorithm: self.certificate.public_key.algorithm().as_str().into(),
            subject: self.certificate.subject.clone(),
            envelope: envelope.map_err(|_| SecureError::Damaged("an envelope has no JSON form".into()))?,
            crl_url: format!("{base}/crl/{id}.crl"),
            ocsp_url: format!("{base}/ocsp/{id}"),
            issuer_url: format!("{base}/ca/{id}.crt"),
            public_key_sha256: Some(self.certificate.public_key.fingerprint().to_vec()),
            issuer_chain_pem: self.issuer_chain_pem.clone(),
            created_at: now,
        })
    }

    /// Whether an authority whose import was cut off is what this one would begin.
    fn goes_on(&self, begun: &NamedAuthority) -> Result<bool, SecureError> {
        let row = self.new_authority(begun.id.into(), self.certificate.not_before)?;
        Ok(row.envelope == begun.envelope
            && row.crl_url == begun.crl_url
            && row.parent_authority_id == begun.parent_authority_id
            && row.issuer_chain_pem == begun.issuer_chain_pem)
    }

    /// Exactly the octets that operators sign.
    ///
    /// # Errors
    /// When the summary has no JSON form.
    pub fn octets(&self) -> Result<Vec<u8>, SecureError> {
        let json = clm_types::canonical_json(&self.summary());
        json.map(String::into_bytes).map_err(|_| SecureError::Damaged("an import has no JSON form".into()))
    }

    /// What operators agree to, and the audit log keeps: everything that the import depends on, as digests.
    pub fn summary(&self) -> Value {
        let fingerprints =
            self.issued.iter().map(ForeignCertificate::fingerprint).collect::<Vec<_>>().concat();
        let import = &self.import;
        json!({
            "what": "import an authority", "name": import.name, "subject": self.certificate.subject,
            "certificate_sha256": hex::encode(self.certificate.fingerprint()),
            "issuer_chain_sha256": self.issuer_chain_pem.as_deref().map(|pem| hex::encode(clm_x509::sha256(pem.as_bytes()))),
            "key_in_token": matches!(import.key, ImportedKey::Token(_)),
            "crl_sha256": import.crl.as_deref().map(|der| hex::encode(clm_x509::sha256(der))),
            "crl_number": self.crl.as_ref().and_then(|crl| crl.number), "crl_entries": self.entries().len(),
            "certificates": self.issued.len(), "certificates_sha256": hex::encode(clm_x509::sha256(&fingerprints)),
            "left_out": self.left_out.len(), "owner": import.owner, "base_url": import.base_url,
            "envelope": import.envelope,
        })
    }
}
