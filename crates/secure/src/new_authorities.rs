//! Making authorities: an operator's work, never Core's.

use clm_secure_db::authorities::{ActivationRow, NewAuthority};
use clm_secure_db::certificates::CertificateRow;
use clm_secure_db::intents::IntentRow;
use clm_secure_db::private_keys::{NewPrivateKeyRow, TokenKeyRow};
use clm_types::ids::new_uuid;
use clm_types::{
    AuthorityId, CertificateCategory, CertificateId, ErrorCode, KeyAlgorithm, OperationId, PrivateKeyId,
    Refusal, SerialNumber, Time,
};
use clm_x509::{
    AuthorityUrls, Certificate, CertificateTemplate, IssuerInfo, PreparedCertificate, Profile, SubjectName,
    prepare,
};
use fail::fail_point;
use serde_json::json;
use std::sync::Arc;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::certificates::{NewCertificate, new_row};
use crate::committer::Write;
use crate::custody::{Purpose, WrappedKey};
use crate::envelope::Envelope;
use crate::signing_keys::{KeyStore, SigningKey, TokenPair};
use crate::{Secure, SecureError};

/// Times that a key is made and wrapped while encryption keys are rotated under it.
const MOST_ATTEMPTS: u32 = 3;

/// What a new authority shall be.
#[derive(Debug, Clone)]
pub struct AuthorityPlan {
    /// Unique name.
    pub name: String,
    /// RFC 4514.
    pub subject: String,
    /// `root-ca` or `issuing-ca`.
    pub profile: String,
    /// Name of the issuer; none for a root.
    pub parent: Option<String>,
    /// Of its key.
    pub key_algorithm: KeyAlgorithm,
    /// Where its key is made, and stays.
    pub key_store: KeyStore,
    /// Days that its certificate lives.
    pub validity_days: u32,
    /// Where Core serves CRL, OCSP and certificates: `http://host:port`.
    pub base_url: String,
    /// What it may sign.
    pub envelope: Envelope,
    /// The operator's account.
    pub operator: String,
}

/// A made authority.
#[derive(Debug, Clone)]
pub struct MadeAuthority {
    /// Public identity.
    pub authority_id: AuthorityId,
    /// Whether it was there before.
    pub existed: bool,
}

struct Ceremony<'a> {
    plan: &'a AuthorityPlan,
    authority_id: AuthorityId,
    certificate_id: CertificateId,
    parent: Option<Arc<Authority>>,
    key: SigningKey,
    profile: Profile,
    now: Time,
}

impl Secure {
    /// Makes an authority with a new key, its certificate and its first CRL. One with this name is left as it is.
    ///
    /// # Errors
    /// `authority_not_found` for the parent, `profile_not_found`, refusals of name or validity, or trouble of ours.
    pub async fn create_authority(&self, plan: &AuthorityPlan) -> Result<MadeAuthority, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let found = clm_secure_db::authorities::find_by_name(&mut conn, &plan.name).await?;
        drop(conn);
        let (ceremony, prepared, kept) = match found {
            None => self.begin_ceremony(plan).await?,
            Some((id, status)) if status == "pending" => self.resume_ceremony(plan, id.into()).await?,
            Some((id, _)) => return Ok(MadeAuthority { authority_id: id.into(), existed: true }),
        };
        fail_point!("secure_ceremony_after_intent");
        let tbs = prepared.tbs_der().to_vec();
        let signature = match &ceremony.parent {
            Some(parent) => self.sign_by(parent, &tbs).await?,
            None => ceremony.key.sign(&tbs).await?,
        };
        let certificate = prepared.sign_with(|_| Ok::<_, SecureError>(signature))?;
        let algorithm = ceremony.issuer()?.public_key().algorithm();
        self.commit(self.made_write(&ceremony, &certificate, kept, algorithm)).await?;
        self.parts.authorities.forget();
        self.publish_scope(ceremony.authority_id, 0, true).await?;
        tracing::info!(name = %plan.name, authority_id = %ceremony.authority_id, "made an authority");
        Ok(MadeAuthority { authority_id: ceremony.authority_id, existed: false })
    }

    /// Makes the key and the intent to sign its certificate, durably.
    async fn begin_ceremony<'a>(&self, plan: &'a AuthorityPlan) -> Result<Begun<'a>, SecureError> {
        let mut attempts = 1;
        loop {
            match self.try_ceremony(plan).await {
                // The encryption key was rotated between wrapping and commit. A pair in the token is not made twice.
                Err(error)
                    if error.is_conflict()
                        && plan.key_store == KeyStore::Software
                        && attempts < MOST_ATTEMPTS =>
                {
                    self.parts.custody.forget_active();
                    attempts += 1;
                }
                begun => return begun,
            }
        }
    }

    async fn try_ceremony<'a>(&self, plan: &'a AuthorityPlan) -> Result<Begun<'a>, SecureError> {
        let now = self.parts.clock.now();
        let (key, kept) = self.make_authority_key(plan).await?;
        let authority_id = AuthorityId::generate(now, &self.parts.entropy);
        let ceremony = Ceremony {
            plan,
            authority_id,
            certificate_id: CertificateId::generate(now, &self.parts.entropy),
            parent: self.parent_of(plan).await?,
            key,
            profile: profile(plan)?,
            now,
        };
        let serial = SerialNumber::generate(&self.parts.entropy);
        let prepared = ceremony.prepare(&serial)?;
        self.commit(self.intent_write(&ceremony, &serial, &prepared, &kept)?).await?;
        Ok((ceremony, prepared, kept))
    }

    async fn make_authority_key(&self, plan: &AuthorityPlan) -> Result<(SigningKey, Kept), SecureError> {
        let algorithm = plan.key_algorithm;
        match plan.key_store {
            KeyStore::Software => {
                let key = self.new_private_key(algorithm).await?;
                let wrapped = self.wrap_private_key(Purpose::Authorities, None, &key).await?;
                Ok((SigningKey::Software(key), Kept::Wrapped(wrapped)))
            }
            KeyStore::Token => {
                let pair = self.make_token_pair(algorithm, &plan.name).await?;
                let kept = Kept::of(&pair);
                Ok((SigningKey::Token(pair), kept))
            }
        }
    }

    /// Goes on where an earlier ceremony was cut off: same key, same certificate to be signed.
    async fn resume_ceremony<'a>(
        &self,
        plan: &'a AuthorityPlan,
        id: AuthorityId,
    ) -> Result<Begun<'a>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let intent = clm_secure_db::intents::find(&mut conn, id.into()).await?;
        drop(conn);
        let intent = intent.ok_or_else(|| {
            let detail = format!("the authority `{}` is being imported", plan.name);
            Refusal::new(ErrorCode::Conflict, detail).hint("finish it: `clm-secure authority import`")
        })?;
        let damaged =
            || SecureError::Damaged(format!("the intent of the unfinished authority `{}`", plan.name));
        let (key, kept) = if let Some(wrapped) = crate::recall::wrapped_of(&intent) {
            let key = self.open_wrapped(&wrapped, plan.key_algorithm).await?;
            (SigningKey::Software(key), Kept::Wrapped(wrapped))
        } else {
            let id = intent.private_key_id.ok_or_else(damaged)?;
            let pair = self.find_token_pair(id.into(), plan.key_algorithm).await?;
            let kept = Kept::of(&pair);
            (SigningKey::Token(pair), kept)
        };
        let ceremony = Ceremony {
            plan,
            authority_id: id,
            certificate_id: CertificateId(intent.certificate_id),
            parent: self.parent_of(plan).await?,
            key,
            profile: profile(plan)?,
            now: self.parts.clock.now(),
        };
        let (issuer, urls) = (ceremony.issuer()?, ceremony.signer_urls());
        let prepared = PreparedCertificate::resume(intent.tbs_der, &ceremony.profile, &issuer, &urls)?;
        Ok((ceremony, prepared, kept))
    }

    async fn parent_of(&self, plan: &AuthorityPlan) -> Result<Option<Arc<Authority>>, SecureError> {
        let Some(name) = &plan.parent else { return Ok(None) };
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let found = clm_secure_db::authorities::find_by_name(&mut conn, name).await?;
        drop(conn);
        let (id, _) = found.ok_or_else(|| {
            Refusal::new(
                ErrorCode::AuthorityNotFound,
                format!("there is no authority `{name}` to sign this one"),
            )
        })?;
        let parent = self.authority(id.into()).await?;
        parent.require_active()?;
        Ok(Some(parent))
    }

    fn intent_write(
        &self,
        ceremony: &Ceremony<'_>,
        serial: &SerialNumber,
        prepared: &PreparedCertificate,
        kept: &Kept,
    ) -> Result<Write, SecureError> {
        let signer = ceremony.parent.as_ref().map_or(ceremony.authority_id, |parent| parent.id());
        let detail = json!({ "serial": serial.to_string(), "tbs_sha256": hex::encode(prepared.digest()) });
        Ok(Write {
            new_authorities: vec![ceremony.new_authority()?],
            intents: vec![IntentRow {
                id: new_uuid(ceremony.now, &self.parts.entropy),
                operation_id: ceremony.operation_id().into(),
                request_id: None,
                authority_id: signer.into(),
                certificate_id: ceremony.certificate_id.into(),
                serial_number: serial.as_bytes().to_vec(),
                tbs_der: prepared.tbs_der().to_vec(),
                tbs_sha256: prepared.digest().to_vec(),
                profile: ceremony.plan.profile.clone(),
                profile_hash: ceremony.profile.version_hash().to_vec(),
                private_key_id: Some(kept.private_key_id().into()),
                wrapped_private_key: kept.wrapped().map(|wrapped| wrapped.ciphertext.clone()),
                encryption_key_id: kept.wrapped().map(|wrapped| wrapped.encryption_key_id),
                state: "open".into(),
                created_at: ceremony.now,
            }],
            audit: vec![ceremony.audit("authority.intend", detail)],
            ..Write::default()
        })
    }

    fn made_write(
        &self,
        ceremony: &Ceremony<'_>,
        certificate: &Certificate,
        kept: Kept,
        issuer_algorithm: KeyAlgorithm,
    ) -> Write {
        let signer = ceremony.parent.as_ref();
        let row = new_row(&NewCertificate {
            id: new_uuid(ceremony.now, &self.parts.entropy),
            certificate_id: ceremony.certificate_id,
            authority_id: signer.map_or(ceremony.authority_id, |parent| parent.id()),
            operation_id: ceremony.operation_id(),
            issuer_certificate_id: signer.map(|parent| CertificateId(parent.row.certificate_id)),
            profile: &ceremony.plan.profile,
            category: CertificateCategory::Authority,
            certificate,
            issuer_algorithm,
            now: ceremony.now,
        });
        let detail = json!({ "fingerprint_sha256": hex::encode(certificate.fingerprint()), "name": ceremony.plan.name });
        let private_key_id = kept.private_key_id();
        let (private_keys, token_keys) = match kept {
            Kept::Wrapped(_) => (vec![wrapped_row(&row, ceremony.now)], vec![]),
            Kept::InToken { private_key_id, provider, reference } => {
                let key = TokenKeyRow {
                    id: private_key_id.into(),
                    certificate_id: row.certificate_id,
                    key_algorithm: row.key_algorithm.clone(),
                    key_size: row.key_size,
                    public_key_sha256: row.public_key_sha256.clone(),
                    hsm_provider: provider,
                    hsm_key_reference: reference,
                    created_at: ceremony.now,
                };
                (vec![], vec![key])
            }
        };
        Write {
            private_keys,
            token_keys,
            activations: vec![ActivationRow {
                authority_id: ceremony.authority_id.into(),
                certificate_id: row.certificate_id,
                private_key_id: private_key_id.into(),
                subject_key_id: row.subject_key_id.clone().unwrap_or_default(),
            }],
            certificates: vec![row],
            audit: vec![ceremony.audit("authority.create", detail)],
            ..Write::default()
        }
    }
}

/// A ceremony whose intent is durable, what is to be signed, and the key as it will be stored.
type Begun<'a> = (Ceremony<'a>, PreparedCertificate, Kept);

/// What is stored of a new authority's key.
enum Kept {
    Wrapped(WrappedKey),
    InToken { private_key_id: PrivateKeyId, provider: String, reference: String },
}

impl Kept {
    fn of(pair: &TokenPair) -> Self {
        Self::InToken {
            private_key_id: pair.private_key_id,
            provider: pair.provider(),
            reference: pair.reference(),
        }
    }

    const fn private_key_id(&self) -> PrivateKeyId {
        match self {
            Self::Wrapped(wrapped) => wrapped.private_key_id,
            Self::InToken { private_key_id, .. } => *private_key_id,
        }
    }

    const fn wrapped(&self) -> Option<&WrappedKey> {
        match self {
            Self::Wrapped(wrapped) => Some(wrapped),
            Self::InToken { .. } => None,
        }
    }
}

fn wrapped_row(certificate: &CertificateRow, now: Time) -> NewPrivateKeyRow {
    NewPrivateKeyRow {
        operation_id: certificate.operation_id,
        organization_id: None,
        encryption_algorithm: crate::wrapping::ALGORITHM.into(),
        key_algorithm: certificate.key_algorithm.clone(),
        key_size: certificate.key_size,
        public_key_sha256: certificate.public_key_sha256.clone(),
        created_at: now,
    }
}

impl Ceremony<'_> {
    /// A ceremony is the one operation of its authority: an unfinished one is found by the authority's id.
    const fn operation_id(&self) -> OperationId {
        OperationId(self.authority_id.0)
    }

    fn issuer(&self) -> Result<IssuerInfo, SecureError> {
        match &self.parent {
            Some(parent) => Ok(parent.issuer.clone()),
            None => Ok(IssuerInfo::self_signed(&subject(self.plan)?, self.key.public())),
        }
    }

    fn prepare(&self, serial: &SerialNumber) -> Result<PreparedCertificate, SecureError> {
        let seconds = i64::from(self.plan.validity_days) * 86_400;
        Ok(prepare(&CertificateTemplate {
            serial,
            issuer: &self.issuer()?,
            subject: &subject(self.plan)?,
            names: &[],
            not_before: self.now,
            not_after: clm_x509::tbs::last_second(self.now, seconds),
            public_key: self.key.public(),
            profile: &self.profile,
            urls: &self.signer_urls(),
        })?)
    }

    /// The addresses of the signing authority; a root names none.
    fn signer_urls(&self) -> AuthorityUrls {
        self.parent.as_ref().map_or_else(AuthorityUrls::default, |parent| parent.urls.clone())
    }

    fn new_authority(&self) -> Result<NewAuthority, SecureError> {
        let (base, id) = (self.plan.base_url.trim_end_matches('/'), self.authority_id);
        let envelope = serde_json::to_value(&self.plan.envelope);
        Ok(NewAuthority {
            id: id.into(),
            name: self.plan.name.clone(),
            parent_authority_id: self.parent.as_ref().map(|parent| parent.row.id),
            key_algorithm: self.plan.key_algorithm.as_str().into(),
            subject: subject(self.plan)?.to_string(),
            envelope: envelope.map_err(|_| SecureError::Damaged("an envelope has no JSON form".into()))?,
            crl_url: format!("{base}/crl/{id}.crl"),
            ocsp_url: format!("{base}/ocsp/{id}"),
            issuer_url: format!("{base}/ca/{id}.crt"),
            public_key_sha256: None,
            issuer_chain_pem: None,
            created_at: self.now,
        })
    }

    fn audit(&self, action: &'static str, detail: serde_json::Value) -> AuditDraft {
        AuditDraft {
            occurred_at: self.now,
            actor: Actor::Operator(self.plan.operator.clone()),
            organization_id: None,
            operation_id: Some(self.operation_id()),
            action,
            object_type: "authority",
            object_id: Some(self.authority_id.into()),
            outcome: Outcome::Allowed,
            reason: None,
            detail,
        }
    }
}

fn subject(plan: &AuthorityPlan) -> Result<SubjectName, SecureError> {
    Ok(plan.subject.parse().map_err(|refusal: Refusal| refusal.field("/subject"))?)
}

fn profile(plan: &AuthorityPlan) -> Result<Profile, Refusal> {
    let allowed = ["root-ca", "issuing-ca"].contains(&plan.profile.as_str());
    allowed.then(|| Profile::built_in(&plan.profile)).flatten().ok_or_else(|| {
        let detail = format!("`{}` is no profile of an authority", plan.profile);
        Refusal::new(ErrorCode::ProfileNotFound, detail).hint("use root-ca or issuing-ca")
    })
}
