//! The identification of a certificate in OCSP: hashes of its issuer, and its serial number.

use crate::{
    algorithm,
    crl::serial_number,
    decode::{Malformed, Value},
    encode::{self, tag},
    issuer::IssuerInfo,
};
use aws_lc_rs::digest;
use clm_types::SerialNumber;
use const_oid::ObjectIdentifier;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// A `CertID` as the client sent it: responses repeat its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertId {
    pub(super) der: Vec<u8>,
    hash: Option<Hash>,
    issuer_name_hash: Vec<u8>,
    issuer_key_hash: Vec<u8>,
    serial: SerialNumber,
}

/// The hashes that clients use. SHA-1 names the issuer here and secures nothing (RFC 5019 §2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn of(self, octets: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, octets).as_ref().to_vec()
    }
}

/// SHA-1 of some octets, where RFC 6960 leaves no choice (responder by key hash).
pub(super) fn sha1(octets: &[u8]) -> Vec<u8> {
    Hash::Sha1.of(octets)
}

impl CertId {
    /// The identification of a certificate of this issuer, under SHA-256.
    pub fn new(issuer: &IssuerInfo, serial: &SerialNumber) -> Self {
        Self::under(Hash::Sha256, issuer, serial)
    }

    /// The same under SHA-1, as most clients ask (RFC 5019 §2.1.1).
    pub fn under_sha1(issuer: &IssuerInfo, serial: &SerialNumber) -> Self {
        Self::under(Hash::Sha1, issuer, serial)
    }

    fn under(hash: Hash, issuer: &IssuerInfo, serial: &SerialNumber) -> Self {
        let identifier = match hash {
            Hash::Sha1 => SHA1,
            Hash::Sha256 => SHA256,
        };
        let issuer_name_hash = hash.of(&issuer.name_der);
        let issuer_key_hash = hash.of(issuer.public_key.key_octets());
        let der = encode::sequence(&[
            algorithm::identifier(&identifier, &[tag::NULL, 0]),
            encode::tlv(tag::OCTET_STRING, &issuer_name_hash),
            encode::tlv(tag::OCTET_STRING, &issuer_key_hash),
            encode::unsigned(serial.as_bytes()),
        ]);
        Self { der, hash: Some(hash), issuer_name_hash, issuer_key_hash, serial: serial.clone() }
    }

    /// The serial number asked about.
    pub const fn serial(&self) -> &SerialNumber {
        &self.serial
    }

    /// Whether the certificate is one of this issuer's.
    pub fn matches(&self, issuer: &IssuerInfo) -> bool {
        self.hash.is_some_and(|hash| {
            hash.of(&issuer.name_der) == self.issuer_name_hash
                && hash.of(issuer.public_key.key_octets()) == self.issuer_key_hash
        })
    }

    pub(super) fn read(value: &Value<'_>) -> Result<Self, Malformed> {
        let mut fields = value.reader();
        let hash = read_hash(&fields.expect(tag::SEQUENCE)?)?;
        let issuer_name_hash = fields.expect(tag::OCTET_STRING)?.content.to_vec();
        let issuer_key_hash = fields.expect(tag::OCTET_STRING)?.content.to_vec();
        let serial = serial_number(fields.expect(tag::INTEGER)?.unsigned()?)?;
        fields.finish()?;
        Ok(Self { der: value.whole.to_vec(), hash, issuer_name_hash, issuer_key_hash, serial })
    }
}

/// A hash that is not known makes the certificate one of an unknown issuer, not the request malformed.
fn read_hash(identifier: &Value<'_>) -> Result<Option<Hash>, Malformed> {
    let mut fields = identifier.reader();
    let oid = fields.expect(tag::OID)?.oid()?;
    let parameters = fields.optional(tag::NULL)?;
    fields.finish()?;
    if parameters.is_some_and(|null| !null.content.is_empty()) {
        return Err(Malformed);
    }
    Ok(match oid {
        SHA1 => Some(Hash::Sha1),
        SHA256 => Some(Hash::Sha256),
        _ => None,
    })
}
