//! A key that signs for an authority: in this process, or in the token.

use std::sync::Arc;

use clm_secure_db::private_keys::TokenKeyRow;
use clm_types::{ErrorCode, KeyAlgorithm, PrivateKeyId, Refusal};
use clm_x509::PublicKey;
use clm_x509::algorithm::ToBeSigned;
use serde::{Deserialize, Serialize};

use crate::private_keys::PrivateKey;
use crate::token::Token;
use crate::{Secure, SecureError};

/// Where the key of an authority is made, and stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStore {
    /// Wrapped in the database, used in this process.
    #[default]
    Software,
    /// In the token, used there.
    Token,
}

/// A key ready to sign.
pub(crate) enum SigningKey {
    Software(PrivateKey),
    Token(TokenPair),
}

/// A key pair of the token, by the id of its private key.
pub(crate) struct TokenPair {
    token: Arc<Token>,
    pub(crate) private_key_id: PrivateKeyId,
    public: PublicKey,
}

impl SigningKey {
    /// Its public half.
    pub(crate) const fn public(&self) -> &PublicKey {
        match self {
            Self::Software(key) => key.public(),
            Self::Token(pair) => &pair.public,
        }
    }

    /// A signature in the form that X.509 wants for this algorithm.
    pub(crate) async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SecureError> {
        match self {
            Self::Software(key) => key.sign(message),
            Self::Token(pair) => {
                let (algorithm, id) = (pair.public.algorithm(), object_id(pair.private_key_id));
                let signature = pair.token.sign(algorithm, id, message.to_vec()).await?;
                // A token that signs wrongly is not believed.
                clm_x509::algorithm::verify(&pair.public, message, &signature)
                    .map_err(|_| SecureError::Crypto("the token's signature is wrong"))?;
                Ok(signature)
            }
        }
    }

    /// The same of what was taken in piece by piece. The signature is verified where it is used.
    pub(crate) async fn sign_content(&self, content: &ToBeSigned) -> Result<Vec<u8>, SecureError> {
        let digest = match content {
            ToBeSigned::Message(message) => return self.sign(message).await,
            ToBeSigned::Digest(digest) => digest,
        };
        match self {
            Self::Software(key) => key.sign_digest(digest),
            Self::Token(pair) => {
                let (algorithm, id) = (pair.public.algorithm(), object_id(pair.private_key_id));
                Ok(pair.token.sign_digest(algorithm, id, digest.as_ref().to_vec()).await?)
            }
        }
    }
}

impl TokenPair {
    /// Its row, once its certificate is there.
    pub(crate) fn provider(&self) -> String {
        provider(&self.token)
    }

    /// The token's name of the key.
    pub(crate) fn reference(&self) -> String {
        hex::encode(object_id(self.private_key_id))
    }
}

/// CKA_ID of the pair.
fn object_id(id: PrivateKeyId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

fn provider(token: &Token) -> String {
    format!("pkcs11:{}", token.label())
}

impl Secure {
    /// Makes a key pair in the token.
    pub(crate) async fn make_token_pair(
        &self,
        algorithm: KeyAlgorithm,
        label: &str,
    ) -> Result<TokenPair, SecureError> {
        let token = self.token()?;
        let private_key_id = PrivateKeyId::generate(self.parts.clock.now(), &self.parts.entropy);
        let id = object_id(private_key_id);
        let public = token.generate_key_pair(algorithm, id, label.to_owned()).await?;
        Ok(TokenPair { token, private_key_id, public })
    }

    /// The key pair that was made in the token under this id.
    pub(crate) async fn find_token_pair(
        &self,
        private_key_id: PrivateKeyId,
        algorithm: KeyAlgorithm,
    ) -> Result<TokenPair, SecureError> {
        let token = self.token()?;
        let public = token.public_key(algorithm, object_id(private_key_id)).await?;
        let public = public.ok_or_else(|| locked("its token has no such key"))?;
        Ok(TokenPair { token, private_key_id, public })
    }

    /// The key pair of a stored row, which must be of the configured token and have the certified public key.
    pub(crate) async fn open_token_pair(
        &self,
        row: &TokenKeyRow,
        certified: &PublicKey,
    ) -> Result<TokenPair, SecureError> {
        if row.hsm_provider != provider(self.token()?.as_ref()) {
            return Err(locked("its token is another one than the configured").into());
        }
        let pair = self.find_token_pair(row.id.into(), certified.algorithm()).await?;
        if pair.public == *certified {
            return Ok(pair);
        }
        Err(SecureError::Damaged(format!("the token's key {} is not the certified one", row.id)))
    }

    fn token(&self) -> Result<Arc<Token>, SecureError> {
        let token = self.parts.custody.stores.token.clone();
        token.ok_or_else(|| locked("no token is configured").into())
    }
}

fn locked(why: &str) -> Refusal {
    Refusal::new(ErrorCode::AuthorityLocked, format!("the key cannot be used now: {why}"))
        .hint("operators: see the section [hsm] of the configuration")
}
