//! Keys that sign: the part that the crate under test does not have.

use crate::der;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self as aws, EcdsaKeyPair, Ed25519KeyPair, KeyPair, PqdsaKeyPair, RsaKeyPair},
};
use clm_types::KeyAlgorithm;
use clm_x509::{
    PublicKey,
    algorithm::{SigningScheme, signature_algorithm_der, signing_scheme},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

pub(crate) struct TestKey {
    pub(crate) algorithm: KeyAlgorithm,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(Arc<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

/// RSA keys take long to make: three of each size go round, so that a chain has different ones.
static RSA_KEYS: Mutex<BTreeMap<KeyAlgorithm, VecDeque<Arc<RsaKeyPair>>>> = Mutex::new(BTreeMap::new());

fn pooled(algorithm: KeyAlgorithm, size: KeySize) -> Arc<RsaKeyPair> {
    let mut keys = RSA_KEYS.lock().unwrap();
    let queue = keys.entry(algorithm).or_default();
    let key = if queue.len() < 3 {
        Arc::new(RsaKeyPair::generate(size).unwrap())
    } else {
        queue.pop_front().unwrap()
    };
    queue.push_back(Arc::clone(&key));
    key
}

impl TestKey {
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Self {
        let rsa = |size| Pair::Rsa(pooled(algorithm, size));
        let pair = match (algorithm, signing_scheme(algorithm)) {
            (_, SigningScheme::Ecdsa(scheme)) => Pair::Ecdsa(EcdsaKeyPair::generate(scheme).unwrap()),
            (KeyAlgorithm::Rsa2048, _) => rsa(KeySize::Rsa2048),
            (KeyAlgorithm::Rsa3072, _) => rsa(KeySize::Rsa3072),
            (KeyAlgorithm::Rsa4096, _) => rsa(KeySize::Rsa4096),
            (_, SigningScheme::MlDsa(scheme)) => Pair::MlDsa(PqdsaKeyPair::generate(scheme).unwrap()),
            _ => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, pair }
    }

    pub(crate) fn p256() -> Self {
        Self::generate(KeyAlgorithm::EcdsaP256)
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        let octets = match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::MlDsa(pair) => pair.public_key().as_ref().to_vec(),
        };
        PublicKey::from_key_octets(self.algorithm, &octets).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&aws::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                let length = pair.sign(message, &mut signature).unwrap();
                signature.truncate(length);
                signature
            }
        }
    }

    /// Signs a CertificationRequestInfo and puts the request together.
    pub(crate) fn request(&self, info: &[u8]) -> Vec<u8> {
        let signature = der::bits(&self.sign(info));
        der::sequence(&[info, &signature_algorithm_der(self.algorithm), &signature])
    }
}
