//! Secrets that Core must read again, those of one-time codes: AES-256-GCM under a key from a file, with the place of the
//! ciphertext as additional data.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_types::Entropy;
use zeroize::Zeroizing;

use crate::CoreError;

const KEY_OCTETS: usize = 32;
/// Of the SHA-256 of a key: says which one sealed a secret.
const NAME_OCTETS: usize = 4;

type Name = [u8; NAME_OCTETS];

/// The keys: the first one seals, all of them open.
pub struct SecretsKeys(Vec<(Name, LessSafeKey)>);

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
        let (name, key) =
            self.0.first().ok_or_else(|| CoreError::defect("no key seals secrets".to_owned()))?;
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|error| CoreError::defect_of("a secret cannot be sealed", error))?;
        Ok([name.as_slice(), &nonce, &sealed, tag.as_ref()].concat())
    }

    /// The plaintext, if it was sealed for this very place under one of the keys.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CoreError> {
        let damaged = || CoreError::defect(format!("{place} does not open under any key of this process"));
        let (name, rest) = sealed.split_first_chunk::<NAME_OCTETS>().ok_or_else(damaged)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let (_, key) = self.0.iter().find(|(known, _)| known == name).ok_or_else(damaged)?;
        let mut buffer = Zeroizing::new(rest.to_vec());
        let opened = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut buffer)
            .map_err(|_| damaged())?;
        Ok(Zeroizing::new(opened.to_vec()))
    }
}

impl std::fmt::Debug for SecretsKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn key(octets: &[u8]) -> Option<(Name, LessSafeKey)> {
    let key = UnboundKey::new(&AES_256_GCM, octets).ok()?;
    let name = *digest::digest(&digest::SHA256, octets).as_ref().first_chunk()?;
    Some((name, LessSafeKey::new(key)))
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
    fn a_file_without_whole_keys_is_refused() {
        for wrong in ["", "\n", "not base64", "AAAA"] {
            assert!(SecretsKeys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
