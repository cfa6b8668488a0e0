//! Secrets that Core must read again, those of one-time codes: AES-256-GCM under a key from a file, with the place of the
//! ciphertext as additional data. And marks by which Core knows again what it has given out: HMAC-SHA-256 under a key derived
//! from the same.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_types::Entropy;
use zeroize::Zeroizing;

use crate::CoreError;

const KEY_OCTETS: usize = 32;
/// Of the SHA-256 of a key: says which one sealed a secret.
const NAME_OCTETS: usize = 4;

/// Octets of a mark.
pub(crate) const MARK_OCTETS: usize = 32;

type Name = [u8; NAME_OCTETS];

/// The keys: the first one seals and marks, all of them open and know marks.
pub struct SecretsKeys(Vec<SecretsKey>);

struct SecretsKey {
    name: Name,
    sealing: LessSafeKey,
    marking: hmac::Key,
}

impl SecretsKeys {
    /// Reads the text of the file: one key to a line, 32 octets in base64, the newest first.
    ///
    /// # Errors
    /// What is wrong, without any part of a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let keys = lines.map(|(index, line)| {
            let octets = Zeroizing::new(STANDARD.decode(line).unwrap_or_default());
            key(&octets).ok_or_else(|| format!("line {} is not {KEY_OCTETS} octets in base64", index + 1))
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(Self(keys)) }
    }

    /// A new text for such a file.
    pub fn generate(entropy: &Entropy) -> Zeroizing<String> {
        let octets = Zeroizing::new(entropy.bytes::<KEY_OCTETS>());
        Zeroizing::new(format!("{}\n", STANDARD.encode(*octets)))
    }

    /// Name of the key, nonce, ciphertext, tag.
    pub(crate) fn seal(
        &self,
        entropy: &Entropy,
        place: &str,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CoreError> {
        let SecretsKey { name, sealing, .. } = self.newest()?;
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let tag = sealing
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|error| CoreError::defect_of("a secret cannot be sealed", error))?;
        Ok([name.as_slice(), &nonce, &sealed, tag.as_ref()].concat())
    }

    /// The plaintext, if it was sealed for this very place under one of the keys.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CoreError> {
        let damaged = || CoreError::defect(format!("{place} does not open under any key of this process"));
        let (name, rest) = sealed.split_first_chunk::<NAME_OCTETS>().ok_or_else(damaged)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let key = self.0.iter().find(|key| key.name == *name).ok_or_else(damaged)?;
        let mut buffer = Zeroizing::new(rest.to_vec());
        let opened = key
            .sealing
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut buffer)
            .map_err(|_| damaged())?;
        Ok(Zeroizing::new(opened.to_vec()))
    }

    /// Marks what is given out for this purpose.
    pub(crate) fn mark(&self, purpose: &str, given: &[u8]) -> Result<[u8; MARK_OCTETS], CoreError> {
        let mark = hmac::sign(&self.newest()?.marking, &marked(purpose, given));
        let octets = mark.as_ref().first_chunk().copied();
        octets.ok_or_else(|| CoreError::defect("a mark is too short".to_owned()))
    }

    /// Whether this was given out for this very purpose.
    pub(crate) fn knows(&self, purpose: &str, given: &[u8], mark: &[u8]) -> bool {
        let marked = marked(purpose, given);
        self.0.iter().any(|key| hmac::verify(&key.marking, &marked, mark).is_ok())
    }

    fn newest(&self) -> Result<&SecretsKey, CoreError> {
        self.0.first().ok_or_else(|| CoreError::defect("no key seals secrets".to_owned()))
    }
}

/// Both parts, so that no other pair gives the same.
fn marked(purpose: &str, given: &[u8]) -> Vec<u8> {
    [&u64::try_from(purpose.len()).unwrap_or(u64::MAX).to_be_bytes(), purpose.as_bytes(), given].concat()
}

impl std::fmt::Debug for SecretsKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn key(octets: &[u8]) -> Option<SecretsKey> {
    let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, octets).ok()?);
    let name = *digest::digest(&digest::SHA256, octets).as_ref().first_chunk()?;
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(octets);
    let marking = derived.expand(&[b"clm marks"], hmac::HMAC_SHA256).ok()?.into();
    Some(SecretsKey { name, sealing, marking })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_in_its_place_under_its_key_alone() {
        let entropy = Entropy::seeded(1);
        let [old, new] = [0, 1].map(|_| SecretsKeys::generate(&entropy));
        let before = SecretsKeys::parse(&old).unwrap();
        let sealed = before.seal(&entropy, "users/1", b"secret").unwrap();
        assert_eq!(before.open("users/1", &sealed).unwrap().as_slice(), b"secret");
        assert!(before.open("users/2", &sealed).is_err());
        assert!(SecretsKeys::parse(&new).unwrap().open("users/1", &sealed).is_err());
        let both = SecretsKeys::parse(&format!("{}{}", *new, *old)).unwrap();
        assert_eq!(both.open("users/1", &sealed).unwrap().as_slice(), b"secret");
        assert!(before.open("users/1", &both.seal(&entropy, "users/1", b"secret").unwrap()).is_err());
        assert!(before.open("users/1", &sealed[..10]).is_err());
    }

    #[test]
    fn a_mark_is_known_for_its_purpose_under_its_key_alone() {
        let entropy = Entropy::seeded(1);
        let [old, new] = [0, 1].map(|_| SecretsKeys::generate(&entropy));
        let before = SecretsKeys::parse(&old).unwrap();
        let mark = before.mark("sign-in", b"challenge").unwrap();
        assert!(before.knows("sign-in", b"challenge", &mark));
        assert!(!before.knows("sign-in", b"challengf", &mark));
        assert!(!before.knows("sign-i", b"nchallenge", &mark));
        assert!(!before.knows("sign-in", b"challenge", &mark[..31]));
        assert!(!SecretsKeys::parse(&new).unwrap().knows("sign-in", b"challenge", &mark));
        let both = SecretsKeys::parse(&format!("{}{}", *new, *old)).unwrap();
        assert!(both.knows("sign-in", b"challenge", &mark));
        assert!(!before.knows("sign-in", b"challenge", &both.mark("sign-in", b"challenge").unwrap()));
    }

    #[test]
    fn a_file_without_whole_keys_is_refused() {
        for wrong in ["", "\n", "not base64", "AAAA"] {
            assert!(SecretsKeys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
