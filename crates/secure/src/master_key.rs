//! The master key: wraps the rows of `encryption_keys`, and is itself nowhere in the database.

mod sealed_file;
mod shares;
mod token_key;

use std::path::PathBuf;

use clm_types::Entropy;
use zeroize::Zeroizing;

pub use sealed_file::{Opener, SealedKey};
pub use shares::Share;
pub use token_key::TokenKey;

use crate::SecureError;
use crate::token::TokenError;

/// A master key of one of the providers, ready to wrap.
pub enum MasterKey {
    /// From a sealed file: in this process's memory.
    SealedFile(SealedKey),
    /// In a PKCS#11 token.
    Token(TokenKey),
}

/// A master key that cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file system.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing is overwritten.
    #[error("{} exists already and is never overwritten", .0.display())]
    Exists(PathBuf),
    /// Not a file of ours.
    #[error("{} is neither a sealed master key nor a share of one", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Too easy to guess.
    #[error("the passphrase is shorter than {0} octets")]
    PassphraseTooShort(usize),
    /// Wrong passphrase, or a changed file.
    #[error("{} does not open with this passphrase, or has been changed", .0.display())]
    DoesNotOpen(PathBuf),
    /// Shares given for a passphrase's file.
    #[error("the sealed file opens by a passphrase: name its file as `passphrase_file`")]
    OpensByPassphrase,
    /// A passphrase given for a quorum's file.
    #[error("the sealed file opens by shares: name their folder as `shares_directory`")]
    OpensByShares,
    /// A threshold that is no quorum.
    #[error("{threshold} of {count} is no quorum: at least 2 are needed, and no more than there are")]
    NoQuorum {
        /// Shares needed.
        threshold: u8,
        /// Shares made.
        count: u8,
    },
    /// Too few custodians.
    #[error("{have} of the {need} shares that are needed are here")]
    NotEnoughShares {
        /// Different shares given.
        have: u8,
        /// Shares needed.
        need: u8,
    },
    /// A share of another master key, or a changed one.
    #[error("share {0} does not belong to this master key, or has been changed")]
    WrongShare(u8),
    /// The token has no such key.
    #[error("the token `{token}` has no key `{label}`; `clm-secure master init` makes it")]
    NotInToken {
        /// The key's label.
        label: String,
        /// The token's label.
        token: String,
    },
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl MasterKey {
    /// Which provider holds it, as stored in `encryption_keys.provider`.
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::SealedFile(_) => sealed_file::PROVIDER,
            Self::Token(_) => token_key::PROVIDER,
        }
    }

    /// Which master key it is, as stored in `encryption_keys.master_key_reference`.
    pub fn reference(&self) -> &str {
        match self {
            Self::SealedFile(key) => &key.reference,
            Self::Token(key) => &key.reference,
        }
    }

    /// Nonce, ciphertext, tag (AES-256-GCM with `place` as additional data).
    ///
    /// # Errors
    /// When the token is absent.
    pub async fn wrap(
        &self,
        entropy: &Entropy,
        place: &str,
        plaintext: &Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, SecureError> {
        match self {
            Self::SealedFile(key) => key.key.wrap(entropy, place, plaintext),
            Self::Token(key) => key.wrap(entropy.bytes(), place, plaintext.clone()).await,
        }
    }

    /// The plaintext, if `wrapped` was made by this master key for this very place.
    ///
    /// # Errors
    /// When it was not, or the token is absent.
    pub async fn unwrap(&self, place: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecureError> {
        match self {
            Self::SealedFile(key) => key.key.unwrap(place, wrapped),
            Self::Token(key) => key.unwrap(place, wrapped).await,
        }
    }
}

impl From<SealedKey> for MasterKey {
    fn from(key: SealedKey) -> Self {
        Self::SealedFile(key)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey").field("reference", &self.reference()).field("key", &"[redacted]").finish()
    }
}
