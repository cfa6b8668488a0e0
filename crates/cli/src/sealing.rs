//! Private keys on their way: HPKE (RFC 9180), base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_api::keys::Sealed;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePublicKey};
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// A key pair of one export, in a file of the requester's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipient {
    /// Uncompressed P-256 point, base64.
    pub(crate) public_key: String,
    private_key: String,
}

impl Recipient {
    pub(crate) fn generate() -> Result<Self, CliError> {
        let failed = |_| CliError::Answer("no key pair can be made".to_owned());
        let (public, private) = SUITE.generate_key_pair().map_err(failed)?;
        let private_key = STANDARD.encode(private.secret_bytes());
        Ok(Self { public_key: STANDARD.encode(public.0), private_key })
    }

    pub(crate) fn open(&self, info: &[u8], aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, CliError> {
        let failed = || CliError::Answer("the key is not sealed to this recipient's file".to_owned());
        let read = |text: &str| STANDARD.decode(text).map_err(|_| failed());
        let encapsulated = EncapsulatedSecret(read(&sealed.encapsulated)?);
        let private = read(&self.private_key)?.into();
        let opened = SUITE.open(&encapsulated, info, aad, &read(&sealed.ciphertext)?, &private);
        opened.map_err(|_| failed())
    }
}

pub(crate) fn seal(public_key: &str, info: &[u8], aad: &[u8], secret: &[u8]) -> Result<Sealed, CliError> {
    let failed = || CliError::Answer("the transport key cannot be used".to_owned());
    let public_key = HpkePublicKey(STANDARD.decode(public_key).map_err(|_| failed())?);
    let (encapsulated, ciphertext) = SUITE.seal(info, aad, secret, &public_key).map_err(|_| failed())?;
    Ok(Sealed { encapsulated: STANDARD.encode(encapsulated.0), ciphertext: STANDARD.encode(ciphertext) })
}
