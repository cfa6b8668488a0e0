//! A master key in a sealed file: for machines without a security module.
//!
//! The file holds a random AES-256 key, encrypted under a key that a passphrase gives (PBKDF2-HMAC-SHA512, NIST SP
//! 800-132), or that a quorum of custodians holds in shares. The file alone opens nothing.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::pbkdf2;
use base64::{Engine, engine::general_purpose::STANDARD};
use clm_types::{Entropy, Time};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::MasterKeyError;
use super::shares::{self, Quorum, Share};
use crate::SecureError;
use crate::wrapping::{KEY_OCTETS, WrappingKey};

/// OWASP's figure for PBKDF2-HMAC-SHA512 is 210,000; the passphrase is read once per start, so more costs nothing.
const ITERATIONS: u32 = 600_000;

/// Shortest passphrase that is accepted, in octets.
const SHORTEST_PASSPHRASE: usize = 16;

const FORMAT: &str = "clm-sealed-master-key/1";

/// Name of the provider.
pub(super) const PROVIDER: &str = "sealed-file";

/// An opened sealed file.
pub struct SealedKey {
    pub(super) reference: String,
    pub(super) key: WrappingKey,
}

/// What opens a sealed file.
#[derive(Debug, Clone, Copy)]
pub enum Opener<'a> {
    /// A passphrase of 16 octets at least.
    Passphrase(&'a [u8]),
    /// Shares of different custodians.
    Shares(&'a [Share]),
}

#[derive(Serialize, Deserialize)]
struct SealedFile {
    format: String,
    reference: String,
    created_at: Time,
    #[serde(flatten)]
    lock: Lock,
    sealed_key: String,
}

/// What the sealing key comes from.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kdf")]
enum Lock {
    #[serde(rename = "PBKDF2-HMAC-SHA512")]
    Passphrase { iterations: NonZeroU32, salt: String },
    #[serde(rename = "SHAMIR-GF256")]
    Shares(Quorum),
}

impl SealedKey {
    /// Makes a new master key, sealed by a passphrase into `path`, which must not exist.
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
            return Err(MasterKeyError::PassphraseTooShort(SHORTEST_PASSPHRASE));
        }
        let salt: [u8; 16] = entropy.bytes();
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        let sealing = derive(passphrase, &salt, iterations);
        let lock = Lock::Passphrase { iterations, salt: STANDARD.encode(salt) };
        seal(path, new_reference(entropy), lock, &sealing, now, entropy)?;
        Self::open(path, Opener::Passphrase(passphrase))
    }

    /// Makes a new master key, sealed into `path`, that `threshold` of `count` shares open together.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or the numbers make no quorum.
    pub fn create_shared(
        path: &Path,
        threshold: u8,
        count: u8,
        now: Time,
        entropy: &Entropy,
    ) -> Result<(Self, Vec<Share>), MasterKeyError> {
        let reference = new_reference(entropy);
        let sealing = Zeroizing::new(entropy.bytes::<KEY_OCTETS>());
        let (quorum, shares) = shares::split(&reference, &sealing, threshold, count, entropy)?;
        seal(path, reference, Lock::Shares(quorum), &sealing, now, entropy)?;
        let opened = Self::open(path, Opener::Shares(&shares))?;
        Ok((opened, shares))
    }

    /// Opens the sealed file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or `opener` does not open it.
    pub fn open(path: &Path, opener: Opener<'_>) -> Result<Self, MasterKeyError> {
        let file = read(path)?;
        let damaged = || MasterKeyError::DoesNotOpen(path.into());
        let sealing = match (&file.lock, opener) {
            (Lock::Passphrase { iterations, salt }, Opener::Passphrase(passphrase)) => {
                derive(passphrase, &STANDARD.decode(salt).map_err(|_| damaged())?, *iterations)
            }
            (Lock::Shares(quorum), Opener::Shares(shares)) => quorum.combine(&file.reference, shares)?,
            (Lock::Passphrase { .. }, Opener::Shares(_)) => return Err(MasterKeyError::OpensByPassphrase),
            (Lock::Shares(_), Opener::Passphrase(_)) => return Err(MasterKeyError::OpensByShares),
        };
        let sealed = STANDARD.decode(&file.sealed_key).map_err(|_| damaged())?;
        let key = WrappingKey::new(sealing.as_slice())
            .and_then(|key| key.unwrap(&place(&file.reference), &sealed))
            .and_then(|octets| WrappingKey::new(&octets))
            .map_err(|_| damaged())?;
        Ok(Self { reference: file.reference, key })
    }

    /// Checks a share against the sealed file without the others.
    ///
    /// # Errors
    /// When the share belongs to another master key or was changed, or the file opens by a passphrase.
    pub fn check_share(path: &Path, share: &Share) -> Result<(), MasterKeyError> {
        let file = read(path)?;
        let Lock::Shares(quorum) = &file.lock else { return Err(MasterKeyError::OpensByPassphrase) };
        quorum.check(&file.reference, share)
    }

    /// How many shares open the file; none when a passphrase does.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn threshold(path: &Path) -> Result<Option<u8>, MasterKeyError> {
        Ok(match read(path)?.lock {
            Lock::Shares(quorum) => Some(quorum.threshold),
            Lock::Passphrase { .. } => None,
        })
    }
}

fn new_reference(entropy: &Entropy) -> String {
    format!("{PROVIDER}:{}", hex::encode(entropy.bytes::<8>()))
}

fn place(reference: &str) -> String {
    format!("clm/master-key/{reference}")
}

fn derive(passphrase: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<[u8; KEY_OCTETS]> {
    let mut octets = Zeroizing::new([0u8; KEY_OCTETS]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, passphrase, octets.as_mut_slice());
    octets
}

fn seal(
    path: &Path,
    reference: String,
    lock: Lock,
    sealing: &[u8; KEY_OCTETS],
    now: Time,
    entropy: &Entropy,
) -> Result<(), MasterKeyError> {
    let octets = Zeroizing::new(entropy.bytes::<KEY_OCTETS>());
    let sealed = WrappingKey::new(sealing)
        .and_then(|key| key.wrap(entropy, &place(&reference), octets.as_slice()))
        .map_err(|_: SecureError| MasterKeyError::DoesNotOpen(path.into()))?;
    let file = SealedFile {
        format: FORMAT.into(),
        reference,
        created_at: now,
        lock,
        sealed_key: STANDARD.encode(sealed),
    };
    write_new(path, &file)
}

fn read(path: &Path) -> Result<SealedFile, MasterKeyError> {
    let text = std::fs::read(path).map_err(|source| MasterKeyError::File { path: path.into(), source })?;
    let file: SealedFile = serde_json::from_slice(&text)
        .map_err(|source| MasterKeyError::Unreadable { path: path.into(), source })?;
    if file.format == FORMAT { Ok(file) } else { Err(MasterKeyError::DoesNotOpen(path.into())) }
}

/// Writes `value` as JSON into a new file that nobody else may read.
pub(super) fn write_new(path: &Path, value: &impl Serialize) -> Result<(), MasterKeyError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => MasterKeyError::Exists(path.into()),
        _ => MasterKeyError::File { path: path.into(), source },
    };
    let text = serde_json::to_vec_pretty(value).map(Zeroizing::new);
    let text = text.map_err(|source| MasterKeyError::Unreadable { path: path.into(), source })?;
    let mut sink =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    sink.write_all(&text).and_then(|()| sink.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &[u8] = b"a passphrase of some length";

    fn now() -> Time {
        Time::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn a_sealed_file_opens_with_its_passphrase_alone_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let made = SealedKey::create(&path, PASSPHRASE, now(), &Entropy::seeded(5)).unwrap();
        let opened = SealedKey::open(&path, Opener::Passphrase(PASSPHRASE)).unwrap();
        assert_eq!(opened.reference, made.reference);
        let wrong = SealedKey::open(&path, Opener::Passphrase(b"another passphrase"));
        assert!(matches!(wrong, Err(MasterKeyError::DoesNotOpen(_))));
        let again = SealedKey::create(&path, PASSPHRASE, now(), &Entropy::seeded(5));
        assert!(matches!(again, Err(MasterKeyError::Exists(_))));
        assert!(matches!(
            SealedKey::open(&path, Opener::Shares(&[])),
            Err(MasterKeyError::OpensByPassphrase)
        ));
    }

    #[test]
    fn a_shared_file_opens_with_a_quorum_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let (_, shares) = SealedKey::create_shared(&path, 2, 3, now(), &Entropy::seeded(6)).unwrap();
        assert_eq!(SealedKey::threshold(&path).unwrap(), Some(2));
        SealedKey::open(&path, Opener::Shares(&shares[1..])).unwrap();
        let few = SealedKey::open(&path, Opener::Shares(&shares[..1]));
        assert!(matches!(few, Err(MasterKeyError::NotEnoughShares { have: 1, need: 2 })));
        let wrong = SealedKey::open(&path, Opener::Passphrase(PASSPHRASE));
        assert!(matches!(wrong, Err(MasterKeyError::OpensByShares)));
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        let refused = SealedKey::create(Path::new("/nonexistent/x"), b"short", now(), &Entropy::seeded(1));
        assert!(matches!(refused, Err(MasterKeyError::PassphraseTooShort(_))));
    }
}
