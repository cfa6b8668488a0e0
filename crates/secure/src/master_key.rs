//! The master key in a sealed file: for machines without a security module.
//!
//! The file holds a random AES-256 key, encrypted under a key derived from a passphrase (PBKDF2-HMAC-SHA512, NIST SP
//! 800-132). The passphrase comes from a file of its own, so that neither file alone opens anything.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::pbkdf2;
use base64::{Engine, engine::general_purpose::STANDARD};
use clm_types::{Entropy, Time};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::SecureError;
use crate::wrapping::{KEY_OCTETS, WrappingKey};

/// OWASP's figure for PBKDF2-HMAC-SHA512 is 210,000; the passphrase is read once per start, so more costs nothing.
const ITERATIONS: u32 = 600_000;

/// Shortest passphrase that is accepted, in octets.
const SHORTEST_PASSPHRASE: usize = 16;

/// The key that wraps the rows of `encryption_keys`.
pub struct MasterKey {
    reference: String,
    key: WrappingKey,
}

/// A sealed file that cannot be made or opened.
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
    #[error("{} exists already; a master key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// Not a sealed file of ours.
    #[error("{} is not a sealed master key", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Too easy to guess.
    #[error("the passphrase is shorter than {SHORTEST_PASSPHRASE} octets")]
    PassphraseTooShort,
    /// Wrong passphrase, or a changed file.
    #[error("{} does not open with this passphrase, or has been changed", .0.display())]
    DoesNotOpen(PathBuf),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedFile {
    format: String,
    reference: String,
    created_at: Time,
    kdf: String,
    iterations: NonZeroU32,
    salt: String,
    sealed_key: String,
}

const FORMAT: &str = "clm-sealed-master-key/1";
const KDF: &str = "PBKDF2-HMAC-SHA512";

impl MasterKey {
    /// Name of the provider, as stored in `encryption_keys.provider`.
    pub const PROVIDER: &'static str = "sealed-file";

    /// Which master key it is, as stored in `encryption_keys.master_key_reference`.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Makes a new master key and seals it into `path`, which must not exist.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or the passphrase is too short.
    pub fn create(
        path: &Path,
        passphrase: &[u8],
        now: Time,
        entropy: &Entropy,
    ) -> Result<Self, MasterKeyError> {
        if passphrase.len() < SHORTEST_PASSPHRASE {
            return Err(MasterKeyError::PassphraseTooShort);
        }
        let octets = Zeroizing::new(entropy.bytes::<KEY_OCTETS>());
        let salt: [u8; 16] = entropy.bytes();
        let reference = format!("{}:{}", Self::PROVIDER, hex::encode(entropy.bytes::<8>()));
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        let sealing =
            derive(passphrase, &salt, iterations).map_err(|_| MasterKeyError::DoesNotOpen(path.into()))?;
        let sealed = sealing
            .wrap(entropy, &place(&reference), octets.as_slice())
            .map_err(|_| MasterKeyError::DoesNotOpen(path.into()))?;
        let file = SealedFile {
            format: FORMAT.into(),
            reference,
            created_at: now,
            kdf: KDF.into(),
            iterations,
            salt: STANDARD.encode(salt),
            sealed_key: STANDARD.encode(sealed),
        };
        write_new(path, &file)?;
        Self::open(path, passphrase)
    }

    /// Opens the sealed file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or the passphrase is wrong.
    pub fn open(path: &Path, passphrase: &[u8]) -> Result<Self, MasterKeyError> {
        let text =
            std::fs::read(path).map_err(|source| MasterKeyError::File { path: path.into(), source })?;
        let file: SealedFile = serde_json::from_slice(&text)
            .map_err(|source| MasterKeyError::Unreadable { path: path.into(), source })?;
        let damaged = || MasterKeyError::DoesNotOpen(path.into());
        if file.format != FORMAT || file.kdf != KDF {
            return Err(damaged());
        }
        let salt = STANDARD.decode(&file.salt).map_err(|_| damaged())?;
        let sealed = STANDARD.decode(&file.sealed_key).map_err(|_| damaged())?;
        let sealing = derive(passphrase, &salt, file.iterations).map_err(|_| damaged())?;
        let octets = sealing.unwrap(&place(&file.reference), &sealed).map_err(|_| damaged())?;
        let key = WrappingKey::new(&octets).map_err(|_| damaged())?;
        Ok(Self { reference: file.reference, key })
    }

    pub(crate) fn wrap(
        &self,
        entropy: &Entropy,
        place: &str,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SecureError> {
        self.key.wrap(entropy, place, plaintext)
    }

    pub(crate) fn unwrap(&self, place: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecureError> {
        self.key.unwrap(place, wrapped)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey").field("reference", &self.reference).field("key", &"[redacted]").finish()
    }
}

fn place(reference: &str) -> String {
    format!("clm/master-key/{reference}")
}

fn derive(passphrase: &[u8], salt: &[u8], iterations: NonZeroU32) -> Result<WrappingKey, SecureError> {
    let mut octets = Zeroizing::new([0u8; KEY_OCTETS]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, passphrase, octets.as_mut_slice());
    WrappingKey::new(octets.as_slice())
}

fn write_new(path: &Path, file: &SealedFile) -> Result<(), MasterKeyError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => MasterKeyError::Exists(path.into()),
        _ => MasterKeyError::File { path: path.into(), source },
    };
    let text = serde_json::to_vec_pretty(file)
        .map_err(|source| MasterKeyError::Unreadable { path: path.into(), source })?;
    let mut sink =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    sink.write_all(&text).and_then(|()| sink.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        Time::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_alone_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let entropy = Entropy::seeded(5);
        let passphrase = b"a passphrase of some length";
        let made = MasterKey::create(&path, passphrase, now(), &entropy).unwrap();
        let wrapped = made.wrap(&entropy, "here", b"data key").unwrap();
        let opened = MasterKey::open(&path, passphrase).unwrap();
        assert_eq!(opened.unwrap("here", &wrapped).unwrap().as_slice(), b"data key");
        assert!(matches!(MasterKey::open(&path, b"another passphrase"), Err(MasterKeyError::DoesNotOpen(_))));
        assert!(matches!(
            MasterKey::create(&path, passphrase, now(), &entropy),
            Err(MasterKeyError::Exists(_))
        ));
        assert!(format!("{opened:?}").contains("[redacted]"));
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        let refused = MasterKey::create(Path::new("/nonexistent/x"), b"short", now(), &Entropy::seeded(1));
        assert!(matches!(refused, Err(MasterKeyError::PassphraseTooShort)));
    }
}
