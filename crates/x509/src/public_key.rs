//! Public keys: SubjectPublicKeyInfo in, a key that has been checked out.

use crate::{
    algorithm::{self, EC_PUBLIC_KEY, ED25519, ML_DSA_65, P256, P384, RSA_ENCRYPTION},
    decode::{Malformed, Reader},
    ed25519_point,
    encode::{self, tag},
    rsa_modulus,
};
use aws_lc_rs::{
    digest::{self, SHA256},
    signature as aws,
};
use clm_types::{ErrorCode, KeyAlgorithm, Refusal};

const ML_DSA_65_OCTETS: usize = 1952;

/// A public key of a supported algorithm whose numbers have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    spki_der: Vec<u8>,
    key_octets: Vec<u8>,
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo, which must be exactly that.
    ///
    /// # Errors
    /// `key_malformed`, `key_algorithm_unsupported`, `key_too_weak`, `rsa_exponent_invalid`,
    /// `rsa_modulus_weak`, `ec_point_invalid`.
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, Refusal> {
        let key = Self::from_certified_spki(spki_der)?;
        key.check()?;
        Ok(key)
    }

    /// A key that was checked before it was certified: its form is read, its numbers are not tried again.
    ///
    /// # Errors
    /// `key_malformed`, `key_algorithm_unsupported`, `key_too_weak`, `rsa_exponent_invalid`.
    pub(crate) fn from_certified_spki(spki_der: &[u8]) -> Result<Self, Refusal> {
        let (identifier, key_octets) = split(spki_der).map_err(|Malformed| malformed())?;
        Ok(Self {
            algorithm: recognise(identifier, key_octets)?,
            spki_der: spki_der.to_vec(),
            key_octets: key_octets.to_vec(),
        })
    }

    /// From the octets inside the BIT STRING: an uncompressed point, an RSAPublicKey, or a raw key, as
    /// `aws-lc-rs` gives them for a key pair.
    ///
    /// # Errors
    /// As [`Self::from_spki_der`].
    pub fn from_key_octets(algorithm: KeyAlgorithm, key_octets: &[u8]) -> Result<Self, Refusal> {
        let spki = encode::sequence(&[key_identifier_der(algorithm), encode::bit_string(key_octets)]);
        let key = Self::from_spki_der(&spki)?;
        if key.algorithm == algorithm { Ok(key) } else { Err(malformed()) }
    }

    /// From modulus and public exponent, unsigned big-endian, as a security module gives them.
    ///
    /// # Errors
    /// As [`Self::from_spki_der`].
    pub fn from_rsa_numbers(
        algorithm: KeyAlgorithm,
        modulus: &[u8],
        exponent: &[u8],
    ) -> Result<Self, Refusal> {
        let numbers = encode::sequence(&[encode::unsigned(modulus), encode::unsigned(exponent)]);
        Self::from_key_octets(algorithm, &numbers)
    }

    /// From a point as PKCS#11 modules give it: bare, or in an OCTET STRING (PKCS#11 v2.40 §2.3.3).
    ///
    /// # Errors
    /// As [`Self::from_spki_der`].
    pub fn from_token_point(algorithm: KeyAlgorithm, point: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(point);
        let wrapped = reader.expect(tag::OCTET_STRING).ok().filter(|_| reader.is_empty());
        Self::from_key_octets(algorithm, wrapped.map_or(point, |value| value.content))
    }

    /// The algorithm with its size.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// DER of the SubjectPublicKeyInfo, as received.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The content of the subjectPublicKey BIT STRING.
    pub fn key_octets(&self) -> &[u8] {
        &self.key_octets
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key's identity.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.spki_der)
    }

    /// Subject key identifier: the left-most 160 bits of the SHA-256 of the key octets (RFC 7093 §2, method 1).
    pub fn key_identifier(&self) -> [u8; 20] {
        let mut identifier = [0; 20];
        for (to, from) in identifier.iter_mut().zip(sha256(&self.key_octets)) {
            *to = from;
        }
        identifier
    }

    fn check(&self) -> Result<(), Refusal> {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => self.check_point(&aws::ECDSA_P256_SHA256_ASN1, 32),
            KeyAlgorithm::EcdsaP384 => self.check_point(&aws::ECDSA_P384_SHA384_ASN1, 48),
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                rsa_modulus::check(&self.key_octets)?;
                self.check_parses(&aws::RSA_PKCS1_2048_8192_SHA256, ErrorCode::KeyMalformed)
            }
            KeyAlgorithm::Ed25519 => {
                self.check_parses(&aws::ED25519, ErrorCode::KeyMalformed)?;
                ed25519_point::check(&self.key_octets)
            }
            KeyAlgorithm::MlDsa65 => self.check_parses(&aws::ML_DSA_65, ErrorCode::KeyMalformed),
        }
    }

    /// An uncompressed point, on the curve.
    fn check_point(
        &self,
        curve: &'static aws::EcdsaVerificationAlgorithm,
        coordinate_octets: usize,
    ) -> Result<(), Refusal> {
        if self.key_octets.first() != Some(&4) || self.key_octets.len() != 1 + 2 * coordinate_octets {
            return Err(Refusal::new(
                ErrorCode::EcPointInvalid,
                "the key is not an uncompressed point of its curve",
            )
            .hint("compressed points and the point at infinity are not taken"));
        }
        self.check_parses(curve, ErrorCode::EcPointInvalid)
    }

    fn check_parses(
        &self,
        algorithm: &'static dyn aws::VerificationAlgorithm,
        code: ErrorCode,
    ) -> Result<(), Refusal> {
        aws::ParsedPublicKey::new(algorithm, &self.key_octets)
            .map(|_| ())
            .map_err(|_| Refusal::new(code, format!("this is no valid {} key", self.algorithm)))
    }
}

/// SHA-256 of some octets.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&SHA256, octets).as_ref()) {
        *to = *from;
    }
    out
}

fn malformed() -> Refusal {
    Refusal::new(ErrorCode::KeyMalformed, "the public key is not a well-formed SubjectPublicKeyInfo")
}

/// Algorithm identifier (its whole DER) and key octets.
fn split(spki_der: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut outer = Reader::new(spki_der);
    let mut spki = outer.expect(tag::SEQUENCE)?.reader();
    outer.finish()?;
    let identifier = spki.expect(tag::SEQUENCE)?;
    let key_octets = spki.expect(tag::BIT_STRING)?.bit_string_octets()?;
    spki.finish()?;
    Ok((identifier.whole, key_octets))
}

/// DER of the `AlgorithmIdentifier` of keys of this algorithm.
fn key_identifier_der(algorithm: KeyAlgorithm) -> Vec<u8> {
    let (oid, parameters) = match algorithm {
        KeyAlgorithm::EcdsaP256 => (&EC_PUBLIC_KEY, encode::oid(&P256)),
        KeyAlgorithm::EcdsaP384 => (&EC_PUBLIC_KEY, encode::oid(&P384)),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            (&RSA_ENCRYPTION, vec![tag::NULL, 0])
        }
        KeyAlgorithm::Ed25519 => (&ED25519, Vec::new()),
        KeyAlgorithm::MlDsa65 => (&ML_DSA_65, Vec::new()),
    };
    algorithm::identifier(oid, &parameters)
}

/// The algorithm that identifier and key together name.
fn recognise(identifier: &[u8], key_octets: &[u8]) -> Result<KeyAlgorithm, Refusal> {
    let is = |algorithm: KeyAlgorithm| key_identifier_der(algorithm) == identifier;
    if is(KeyAlgorithm::EcdsaP256) {
        Ok(KeyAlgorithm::EcdsaP256)
    } else if is(KeyAlgorithm::EcdsaP384) {
        Ok(KeyAlgorithm::EcdsaP384)
    } else if is(KeyAlgorithm::Ed25519) {
        Ok(KeyAlgorithm::Ed25519)
    } else if is(KeyAlgorithm::Rsa2048) {
        rsa_modulus::algorithm(key_octets)
    } else if is(KeyAlgorithm::MlDsa65) && key_octets.len() == ML_DSA_65_OCTETS {
        Ok(KeyAlgorithm::MlDsa65)
    } else if is(KeyAlgorithm::MlDsa65) {
        Err(malformed())
    } else {
        Err(Refusal::new(
            ErrorCode::KeyAlgorithmUnsupported,
            "keys of this algorithm or curve are not supported",
        )
        .hint("use ECDSA P-256 or P-384, RSA 2048, 3072 or 4096, Ed25519, or ML-DSA-65"))
    }
}
