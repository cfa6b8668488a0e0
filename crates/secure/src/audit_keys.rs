//! What Secure puts its name to: statements as canonical JSON, signed so that `openssl dgst -sha256 -verify` checks them.

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_secure_db::audit_keys::{self, AuditKeyRow, PublicKeyRow};
use clm_types::ids::new_uuid;
use clm_types::{ErrorCode, KeyAlgorithm, Refusal};
use clm_x509::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::custody::{Purpose, Table};
use crate::private_keys::PrivateKey;
use crate::{Secure, SecureError};

/// The algorithm of new keys.
const ALGORITHM: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// A statement with a signature under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// What is stated. Its canonical JSON (RFC 8785) is what was signed.
    pub statement: Value,
    /// ECDSA with SHA-256, Ecdsa-Sig-Value (RFC 3279), base64.
    pub signature: String,
    /// Which audit key signed.
    pub key_reference: String,
}

impl SignedStatement {
    /// Exactly the octets that were signed.
    ///
    /// # Errors
    /// When the statement has no JSON form.
    pub fn octets(&self) -> Result<Vec<u8>, SecureError> {
        canonical(&self.statement)
    }
}

/// An opened key with its name.
pub(crate) struct AuditKey {
    reference: String,
    key: PrivateKey,
}

impl Secure {
    /// Signs a statement with the audit key, which is made on first need.
    ///
    /// # Errors
    /// Trouble of ours.
    pub async fn sign_statement(&self, statement: Value) -> Result<SignedStatement, SecureError> {
        let key = self.ready_audit_key().await?;
        let signature = STANDARD.encode(key.key.sign(&canonical(&statement)?)?);
        Ok(SignedStatement { statement, signature, key_reference: key.reference.clone() })
    }

    /// The public halves of all audit keys, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_audit_keys(&self) -> Result<Vec<PublicKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(audit_keys::list_public(&mut conn).await?)
    }

    pub(crate) async fn ready_audit_key(&self) -> Result<&AuditKey, SecureError> {
        self.parts.audit_key.get_or_try_init(|| self.open_audit_key()).await
    }

    async fn open_audit_key(&self) -> Result<AuditKey, SecureError> {
        let row = match self.active_audit_key().await? {
            Some(row) => row,
            None => self.make_audit_key().await?,
        };
        let octets =
            self.unwrap_octets(row.encryption_key_id, Table::AuditKeys, row.id, &row.encrypted_key_material);
        let key = PrivateKey::from_pkcs8(ALGORITHM, &octets.await?)?;
        if key.public().spki_der() != row.public_key {
            return Err(SecureError::Damaged(format!("the audit key {}", row.key_reference)));
        }
        Ok(AuditKey { reference: row.key_reference, key })
    }

    async fn active_audit_key(&self) -> Result<Option<AuditKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(audit_keys::find_active(&mut conn).await?)
    }

    async fn make_audit_key(&self) -> Result<AuditKeyRow, SecureError> {
        let now = self.parts.clock.now();
        let key = PrivateKey::generate(ALGORITHM)?;
        let id = new_uuid(now, &self.parts.entropy);
        let owner = (Purpose::Audit, None);
        let (encryption_key_id, ciphertext) =
            self.wrap_octets(owner, Table::AuditKeys, id, &key.to_pkcs8()?).await?;
        let fingerprint = hex::encode(key.public().fingerprint());
        let row = AuditKeyRow {
            id,
            key_reference: format!("audit:{}", fingerprint.get(..16).unwrap_or_default()),
            key_algorithm: ALGORITHM.as_str().into(),
            public_key: key.public().spki_der().to_vec(),
            encrypted_key_material: ciphertext,
            encryption_key_id,
            encryption_algorithm: crate::wrapping::ALGORITHM.into(),
            created_at: now,
        };
        let entry = AuditDraft {
            occurred_at: now,
            actor: Actor::Secure,
            organization_id: None,
            operation_id: None,
            action: "audit_key.create",
            object_type: "audit_key",
            object_id: Some(id),
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({ "key_reference": row.key_reference, "public_key_sha256": fingerprint }),
        };
        let write = Write { audit_keys: vec![row], audit: vec![entry], ..Write::default() };
        match self.commit(write).await {
            // Another process was faster: its key is the active one.
            Err(error) if !error.is_conflict() => return Err(error),
            _ => {}
        }
        self.active_audit_key().await?.ok_or(SecureError::Crypto("no active audit key"))
    }
}

fn canonical(statement: &Value) -> Result<Vec<u8>, SecureError> {
    let json = clm_types::canonical_json(statement);
    json.map(String::into_bytes).map_err(|_| SecureError::Damaged("a statement has no JSON form".into()))
}

/// PEM of a SubjectPublicKeyInfo.
pub fn public_key_pem(spki_der: &[u8]) -> String {
    clm_x509::pem::encode("PUBLIC KEY", spki_der)
}

/// A public key from PEM.
///
/// # Errors
/// `key_malformed`, or another fault of the key.
pub fn read_public_key(pem: &str) -> Result<PublicKey, Refusal> {
    let spki = clm_x509::pem::decode_one(&["PUBLIC KEY"], pem).map_err(|_| {
        Refusal::new(ErrorCode::KeyMalformed, "it is no single public key in PEM")
            .hint("openssl pkey -in KEY -pubout makes one")
    })?;
    PublicKey::from_spki_der(&spki)
}
