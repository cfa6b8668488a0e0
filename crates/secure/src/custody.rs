//! Custody of private keys: which key wraps which, and how a wrapped key is opened again.
//!
//! The master key wraps the rows of `encryption_keys`; those wrap `private_keys.encrypted_key_material`.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_secure_db::encryption_keys::{self, EncryptionKeyRow};
use clm_secure_db::private_keys::PrivateKeyRow;
use clm_secure_db::wrapped_keys::WrappedIn;
use clm_types::ids::new_uuid;
use clm_types::{ErrorCode, KeyAlgorithm, OrganizationId, PrivateKeyId, Refusal};
use moka::sync::Cache;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::master_key::SealedKey;
use crate::private_keys::PrivateKey;
use crate::token::Token;
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
    Certificates,
    /// Keys of authorities.
    Authorities,
    /// Keys that sign statements.
    Audit,
}

/// Where a ciphertext lies: part of what it is bound to. A key that waits in an intent belongs to `private_keys` already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    PrivateKeys,
    AuditKeys,
}

impl Table {
    pub(crate) const fn of(place: WrappedIn) -> Self {
        match place {
            WrappedIn::PrivateKeys | WrappedIn::Intents => Self::PrivateKeys,
            WrappedIn::AuditKeys => Self::AuditKeys,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::PrivateKeys => "private_keys",
            Self::AuditKeys => "audit_keys",
        }
    }
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "private_keys",
            Self::Authorities => "authority_keys",
            Self::Audit => "audit_keys",
        }
    }

    /// Whose key a row is.
    pub(crate) fn owner_of(row: &EncryptionKeyRow) -> Result<Owner, SecureError> {
        let all = [Self::Certificates, Self::Authorities, Self::Audit];
        let purpose = all.into_iter().find(|purpose| purpose.as_str() == row.purpose);
        let purpose =
            purpose.ok_or_else(|| SecureError::Damaged(format!("the purpose of {}", row.key_identifier)))?;
        Ok((purpose, row.organization_id.map(Into::into)))
    }
}

/// An opened encryption key.
pub(crate) struct DataKey {
    pub(crate) id: Uuid,
    version: i32,
    expires_at: clm_types::Time,
    pub(crate) key: WrappingKey,
}

/// A private key, wrapped, with what opens it again.
#[derive(Debug, Clone)]
pub(crate) struct WrappedKey {
    pub(crate) private_key_id: PrivateKeyId,
    pub(crate) encryption_key_id: Uuid,
    pub(crate) ciphertext: Vec<u8>,
}

pub(crate) type Owner = (Purpose, Option<OrganizationId>);

/// How long an encryption key stays open without a look at its row: a destroyed one is forgotten within this.
const OPEN_FOR: Duration = Duration::from_mins(1);

/// Encryption keys that are open at the same time.
const MOST_OPEN: u64 = 10_000;

/// Where keys are kept: the master keys, and the token if there is one.
#[derive(Debug)]
pub struct KeyStores {
    /// Wraps new encryption keys, unless there is a next one.
    pub master: MasterKey,
    /// The master key that takes over: it wraps, the other one still opens.
    pub next_master: Option<MasterKey>,
    /// Holds keys of authorities.
    pub token: Option<Arc<Token>>,
}

impl From<MasterKey> for KeyStores {
    fn from(master: MasterKey) -> Self {
        Self { master, next_master: None, token: None }
    }
}

impl From<SealedKey> for KeyStores {
    fn from(key: SealedKey) -> Self {
        MasterKey::from(key).into()
    }
}

impl KeyStores {
    /// The one that wraps.
    pub(crate) fn wrapping_master(&self) -> &MasterKey {
        self.next_master.as_ref().unwrap_or(&self.master)
    }

    fn master_of(&self, row: &EncryptionKeyRow) -> Result<&MasterKey, SecureError> {
        let masters = [Some(&self.master), self.next_master.as_ref()];
        let found = masters.into_iter().flatten().find(|key| key.reference() == row.master_key_reference);
        found.ok_or_else(|| {
            let detail = format!(
                "the encryption key {} is under the master key {}, which is not configured",
                row.key_identifier, row.master_key_reference
            );
            SecureError::Damaged(detail)
        })
    }
}

/// The key stores and the encryption keys that are open now.
pub(crate) struct Custody {
    pub(crate) stores: KeyStores,
    active: Cache<Owner, Arc<DataKey>>,
    open: Cache<Uuid, Arc<DataKey>>,
}

impl Custody {
    pub(crate) fn new(stores: KeyStores) -> Self {
        Self {
            stores,
            active: Cache::builder().max_capacity(MOST_OPEN).time_to_live(OPEN_FOR).build(),
            open: Cache::builder().max_capacity(MOST_OPEN).time_to_live(OPEN_FOR).build(),
        }
    }

    /// The key itself, as its master key gives it.
    pub(crate) async fn unwrap_octets(
        &self,
        row: &EncryptionKeyRow,
    ) -> Result<Zeroizing<Vec<u8>>, SecureError> {
        let wrapped = row.wrapped_key_material.as_deref();
        let wrapped = wrapped.ok_or_else(|| {
            let detail = format!("the encryption key {} was destroyed", row.key_identifier);
            Refusal::new(ErrorCode::Unavailable, detail).hint("try again: what it protected has moved on")
        })?;
        self.stores.master_of(row)?.unwrap(&key_place(row.id, row.key_version), wrapped).await
    }

    async fn unwrap_row(&self, row: &EncryptionKeyRow) -> Result<Arc<DataKey>, SecureError> {
        let key = WrappingKey::new(&self.unwrap_octets(row).await?)?;
        let key = Arc::new(DataKey { id: row.id, version: row.key_version, expires_at: row.expires_at, key });
        self.open.insert(row.id, Arc::clone(&key));
        Ok(key)
    }

    /// Forgets which keys are active; used when the database says that one no longer is.
    pub(crate) fn forget_active(&self) {
        self.active.invalidate_all();
    }

    /// Forgets a key that was destroyed.
    pub(crate) fn forget(&self, id: Uuid) {
        self.open.invalidate(&id);
    }
}

pub(crate) fn key_place(id: Uuid, version: i32) -> String {
    format!("encryption_keys/wrapped_key_material/{id}/{version}")
}

/// What a ciphertext is bound to: its table, column and row, and the key that it is under.
pub(crate) fn place(table: Table, id: Uuid, key: &DataKey) -> String {
    format!("{}/encrypted_key_material/{id}/{}/{}", table.as_str(), key.id, key.version)
}

impl Secure {
    /// Wraps `key` under the active encryption key of its purpose and organization.
    pub(crate) async fn wrap_private_key(
        &self,
        purpose: Purpose,
        organization_id: Option<OrganizationId>,
        key: &PrivateKey,
    ) -> Result<WrappedKey, SecureError> {
        let private_key_id = PrivateKeyId::generate(self.parts.clock.now(), &self.parts.entropy);
        let (encryption_key_id, ciphertext) = self
            .wrap_octets(
                (purpose, organization_id),
                Table::PrivateKeys,
                private_key_id.into(),
                &key.to_pkcs8()?,
            )
            .await?;
        Ok(WrappedKey { private_key_id, encryption_key_id, ciphertext })
    }

    /// Wraps a secret of row `id` under the active encryption key of `owner`: that key's id, and the ciphertext.
    pub(crate) async fn wrap_octets(
        &self,
        owner: Owner,
        table: Table,
        id: Uuid,
        secret: &[u8],
    ) -> Result<(Uuid, Vec<u8>), SecureError> {
        let key = self.active_key(owner).await?;
        let ciphertext = key.key.wrap(&self.parts.entropy, &place(table, id, &key), secret)?;
        Ok((key.id, ciphertext))
    }

    /// The secret of row `id`.
    pub(crate) async fn unwrap_octets(
        &self,
        encryption_key_id: Uuid,
        table: Table,
        id: Uuid,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SecureError> {
        let key = self.encryption_key(encryption_key_id).await?;
        key.key.unwrap(&place(table, id, &key), ciphertext)
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
        let id = wrapped.private_key_id.into();
        let octets =
            self.unwrap_octets(wrapped.encryption_key_id, Table::PrivateKeys, id, &wrapped.ciphertext);
        PrivateKey::from_pkcs8(algorithm, &octets.await?)
    }

    pub(crate) async fn encryption_key(&self, id: Uuid) -> Result<Arc<DataKey>, SecureError> {
        if let Some(key) = self.parts.custody.open.get(&id) {
            return Ok(key);
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let row = encryption_keys::find(&mut conn, id).await?;
        let row = row.ok_or_else(|| SecureError::Damaged(format!("encryption key {id} is missing")))?;
        self.parts.custody.unwrap_row(&row).await
    }

    pub(crate) async fn active_key(&self, owner: Owner) -> Result<Arc<DataKey>, SecureError> {
        let now = self.parts.clock.now();
        let known = self.parts.custody.active.get(&owner);
        if let Some(key) = known.filter(|key| now < key.expires_at) {
            return Ok(key);
        }
        let key = self.find_or_make_key(owner).await?;
        self.parts.custody.active.insert(owner, Arc::clone(&key));
        Ok(key)
    }

    /// The active key; a new version when there is none, or it is past its crypto-period or out of uses.
    async fn find_or_make_key(&self, owner: Owner) -> Result<Arc<DataKey>, SecureError> {
        let now = self.parts.clock.now();
        let old = self.find_active(owner).await?;
        if let Some(row) = old.as_ref().filter(|row| now < row.expires_at && row.use_count < row.max_uses) {
            return self.parts.custody.unwrap_row(row).await;
        }
        let row = self.new_key_row(owner, self.newest_version(owner).await? + 1, "active").await?;
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
        self.parts.custody.unwrap_row(&row).await
    }

    async fn newest_version(&self, (purpose, organization): Owner) -> Result<i32, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let organization = organization.map(Into::into);
        Ok(encryption_keys::newest_version(&mut conn, purpose.as_str(), organization).await?)
    }

    pub(crate) async fn find_active(
        &self,
        (purpose, organization): Owner,
    ) -> Result<Option<EncryptionKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(encryption_keys::find_active(&mut conn, purpose.as_str(), organization.map(Into::into)).await?)
    }

    pub(crate) async fn new_key_row(
        &self,
        (purpose, organization): Owner,
        version: i32,
        state: &str,
    ) -> Result<EncryptionKeyRow, SecureError> {
        let now = self.parts.clock.now();
        let id = new_uuid(now, &self.parts.entropy);
        let mut octets = Zeroizing::new(vec![0; KEY_OCTETS]);
        self.parts.entropy.fill(&mut octets);
        let master = self.parts.custody.stores.wrapping_master();
        let wrapped = master.wrap(&self.parts.entropy, &key_place(id, version), &octets).await?;
        let owner = organization.map_or_else(|| "installation".to_owned(), |id| id.to_string());
        Ok(EncryptionKeyRow {
            id,
            key_identifier: format!("{}/{owner}/{version}", purpose.as_str()),
            purpose: purpose.as_str().into(),
            organization_id: organization.map(Into::into),
            key_version: version,
            algorithm: ALGORITHM.into(),
            provider: master.provider().into(),
            master_key_reference: master.reference().into(),
            wrapped_key_material: Some(wrapped),
            state: state.into(),
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
