//! Signature algorithms: identifiers, verification, and which `aws-lc-rs` algorithm signs.

use crate::{encode, public_key::PublicKey};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as aws, VerificationAlgorithm};
use clm_types::{ErrorCode, KeyAlgorithm, Refusal};
use const_oid::ObjectIdentifier;

/// id-ecPublicKey (RFC 5480).
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1.
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// secp384r1.
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// rsaEncryption (RFC 8017).
pub(crate) const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-Ed25519 (RFC 8410), for keys and signatures.
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-ml-dsa-65 (FIPS 204), for keys and signatures.
pub(crate) const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");

const NULL: [u8; 2] = [encode::tag::NULL, 0];

/// How `aws-lc-rs` signs with a key: one choice per key algorithm.
#[derive(Debug, Clone, Copy)]
pub enum SigningScheme {
    /// ECDSA, signature in DER.
    Ecdsa(&'static aws::EcdsaSigningAlgorithm),
    /// RSA PKCS#1 v1.5.
    Rsa(&'static aws::RsaSignatureEncoding),
    /// Ed25519.
    Ed25519,
    /// ML-DSA, raw signature.
    MlDsa(&'static aws::PqdsaSigningAlgorithm),
}

/// The scheme with which a key of this algorithm signs certificates, CRLs and OCSP responses.
pub const fn signing_scheme(key: KeyAlgorithm) -> SigningScheme {
    match key {
        KeyAlgorithm::EcdsaP256 => SigningScheme::Ecdsa(&aws::ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyAlgorithm::EcdsaP384 => SigningScheme::Ecdsa(&aws::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            SigningScheme::Rsa(&aws::RSA_PKCS1_SHA256)
        }
        KeyAlgorithm::Ed25519 => SigningScheme::Ed25519,
        KeyAlgorithm::MlDsa65 => SigningScheme::MlDsa(&aws::ML_DSA_65_SIGNING),
    }
}

/// The name of the signature algorithm of a key, as stored and shown.
pub const fn signature_name(key: KeyAlgorithm) -> &'static str {
    match key {
        KeyAlgorithm::EcdsaP256 => "ecdsa-with-SHA256",
        KeyAlgorithm::EcdsaP384 => "ecdsa-with-SHA384",
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "sha256WithRSAEncryption",
        KeyAlgorithm::Ed25519 => "Ed25519",
        KeyAlgorithm::MlDsa65 => "ML-DSA-65",
    }
}

/// DER of the `AlgorithmIdentifier` of signatures that a key of this algorithm makes.
pub fn signature_algorithm_der(key: KeyAlgorithm) -> Vec<u8> {
    match key {
        KeyAlgorithm::EcdsaP256 => identifier(&ECDSA_SHA256, &[]),
        KeyAlgorithm::EcdsaP384 => identifier(&ECDSA_SHA384, &[]),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            identifier(&RSA_SHA256, &NULL)
        }
        KeyAlgorithm::Ed25519 => identifier(&ED25519, &[]),
        KeyAlgorithm::MlDsa65 => identifier(&ML_DSA_65, &[]),
    }
}

/// Ecdsa-Sig-Value (RFC 3279 §2.2.3) from `r` and `s` side by side, as security modules sign.
pub fn ecdsa_signature_der(halves: &[u8]) -> Vec<u8> {
    let (r, s) = halves.split_at(halves.len() / 2);
    encode::sequence(&[encode::unsigned(r), encode::unsigned(s)])
}

/// Verifies a signature that a key made in its own scheme, as all of ours are.
///
/// # Errors
/// `signature_invalid`.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    verify_as(key, &signature_algorithm_der(key.algorithm()), message, signature)
}

/// What is to be signed, taken in piece by piece. Ed25519 and ML-DSA sign the message and not its hash, so that they keep
/// all of it.
pub enum Message {
    /// Hashed as it comes.
    Hashed(digest::Context),
    /// Kept whole.
    Whole(Vec<u8>),
}

/// What a key signs.
pub enum ToBeSigned {
    /// The hash of the message.
    Digest(digest::Digest),
    /// The message.
    Message(Vec<u8>),
}

impl Message {
    /// Nothing yet, to be signed by a key of this algorithm.
    pub fn new(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::EcdsaP256
            | KeyAlgorithm::Rsa2048
            | KeyAlgorithm::Rsa3072
            | KeyAlgorithm::Rsa4096 => Self::Hashed(digest::Context::new(&digest::SHA256)),
            KeyAlgorithm::EcdsaP384 => Self::Hashed(digest::Context::new(&digest::SHA384)),
            KeyAlgorithm::Ed25519 | KeyAlgorithm::MlDsa65 => Self::Whole(Vec::new()),
        }
    }

    /// Takes the next octets.
    pub fn update(&mut self, octets: &[u8]) {
        match self {
            Self::Hashed(context) => context.update(octets),
            Self::Whole(message) => message.extend_from_slice(octets),
        }
    }

    /// That was all of it.
    pub fn finish(self) -> ToBeSigned {
        match self {
            Self::Hashed(context) => ToBeSigned::Digest(context.finish()),
            Self::Whole(message) => ToBeSigned::Message(message),
        }
    }
}

impl ToBeSigned {
    /// Verifies a signature that a key made in its own scheme.
    ///
    /// # Errors
    /// `signature_invalid`.
    pub fn verify(&self, key: &PublicKey, signature: &[u8]) -> Result<(), Refusal> {
        let digest = match self {
            Self::Message(message) => return verify(key, message, signature),
            Self::Digest(digest) => digest,
        };
        let verifier = verifiers(key.algorithm()).into_iter().next().map(|(_, verifier)| verifier);
        verifier
            .and_then(|verifier| {
                aws::UnparsedPublicKey::new(verifier, key.key_octets()).verify_digest(digest, signature).ok()
            })
            .ok_or_else(|| Refusal::new(ErrorCode::SignatureInvalid, "the signature is wrong"))
    }
}

/// Verifies a signature under the `AlgorithmIdentifier` that came with it.
///
/// # Errors
/// `csr_signature_algorithm_unsupported` when the identifier is unknown or not one for this key;
/// `signature_invalid`.
pub(crate) fn verify_as(
    key: &PublicKey,
    algorithm_der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Refusal> {
    let (_, algorithm) = verifiers(key.algorithm())
        .into_iter()
        .find(|(identifier, _)| identifier == algorithm_der)
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::CsrSignatureAlgorithmUnsupported,
                format!("the signature algorithm is not supported for a key of type {}", key.algorithm()),
            )
            .hint("sign with SHA-256, SHA-384 or SHA-512, or with the key's own scheme (Ed25519, ML-DSA-65)")
        })?;
    aws::UnparsedPublicKey::new(algorithm, key.key_octets())
        .verify(message, signature)
        .map_err(|_| Refusal::new(ErrorCode::SignatureInvalid, "the signature is wrong"))
}

/// Which signature identifiers go with a key, and what verifies them.
fn verifiers(key: KeyAlgorithm) -> Vec<(Vec<u8>, &'static dyn VerificationAlgorithm)> {
    let table: [(&ObjectIdentifier, &[u8], &'static dyn VerificationAlgorithm); 3] = match key {
        KeyAlgorithm::EcdsaP256 => [
            (&ECDSA_SHA256, &[], &aws::ECDSA_P256_SHA256_ASN1),
            (&ECDSA_SHA384, &[], &aws::ECDSA_P256_SHA384_ASN1),
            (&ECDSA_SHA512, &[], &aws::ECDSA_P256_SHA512_ASN1),
        ],
        KeyAlgorithm::EcdsaP384 => [
            (&ECDSA_SHA384, &[], &aws::ECDSA_P384_SHA384_ASN1),
            (&ECDSA_SHA256, &[], &aws::ECDSA_P384_SHA256_ASN1),
            (&ECDSA_SHA512, &[], &aws::ECDSA_P384_SHA512_ASN1),
        ],
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => [
            (&RSA_SHA256, &NULL, &aws::RSA_PKCS1_2048_8192_SHA256),
            (&RSA_SHA384, &NULL, &aws::RSA_PKCS1_2048_8192_SHA384),
            (&RSA_SHA512, &NULL, &aws::RSA_PKCS1_2048_8192_SHA512),
        ],
        KeyAlgorithm::Ed25519 => return vec![(identifier(&ED25519, &[]), &aws::ED25519)],
        KeyAlgorithm::MlDsa65 => return vec![(identifier(&ML_DSA_65, &[]), &aws::ML_DSA_65)],
    };
    table.into_iter().map(|(oid, parameters, verifier)| (identifier(oid, parameters), verifier)).collect()
}

/// DER of an `AlgorithmIdentifier`.
pub(crate) fn identifier(oid: &ObjectIdentifier, parameters: &[u8]) -> Vec<u8> {
    encode::sequence(&[&encode::oid(oid)[..], parameters])
}
