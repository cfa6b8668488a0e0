//! Requests that openssl would not make: bent octets, and a key type that it does not know.

use aws_lc_rs::signature::{KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_types::KeyAlgorithm;
use clm_x509::algorithm::signature_algorithm_der;
use clm_x509::{PublicKey, SubjectName};

const LABEL: &str = "CERTIFICATE REQUEST";

pub(crate) fn to_der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

pub(crate) fn to_pem(der: &[u8]) -> String {
    clm_x509::pem::encode(LABEL, der)
}

/// Puts other octets of the same number in place of the first that are found. The signature is wrong after it,
/// which is looked at last.
#[track_caller]
pub(crate) fn bend(pem: &str, old: &[u8], new: &[u8]) -> String {
    assert_eq!(old.len(), new.len());
    let mut der = to_der(pem);
    let place = der.windows(old.len()).position(|window| window == old).expect("the octets are there");
    der[place..place + new.len()].copy_from_slice(new);
    to_pem(&der)
}

/// Changes the last octet.
pub(crate) fn break_signature(pem: &str) -> String {
    let mut der = to_der(pem);
    *der.last_mut().unwrap() ^= 1;
    to_pem(&der)
}

/// Where the value of the RSA modulus stands: after the lengths of SEQUENCE and INTEGER with a leading zero.
pub(crate) fn modulus_place(der: &[u8]) -> std::ops::Range<usize> {
    let start = der.windows(5).position(|window| window == [0x02, 0x82, 0x01, 0x01, 0x00]).unwrap() + 5;
    start..start + 256
}

/// A signed ML-DSA-65 request for one DNS name.
pub(crate) fn ml_dsa(name: &str) -> String {
    let pair = PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap();
    let key = PublicKey::from_key_octets(KeyAlgorithm::MlDsa65, pair.public_key().as_ref()).unwrap();
    let subject = SubjectName::common_name_only(name).unwrap();
    let names = value(0x30, &[&value(0x82, &[name.as_bytes()])]);
    let extension = value(0x30, &[&[6, 3, 0x55, 0x1d, 0x11], &value(4, &[&names])]);
    let extension_request = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    let attribute = value(0x30, &[&extension_request, &value(0x31, &[&value(0x30, &[&extension])])]);
    let info = value(0x30, &[&[2, 1, 0], &subject.to_der(), key.spki_der(), &value(0xa0, &[&attribute])]);
    let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
    let length = pair.sign(&info, &mut signature).unwrap();
    let bits = value(3, &[&[0], &signature[..length]]);
    to_pem(&value(0x30, &[&info, &signature_algorithm_der(KeyAlgorithm::MlDsa65), &bits]))
}

/// One DER value from the parts of its content.
fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [.., high, low] = content.len().to_be_bytes();
    let length = match content.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content].concat()
}
