//! Encryption keys as operators see them: their versions, what each protects, and how worn it is.

use clm_secure_db::encryption_keys::{self, EncryptionKeyRow, KeyQuery};
use clm_secure_db::wrapped_keys;
use clm_types::{ErrorCode, Refusal};
use serde_json::json;
use uuid::Uuid;

use crate::audit::Actor;
use crate::committer::Write;
use crate::{Secure, SecureError};

impl Secure {
    /// How near the active keys are to their limits.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_wear(&self) -> Result<encryption_keys::Wear, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(encryption_keys::wear(&mut conn).await?)
    }

    /// What a version protects now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn blast_radius(&self, id: Uuid) -> Result<wrapped_keys::BlastRadius, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(wrapped_keys::blast_radius(&mut conn, id).await?)
    }

    /// The key of this name.
    ///
    /// # Errors
    /// `not_found`, or the database fails.
    pub async fn find_key(&self, key_identifier: &str) -> Result<EncryptionKeyRow, SecureError> {
        let query = KeyQuery { key_identifier: Some(key_identifier.into()), limit: 1, ..KeyQuery::default() };
        let found = self.list_keys(&query).await?.pop();
        found.ok_or_else(|| {
            let detail = format!("there is no encryption key `{key_identifier}`");
            Refusal::new(ErrorCode::NotFound, detail).hint("`clm-secure keys list` shows their names").into()
        })
    }

    /// Encryption keys in the order of their making.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_keys(&self, query: &KeyQuery) -> Result<Vec<EncryptionKeyRow>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(encryption_keys::list(&mut conn, query).await?)
    }

    /// Marks a version as known to others: it wraps no more. Rotate it next.
    ///
    /// # Errors
    /// `not_found`, `conflict` when it is destroyed or marked already, or trouble of ours.
    pub async fn mark_key_compromised(&self, key_identifier: &str, actor: &Actor) -> Result<(), SecureError> {
        let key = self.find_key(key_identifier).await?;
        let audit = self.key_audit("encryption_key.compromise", &key, actor, json!({}));
        let write =
            Write { compromised_encryption_keys: vec![key.id], audit: vec![audit], ..Write::default() };
        let marked = self.commit(write).await;
        self.parts.custody.forget_active();
        match marked {
            Err(error) if error.is_conflict() => {
                let detail = format!("`{key_identifier}` is {}", key.state);
                Err(Refusal::new(ErrorCode::Conflict, detail).into())
            }
            outcome => outcome,
        }
    }
}
