//! Custody of private keys: which key wraps which, and how a wrapped key is opened again.
//!
//! The master key wraps the rows of `encryption_keys`; those wrap `private_keys.encrypted_key_material`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use clm_secure_db::encryption_keys::{self, EncryptionKeyRow};
use clm_secure_db::private_keys::PrivateKeyRow;
use clm_types::ids::new_uuid;
use clm_types::{KeyAlgorithm, OrganizationId, PrivateKeyId};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::private_keys::PrivateKey;
use crate::wrapping::{ALGORITHM, KEY_OCTETS, WrappingKey};
use crate::{MasterKey, Secure, SecureError};

/// Wrappings per key: far below the birthday bound of random 96-bit nonces (NIST SP 800-38D §8.3).
const MAX_USES: i64 = 1 << 31;

/// Days in which a key wraps.
const CRYPTO_PERIOD_DAYS: i64 = 365;

/// What an encryption key wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Keys of certificates.
    PrivateKeys,
    /// Keys of authorities.
    AuthorityKeys,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PrivateKeys => "private_keys",
            Self::AuthorityKeys => "authority_keys",
        }
    }
}

/// An opened encryption key.
struct DataKey {
    id: Uuid,
    version: i32,
    expires_at: clm_types::Time,
    key: WrappingKey,
}

/// A private key, wrapped, with what opens it again.
#[derive(Debug, Clone)]
pub(crate) struct WrappedKey {
    pub(crate) private_key_id: PrivateKeyId,
    pub(crate) encryption_key_id: Uuid,
    pub(crate) ciphertext: Vec<u8>,
}

type Owner = (Purpose, Option<OrganizationId>);

/// The master key and the encryption keys that are open now.
pub(crate) struct Custody {
    master: MasterKey,
    active: Mutex<HashMap<Owner, Arc<DataKey>>>,
    open: Mutex<HashMap<Uuid, Arc<DataKey>>>,
}

impl Custody {
    pub(crate) fn new(master: MasterKey) -> Self {
        Self { master, active: Mutex::default(), open: Mutex::default() }
    }

    fn unwrap_row(&self, row: &EncryptionKeyRow) -> Result<Arc<DataKey>, SecureError> {
        let wrapped = row.wrapped_key_material.as_deref();
        let wrapped = wrapped
            .ok_or_else(|| SecureError::Damaged(format!("encryption key {} was destroyed", row.id)))?;
        let octets = self.master.unwrap(&key_place(row.id, row.key_version), wrapped)?;
        let key = WrappingKey::new(&octets)?;
        let key = Arc::new(DataKey { id: row.id, version: row.key_version, expires_at: row.expires_at, key });
        locked(&self.open).insert(row.id, Arc::clone(&key));
        Ok(key)
    }

    /// Forgets which keys are active; used when the database says that one no longer is.
    pub(crate) fn forget_active(&self) {
        locked(&self.active).clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_place(id: Uuid, version: i32) -> String {
    format!("encryption_keys/wrapped_key_material/{id}/{version}")
}

fn private_key_place(id: PrivateKeyId, key: &DataKey) -> String {
    format!("private_keys/encrypted_key_material/{id}/{}/{}", key.id, key.version)
}

impl Secure {
    /// Wraps `key` under the active encryption key of its purpose and organization.
    pub(crate) async fn wrap_private_key(
        &self,
        purpose: Purpose,
        organization_id: Option<OrganizationId>,
        key: &PrivateKey,
    ) -> Result<WrappedKey, SecureError> {
        let data_key = self.active_key((purpose, organization_id)).await?;
        let private_key_id = PrivateKeyId::generate(self.parts.clock.now(), &self.parts.entropy);
        let place = private_key_place(private_key_id, &data_key);
        let ciphertext = data_key.key.wrap(&self.parts.entropy, &place, &key.to_pkcs8()?)?;
        Ok(WrappedKey { private_key_id, encryption_key_id: data_key.id, ciphertext })
    }

    /// Opens a stored private key. The caller writes the audit entry of its use.
    pub(crate) async fn unwrap_private_key(&self, row: &PrivateKeyRow) -> Result<PrivateKey, SecureError> {
        let algorithm: KeyAlgorithm =
            row.key_algorithm.parse().map_err(|_| SecureError::Damaged(format!("private key {}", row.id)))?;
        let wrapped = WrappedKey {
            private_key_id: row.id.into(),
            encryption_key_id: row.encryption_key_id,
            ciphertext: row.encrypted_key_material.clone(),
        };
        self.open_wrapped(&wrapped, algorithm).await
    }

    /// Opens a wrapped key.
    pub(crate) async fn open_wrapped(
        &self,
        wrapped: &WrappedKey,
        algorithm: KeyAlgorithm,
    ) -> Result<PrivateKey, SecureError> {
        let data_key = self.encryption_key(wrapped.encryption_key_id).await?;
        let place = private_key_place(wrapped.private_key_id, &data_key);
        PrivateKey::from_pkcs8(algorithm, &data_key.key.unwrap(&place, &wrapped.ciphertext)?)
    }

    async fn encryption_key(&self, id: Uuid) -> Result<Arc<DataKey>, SecureError> {
        let open = locked(&self.parts.custody.open).get(&id).cloned();
        if let Some(key) = open {
            return Ok(key);
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let row = encryption_keys::find(&mut conn, id).await?;
        let row = row.ok_or_else(|| SecureError::Damaged(format!("encryption key {id} is missing")))?;
        self.parts.custody.unwrap_row(&row)
    }

    async fn active_key(&self, owner: Owner) -> Result<Arc<DataKey>, SecureError> {
        let now = self.parts.clock.now();
        let known = locked(&self.parts.custody.active).get(&owner).cloned();
        if let Some(key) = known.filter(|key| now < key.expires_at) {
            return Ok(key);
        }
        let key = self.find_or_make_key(owner).await?;
        locked(&self.parts.custody.active).insert(owner, Arc::clone(&key));
        Ok(key)
    }

    /// The active key; a new version when there is none, or it is past its crypto-period or out of uses.
    async fn find_or_make_key(&self, owner: Owner) -> Result<Arc<DataKey>, SecureError> {
        let now = self.parts.clock.now();
        let old = self.find_active(owner).await?;
        if let Some(row) = old.as_ref().filter(|row| now < row.expires_at && row.use_count < row.max_uses) {
            return self.parts.custody.unwrap_row(row);
        }
        let row = self.new_key_row(owner, old.as_ref().map_or(1, |old| old.key_version + 1))?;
        let write = Write {
            audit: vec![self.key_made(&row, owner.1)],
            new_encryption_keys: vec![row],
            retired_encryption_keys: old.map(|old| old.id).into_iter().collect(),
            ..Write::default()
        };
        match self.commit(write).await {
            // Another process was faster: its key is the active one.
            Err(error) if !error.is_conflict() => return Err(error),
            _ => {}
        }
        let row = self.find_active(owner).await?.ok_or(SecureError::Crypto("no active encryption key"))?;
        self.parts.custody.unwrap_row(&row)
    }

    async fn find_active(
        &self,
        (purpose, organization): Owner,
    ) -> Result<Option<EncryptionKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(encryption_keys::find_active(&mut conn, purpose.as_str(), organization.map(Into::into)).await?)
    }

    fn new_key_row(
        &self,
        (purpose, organization): Owner,
        version: i32,
    ) -> Result<EncryptionKeyRow, SecureError> {
        let now = self.parts.clock.now();
        let id = new_uuid(now, &self.parts.entropy);
        let octets = Zeroizing::new(self.parts.entropy.bytes::<KEY_OCTETS>());
        let master = &self.parts.custody.master;
        let wrapped = master.wrap(&self.parts.entropy, &key_place(id, version), octets.as_slice())?;
        let owner = organization.map_or_else(|| "installation".to_owned(), |id| id.to_string());
        Ok(EncryptionKeyRow {
            id,
            key_identifier: format!("{}/{owner}/{version}", purpose.as_str()),
            purpose: purpose.as_str().into(),
            organization_id: organization.map(Into::into),
            key_version: version,
            algorithm: ALGORITHM.into(),
            provider: MasterKey::PROVIDER.into(),
            master_key_reference: master.reference().into(),
            wrapped_key_material: Some(wrapped),
            state: "active".into(),
            use_count: 0,
            max_uses: MAX_USES,
            expires_at: now + TimeDelta::days(CRYPTO_PERIOD_DAYS),
            created_at: now,
        })
    }

    fn key_made(&self, row: &EncryptionKeyRow, organization_id: Option<OrganizationId>) -> AuditDraft {
        AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Secure,
            organization_id,
            operation_id: None,
            action: "encryption_key.create",
            object_type: "encryption_key",
            object_id: Some(row.id),
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({ "purpose": row.purpose, "version": row.key_version, "master_key": row.master_key_reference }),
        }
    }
}
