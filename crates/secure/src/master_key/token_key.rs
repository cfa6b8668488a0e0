//! A master key in a PKCS#11 token: every wrapping and unwrapping happens there.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::MasterKeyError;
use crate::token::Token;

/// Name of the provider.
pub(super) const PROVIDER: &str = "pkcs11";

/// An AES-256 key of a token, by its label.
#[derive(Debug, Clone)]
pub struct TokenKey {
    pub(super) reference: String,
    pub(super) token: Arc<Token>,
    label: String,
}

impl TokenKey {
    /// The key `label` of `token`, which need not be there yet.
    pub fn new(token: Arc<Token>, label: &str) -> Self {
        let reference = format!("{PROVIDER}:{}/{label}", token.label());
        Self { reference, token, label: label.to_owned() }
    }

    /// Makes the key in the token, unless it is there. True when it was made.
    ///
    /// # Errors
    /// When the token is absent or refuses.
    pub async fn create(&self) -> Result<bool, MasterKeyError> {
        if self.token.has_aes_key(self.id()).await? {
            return Ok(false);
        }
        self.token.generate_aes_key(self.id(), self.label.clone()).await?;
        Ok(true)
    }

    /// Refuses unless the key is there.
    ///
    /// # Errors
    /// When the token is absent or has no such key.
    pub async fn check(&self) -> Result<(), MasterKeyError> {
        if self.token.has_aes_key(self.id()).await? {
            return Ok(());
        }
        Err(MasterKeyError::NotInToken { label: self.label.clone(), token: self.token.label().to_owned() })
    }

    /// CKA_ID of the key.
    pub(super) fn id(&self) -> Vec<u8> {
        self.label.clone().into_bytes()
    }

    pub(super) async fn wrap(
        &self,
        nonce: [u8; 12],
        place: &str,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, crate::SecureError> {
        Ok(self.token.encrypt(self.id(), nonce, place.to_owned(), plaintext).await?)
    }

    pub(super) async fn unwrap(
        &self,
        place: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, crate::SecureError> {
        Ok(self.token.decrypt(self.id(), place.to_owned(), wrapped.to_vec()).await?)
    }
}
