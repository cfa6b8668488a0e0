//! An AES-256 key in the token, for wrapping.

use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, ObjectClass};

use super::{Call, CallError, Token, TokenError};

/// Octets of a nonce (NIST SP 800-38D §8.2.2).
const NONCE_OCTETS: usize = 12;

const TAG_BITS: u64 = 128;

impl Token {
    /// Makes an AES-256 key that cannot be read out, under `id`.
    ///
    /// # Errors
    /// When the token is absent or refuses.
    pub(crate) async fn generate_aes_key(
        self: &Arc<Self>,
        id: Vec<u8>,
        label: String,
    ) -> Result<(), TokenError> {
        self.call(move |call| {
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::ValueLen(32.into()),
                Attribute::Id(id.clone()),
                Attribute::Label(label.clone().into_bytes()),
            ];
            Ok(call.session.generate_key(&Mechanism::AesKeyGen, &template).map(drop)?)
        })
        .await
    }

    /// Whether there is an AES key `id`.
    ///
    /// # Errors
    /// When the token is absent or refuses.
    pub(crate) async fn has_aes_key(self: &Arc<Self>, id: Vec<u8>) -> Result<bool, TokenError> {
        self.call(move |call| call.has(ObjectClass::SECRET_KEY, &id)).await
    }

    /// Nonce, ciphertext, tag (AES-256-GCM).
    ///
    /// # Errors
    /// When the token is absent or refuses.
    pub(crate) async fn encrypt(
        self: &Arc<Self>,
        id: Vec<u8>,
        nonce: [u8; NONCE_OCTETS],
        place: String,
        plaintext: zeroize::Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, TokenError> {
        self.call(move |call| {
            let key = call.find(ObjectClass::SECRET_KEY, &id)?;
            let mut iv = nonce;
            let parameters = GcmParams::new(&mut iv, place.as_bytes(), TAG_BITS.into())?;
            let sealed = call.session.encrypt(&Mechanism::AesGcm(parameters), key, &plaintext)?;
            Ok([nonce.as_slice(), &sealed].concat())
        })
        .await
    }

    /// The plaintext, unless `wrapped` was changed or moved.
    ///
    /// # Errors
    /// `Failed` when it does not open; or the token is absent.
    pub(crate) async fn decrypt(
        self: &Arc<Self>,
        id: Vec<u8>,
        place: String,
        wrapped: Vec<u8>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, TokenError> {
        self.call(move |call| decrypt(call, &id, &place, &wrapped)).await
    }
}

fn decrypt(
    call: &Call<'_>,
    id: &[u8],
    place: &str,
    wrapped: &[u8],
) -> Result<zeroize::Zeroizing<Vec<u8>>, CallError> {
    let damaged = TokenError::Unexpected("a ciphertext without its nonce");
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_OCTETS>().ok_or(damaged)?;
    let key = call.find(ObjectClass::SECRET_KEY, id)?;
    let mut iv = *nonce;
    let parameters = GcmParams::new(&mut iv, place.as_bytes(), TAG_BITS.into())?;
    Ok(zeroize::Zeroizing::new(call.session.decrypt(&Mechanism::AesGcm(parameters), key, sealed)?))
}
