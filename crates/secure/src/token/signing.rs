//! Key pairs in the token, for signing.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use clm_types::KeyAlgorithm;
use clm_x509::{PublicKey, algorithm};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use super::{Call, CallError, Token, TokenError};

/// DER of the named curve's object identifier (RFC 5480 §2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

/// What stands before a SHA-256 in the DigestInfo that RSA signs (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

impl Token {
    /// Makes a key pair whose private half can neither be read nor wrapped out, under `id`.
    ///
    /// # Errors
    /// `Unsupported`, or when the token is absent or refuses.
    pub(crate) async fn generate_key_pair(
        self: &Arc<Self>,
        algorithm: KeyAlgorithm,
        id: Vec<u8>,
        label: String,
    ) -> Result<PublicKey, TokenError> {
        self.call(move |call| {
            let (mechanism, mut public) = kind(algorithm)?;
            let named = [Attribute::Id(id.clone()), Attribute::Label(label.clone().into_bytes())];
            public.extend([Attribute::Token(true), Attribute::Verify(true), Attribute::Private(false)]);
            public.extend(named.clone());
            let mut private = vec![
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
            ];
            private.extend(named);
            let (made, _) = call.session.generate_key_pair(&mechanism, &public, &private)?;
            read_public(call, algorithm, made)
        })
        .await
    }

    /// The public half of the key pair `id`; none when the token has no such pair.
    ///
    /// # Errors
    /// When the token is absent or refuses.
    pub(crate) async fn public_key(
        self: &Arc<Self>,
        algorithm: KeyAlgorithm,
        id: Vec<u8>,
    ) -> Result<Option<PublicKey>, TokenError> {
        self.call(move |call| {
            if !call.has(ObjectClass::PRIVATE_KEY, &id)? {
                return Ok(None);
            }
            let public = call.find(ObjectClass::PUBLIC_KEY, &id)?;
            read_public(call, algorithm, public).map(Some)
        })
        .await
    }

    /// A signature in the form that X.509 wants for this algorithm.
    ///
    /// # Errors
    /// `NoKey`, `Unsupported`, or when the token is absent or refuses.
    pub(crate) async fn sign(
        self: &Arc<Self>,
        algorithm: KeyAlgorithm,
        id: Vec<u8>,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, TokenError> {
        let hash = if algorithm == KeyAlgorithm::EcdsaP384 { &SHA384 } else { &SHA256 };
        self.sign_digest(algorithm, id, digest(hash, &message).as_ref().to_vec()).await
    }

    /// The same of a message whose hash, of the kind that goes with the algorithm, this is.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub(crate) async fn sign_digest(
        self: &Arc<Self>,
        algorithm: KeyAlgorithm,
        id: Vec<u8>,
        digest: Vec<u8>,
    ) -> Result<Vec<u8>, TokenError> {
        self.call(move |call| {
            let key = call.find(ObjectClass::PRIVATE_KEY, &id)?;
            match algorithm {
                KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => {
                    let halves = call.session.sign(&Mechanism::Ecdsa, key, &digest)?;
                    Ok(algorithm::ecdsa_signature_der(&halves))
                }
                KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                    let info = [&SHA256_DIGEST_INFO[..], &digest].concat();
                    Ok(call.session.sign(&Mechanism::RsaPkcs, key, &info)?)
                }
                KeyAlgorithm::Ed25519 | KeyAlgorithm::MlDsa65 => Err(unsupported(algorithm).into()),
            }
        })
        .await
    }
}

/// How a pair is made, and what its public half must say of itself.
fn kind(algorithm: KeyAlgorithm) -> Result<(Mechanism<'static>, Vec<Attribute>), TokenError> {
    let curve = |der: &[u8]| (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(der.to_vec())]);
    let rsa = |bits: u64| {
        let numbers =
            vec![Attribute::ModulusBits(bits.into()), Attribute::PublicExponent(RSA_EXPONENT.to_vec())];
        (Mechanism::RsaPkcsKeyPairGen, numbers)
    };
    match algorithm {
        KeyAlgorithm::EcdsaP256 => Ok(curve(&P256)),
        KeyAlgorithm::EcdsaP384 => Ok(curve(&P384)),
        KeyAlgorithm::Rsa2048 => Ok(rsa(2048)),
        KeyAlgorithm::Rsa3072 => Ok(rsa(3072)),
        KeyAlgorithm::Rsa4096 => Ok(rsa(4096)),
        KeyAlgorithm::Ed25519 | KeyAlgorithm::MlDsa65 => Err(unsupported(algorithm)),
    }
}

fn unsupported(algorithm: KeyAlgorithm) -> TokenError {
    TokenError::Unsupported(algorithm.to_string())
}

fn read_public(
    call: &Call<'_>,
    algorithm: KeyAlgorithm,
    handle: ObjectHandle,
) -> Result<PublicKey, CallError> {
    let wanted = [AttributeType::EcPoint, AttributeType::Modulus, AttributeType::PublicExponent];
    let mut point = None;
    let mut modulus = None;
    let mut exponent = None;
    for attribute in call.session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::EcPoint(octets) => point = Some(octets),
            Attribute::Modulus(octets) => modulus = Some(octets),
            Attribute::PublicExponent(octets) => exponent = Some(octets),
            _ => {}
        }
    }
    let read = match (point, modulus, exponent) {
        (Some(point), ..) => PublicKey::from_token_point(algorithm, &point),
        (None, Some(modulus), Some(exponent)) => PublicKey::from_rsa_numbers(algorithm, &modulus, &exponent),
        _ => return Err(TokenError::Unexpected("a key pair without a public key").into()),
    };
    Ok(read.map_err(|_| TokenError::Unexpected("a public key that is none of its algorithm"))?)
}
