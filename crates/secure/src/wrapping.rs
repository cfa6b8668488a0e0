//! AES-256-GCM with the place of the ciphertext as additional data: moved to another row, it does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use clm_types::Entropy;
use zeroize::Zeroizing;

use crate::SecureError;

/// Octets of an AES-256 key.
pub(crate) const KEY_OCTETS: usize = 32;

/// The name of the algorithm, as stored.
pub(crate) const ALGORITHM: &str = "AES-256-GCM";

/// A key that wraps.
pub(crate) struct WrappingKey(LessSafeKey);

impl WrappingKey {
    pub(crate) fn new(octets: &[u8]) -> Result<Self, SecureError> {
        let key = UnboundKey::new(&AES_256_GCM, octets)
            .map_err(|_| SecureError::Crypto("a wrapping key has 32 octets"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Nonce, ciphertext, tag.
    pub(crate) fn wrap(
        &self,
        entropy: &Entropy,
        place: &str,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SecureError> {
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SecureError::Crypto("wrapping failed"))?;
        Ok([&nonce, sealed.as_slice(), tag.as_ref()].concat())
    }

    /// The plaintext, if `wrapped` was made by this key for this very place.
    pub(crate) fn unwrap(&self, place: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecureError> {
        let damaged = || SecureError::Damaged(format!("{place} does not open under its key"));
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened =
            self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut buffer).map_err(|_| damaged())?;
        Ok(Zeroizing::new(opened.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_moved_to_another_place_does_not_open() {
        let entropy = Entropy::seeded(3);
        let key = WrappingKey::new(&[7; KEY_OCTETS]).unwrap();
        let wrapped = key.wrap(&entropy, "private_keys/1", b"secret").unwrap();
        assert_eq!(key.unwrap("private_keys/1", &wrapped).unwrap().as_slice(), b"secret");
        assert!(key.unwrap("private_keys/2", &wrapped).is_err());
        assert!(WrappingKey::new(&[8; KEY_OCTETS]).unwrap().unwrap("private_keys/1", &wrapped).is_err());
        assert!(key.unwrap("private_keys/1", &wrapped[..5]).is_err());
    }
}
