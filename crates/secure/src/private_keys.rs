//! Private keys in the clear: made, used and forgotten inside this crate.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use clm_types::KeyAlgorithm;
use clm_x509::PublicKey;
use zeroize::Zeroizing;

use crate::SecureError;

/// A private key of one of our algorithms. Its octets are never printed.
pub(crate) struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

const FAILED: SecureError = SecureError::Crypto("a key could not be generated or read");

impl PrivateKey {
    /// A new key. RSA takes up to a second: call it where blocking is allowed.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, SecureError> {
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => {
                EcdsaKeyPair::generate(ecdsa(algorithm)).map(Pair::Ecdsa)
            }
            KeyAlgorithm::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048).map(Pair::Rsa),
            KeyAlgorithm::Rsa3072 => RsaKeyPair::generate(KeySize::Rsa3072).map(Pair::Rsa),
            KeyAlgorithm::Rsa4096 => RsaKeyPair::generate(KeySize::Rsa4096).map(Pair::Rsa),
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed25519),
            KeyAlgorithm::MlDsa65 => PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).map(Pair::MlDsa),
        };
        Self::new(algorithm, pair.map_err(|_| FAILED)?)
    }

    /// From PKCS#8 (RFC 5208).
    pub(crate) fn from_pkcs8(algorithm: KeyAlgorithm, octets: &[u8]) -> Result<Self, SecureError> {
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => {
                EcdsaKeyPair::from_pkcs8(ecdsa(algorithm), octets).map(Pair::Ecdsa)
            }
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                RsaKeyPair::from_pkcs8(octets).map(Pair::Rsa)
            }
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(octets).map(Pair::Ed25519),
            KeyAlgorithm::MlDsa65 => PqdsaKeyPair::from_pkcs8(&ML_DSA_65_SIGNING, octets).map(Pair::MlDsa),
        };
        Self::new(algorithm, pair.map_err(|_| FAILED)?)
    }

    fn new(algorithm: KeyAlgorithm, pair: Pair) -> Result<Self, SecureError> {
        let octets = match &pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::MlDsa(pair) => pair.public_key().as_ref(),
        };
        let public = PublicKey::from_key_octets(algorithm, octets)?;
        Ok(Self { pair, public })
    }

    /// PKCS#8 (RFC 5208), wiped when dropped.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SecureError> {
        let octets = match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(|_| FAILED)?.as_ref().to_vec(),
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(|_| FAILED)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(|_| FAILED)?.as_ref().to_vec(),
            Pair::MlDsa(pair) => pair.to_pkcs8v1().map_err(|_| FAILED)?.as_ref().to_vec(),
        };
        Ok(Zeroizing::new(octets))
    }

    /// Its public half.
    pub(crate) const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature in the form that X.509 wants for this algorithm.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SecureError> {
        let failed = |_| SecureError::Crypto("signing failed");
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
                let length = pair.sign(message, &mut signature).map_err(failed)?;
                signature.truncate(length);
                Ok(signature)
            }
        }
    }
}

impl PrivateKey {
    /// A signature of a message whose hash this is, by a scheme that signs hashes.
    pub(crate) fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SecureError> {
        let failed = |_| SecureError::Crypto("signing failed");
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign_digest(digest).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&RSA_PKCS1_SHA256, digest, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ed25519(_) | Pair::MlDsa(_) => Err(SecureError::Crypto("the scheme signs no hashes")),
        }
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({}, [redacted])", self.public.algorithm())
    }
}

fn ecdsa(algorithm: KeyAlgorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        KeyAlgorithm::EcdsaP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_signs_after_a_round_trip_through_pkcs8() {
        for algorithm in KeyAlgorithm::ALL {
            let made = PrivateKey::generate(*algorithm).unwrap();
            let read = PrivateKey::from_pkcs8(*algorithm, &made.to_pkcs8().unwrap()).unwrap();
            let signature = read.sign(b"message").unwrap();
            clm_x509::algorithm::verify(made.public(), b"message", &signature).unwrap();
            assert!(clm_x509::algorithm::verify(made.public(), b"massage", &signature).is_err());
            assert!(format!("{read:?}").contains("[redacted]"));
        }
    }
}
