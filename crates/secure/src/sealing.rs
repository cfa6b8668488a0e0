//! Octets for one recipient: HPKE (RFC 9180), base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_types::{ErrorCode, Refusal, Sealed};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::SecureError;

/// Octets of an uncompressed P-256 point.
const POINT: usize = 65;

/// Seals `plaintext` to whoever holds the private half of `recipient`.
pub(crate) fn seal(
    recipient: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, SecureError> {
    let refused = || {
        Refusal::new(ErrorCode::KeyMalformed, "the recipient is no public key on P-256")
            .hint("send the uncompressed point (65 octets, base64)")
            .field("/recipient")
    };
    if recipient.len() != POINT {
        return Err(refused().into());
    }
    let recipient = HpkePublicKey(recipient.to_vec());
    let sealed = SUITE.seal(info, aad, plaintext, &recipient);
    let (encapsulated, ciphertext) = sealed.map_err(|_| refused())?;
    Ok(Sealed { encapsulated: STANDARD.encode(encapsulated.0), ciphertext: STANDARD.encode(ciphertext) })
}

/// A key pair that others seal to; it lives as long as the process.
pub(crate) struct Recipient {
    public: HpkePublicKey,
    private: HpkePrivateKey,
}

impl Recipient {
    /// # Panics
    /// If no key can be generated: nothing safe can be done then.
    #[expect(clippy::expect_used, reason = "a process that cannot make keys must not start")]
    pub(crate) fn generate() -> Self {
        let (public, private) = SUITE.generate_key_pair().expect("a key pair can be generated");
        Self { public, private }
    }

    /// The uncompressed point.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public.0
    }

    /// What was sealed to this key for exactly this purpose.
    pub(crate) fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let refused = || Refusal::new(ErrorCode::KeyUnsealable, "what was sent does not open");
        let encapsulated = STANDARD.decode(&sealed.encapsulated).map_err(|_| refused())?;
        let ciphertext = STANDARD.decode(&sealed.ciphertext).map_err(|_| refused())?;
        let opened = SUITE.open(&EncapsulatedSecret(encapsulated), info, aad, &ciphertext, &self.private);
        opened.map(Zeroizing::new).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_recipient_and_purpose_alone() {
        let (recipient, other) = (Recipient::generate(), Recipient::generate());
        let sealed = seal(recipient.public(), b"import", b"certificate", b"key").unwrap();
        assert_eq!(recipient.open(b"import", b"certificate", &sealed).unwrap().as_slice(), b"key");
        assert!(recipient.open(b"export", b"certificate", &sealed).is_err());
        assert!(recipient.open(b"import", b"another", &sealed).is_err());
        assert!(other.open(b"import", b"certificate", &sealed).is_err());
        assert!(seal(&[4; 64], b"", b"", b"key").is_err() && seal(&[4; 65], b"", b"", b"key").is_err());
    }
}
