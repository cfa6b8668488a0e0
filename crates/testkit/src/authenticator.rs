//! An authenticator in software, which also lies when told to.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use serde_json::json;

/// Present, verified.
pub const VERIFIED: u8 = 0x05;
const ATTESTED: u8 = 0x40;

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// One passkey of one authenticator; what it says of itself can be changed before each answer.
pub struct Authenticator {
    key: Key,
    /// Its name for the passkey.
    pub credential_id: Vec<u8>,
    /// The relying party that it believes to speak to.
    pub rp_id: String,
    /// The page that its browser believes to be on.
    pub origin: String,
    /// What it says of its user and of copies.
    pub flags: u8,
    /// Its counter.
    pub count: u32,
    /// Stands in for the type of ceremony in the client data.
    pub kind: Option<&'static str>,
    /// Whether the page is in a frame of another.
    pub framed: bool,
}

/// An answer: client data, and what goes with it.
pub struct Answer {
    /// JSON.
    pub client_data: Vec<u8>,
    /// Attestation object of a registration, authenticator data of an assertion.
    pub data: Vec<u8>,
    /// Of an assertion.
    pub signature: Vec<u8>,
}

impl Authenticator {
    /// One with a key for a COSE algorithm (-7, -8 or -257).
    pub fn new(algorithm: i64, origin: &str, rp_id: &str) -> Self {
        let key = match algorithm {
            -7 => Key::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key")),
            -8 => Key::EdDsa(Ed25519KeyPair::generate().expect("a key")),
            _ => Key::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
        };
        let mut credential_id = vec![0; 32];
        aws_lc_rs::rand::fill(&mut credential_id).expect("randomness");
        Self {
            key,
            credential_id,
            rp_id: rp_id.to_owned(),
            origin: origin.to_owned(),
            flags: VERIFIED,
            count: 0,
            kind: None,
            framed: false,
        }
    }

    /// Makes its passkey.
    pub fn create(&self, challenge: &[u8]) -> Answer {
        let attested = [
            [0xAA; 16].as_slice(),
            &u16::try_from(self.credential_id.len()).expect("a short id").to_be_bytes(),
            &self.credential_id,
            &self.cose_key(),
        ];
        let data = [self.head(ATTESTED), attested.concat()].concat();
        let text = |text: &str| Value::Text(text.to_owned());
        let object = Value::Map(vec![
            (text("fmt"), text("none")),
            (text("attStmt"), Value::Map(Vec::new())),
            (text("authData"), Value::Bytes(data)),
        ]);
        Answer {
            client_data: self.client_data("webauthn.create", challenge),
            data: cbor(&object),
            signature: Vec::new(),
        }
    }

    /// Uses it.
    pub fn get(&self, challenge: &[u8]) -> Answer {
        let client_data = self.client_data("webauthn.get", challenge);
        let data = self.head(0);
        let signature = self.sign(&[&data, digest(&SHA256, &client_data).as_ref()].concat());
        Answer { client_data, data, signature }
    }

    fn head(&self, more: u8) -> Vec<u8> {
        let hash = digest(&SHA256, self.rp_id.as_bytes());
        [hash.as_ref(), &[self.flags | more], &self.count.to_be_bytes()].concat()
    }

    fn client_data(&self, kind: &str, challenge: &[u8]) -> Vec<u8> {
        let data = json!({
            "type": self.kind.unwrap_or(kind),
            "challenge": URL_SAFE_NO_PAD.encode(challenge),
            "origin": self.origin,
            "crossOrigin": self.framed,
        });
        data.to_string().into_bytes()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Es256(key) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
        }
    }

    /// RFC 9053: kind, algorithm, and the parameters of the kind.
    fn cose_key(&self) -> Vec<u8> {
        let int = |value: i64| Value::Integer(value.into());
        let entries = match &self.key {
            Key::Es256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                let coordinates = [(-2, Value::Bytes(x.to_vec())), (-3, Value::Bytes(y.to_vec()))];
                [vec![(1, int(2)), (3, int(-7)), (-1, int(1))], coordinates.to_vec()].concat()
            }
            Key::EdDsa(key) => {
                let x = Value::Bytes(key.public_key().as_ref().to_vec());
                vec![(1, int(1)), (3, int(-8)), (-1, int(6)), (-2, x)]
            }
            Key::Rs256(key) => {
                let public = key.public_key();
                let octets = |value: &[u8]| Value::Bytes(value.to_vec());
                let (n, e) = (public.modulus(), public.exponent());
                vec![
                    (1, int(3)),
                    (3, int(-257)),
                    (-1, octets(n.big_endian_without_leading_zero())),
                    (-2, octets(e.big_endian_without_leading_zero())),
                ]
            }
        };
        cbor(&Value::Map(entries.into_iter().map(|(label, value)| (int(label), value)).collect()))
    }
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut octets = Vec::new();
    ciborium::into_writer(value, &mut octets).expect("CBOR");
    octets
}
