//! Certificates, read back from their DER.

use crate::{
    algorithm,
    decode::{Malformed, Reader, Signed},
    encode::tag,
    extension::{
        self, AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, CRL_DISTRIBUTION_POINTS, EXTENDED_KEY_USAGE,
        Extension, KEY_USAGE, SUBJECT_ALT_NAME, SUBJECT_KEY_IDENTIFIER,
    },
    issuer::IssuerInfo,
    key_usage::{ExtendedKeyUsage, KeyUsage},
    name::SubjectName,
    pem,
    public_key::{PublicKey, sha256},
    san::{self, San},
};
use chrono::{DateTime, Utc};
use clm_types::{ErrorCode, Refusal, SerialNumber};

/// Most names that are read back from a certificate.
const MOST_NAMES: usize = 10_000;

/// A version 3 certificate, with the octets it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
    serial: SerialNumber,
    issuer_der: Vec<u8>,
    issuer: SubjectName,
    subject_der: Vec<u8>,
    subject: SubjectName,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    public_key: PublicKey,
    extensions: Extensions,
}

/// The extensions, and what those we know say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Extensions {
    all: Vec<Extension>,
    names: Vec<San>,
    is_ca: bool,
    path_length: Option<u8>,
    key_usage: Vec<KeyUsage>,
    extended_key_usage: Vec<ExtendedKeyUsage>,
    subject_key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads one certificate and nothing after it.
    ///
    /// # Errors
    /// `certificate_malformed`; the codes of names and keys that are not supported.
    pub fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let mut outer = Reader::new(der);
        let whole = outer.expect(tag::SEQUENCE).map_err(malformed)?;
        outer.finish().map_err(malformed)?;
        let signed = Signed::read(&whole).map_err(malformed)?;
        let fields = Fields::read(signed.tbs.whole).map_err(malformed)?;
        if fields.signature_algorithm != signed.signature_algorithm {
            return Err(malformed(Malformed));
        }
        Ok(Self {
            der: der.to_vec(),
            tbs: signed.tbs.whole.to_vec(),
            signature_algorithm: signed.signature_algorithm.to_vec(),
            signature: signed.signature.to_vec(),
            serial: crate::crl::serial_number(fields.serial).map_err(malformed)?,
            issuer: SubjectName::from_der(fields.issuer)?,
            issuer_der: fields.issuer.to_vec(),
            subject: SubjectName::from_der(fields.subject)?,
            subject_der: fields.subject.to_vec(),
            not_before: fields.not_before,
            not_after: fields.not_after,
            public_key: PublicKey::from_certified_spki(fields.spki)?,
            extensions: Extensions::read(fields.extensions)?,
        })
    }

    /// Reads the single certificate of a PEM text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_pem(text: &str) -> Result<Self, Refusal> {
        let der = pem::decode_one(&[pem::CERTIFICATE], text).map_err(|_| malformed(Malformed))?;
        Self::parse(&der)
    }

    /// Verifies that this authority issued and signed the certificate.
    ///
    /// # Errors
    /// `signature_invalid`.
    pub fn verify_signed_by(&self, issuer: &IssuerInfo) -> Result<(), Refusal> {
        if self.issuer_der != issuer.name_der || self.signature_algorithm != issuer.signature_algorithm_der()
        {
            return Err(Refusal::new(
                ErrorCode::SignatureInvalid,
                "the certificate names another issuer or another signature algorithm",
            ));
        }
        algorithm::verify(&issuer.public_key, &self.tbs, &self.signature)
    }

    /// DER as read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// DER of the to-be-signed part, as read.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The serial number.
    pub const fn serial(&self) -> &SerialNumber {
        &self.serial
    }

    /// The subject.
    pub const fn subject(&self) -> &SubjectName {
        &self.subject
    }

    /// DER of the subject, as read.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The issuer's name.
    pub const fn issuer(&self) -> &SubjectName {
        &self.issuer
    }

    /// Whether subject and issuer are the same: the certificate of a root.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    /// First second of validity.
    pub const fn not_before(&self) -> DateTime<Utc> {
        self.not_before
    }

    /// Last second of validity.
    pub const fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// The certified key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Subject alternative names.
    pub fn names(&self) -> &[San] {
        &self.extensions.names
    }

    /// Whether it is the certificate of an authority.
    pub const fn is_ca(&self) -> bool {
        self.extensions.is_ca
    }

    /// The path length of an authority.
    pub const fn path_length(&self) -> Option<u8> {
        self.extensions.path_length
    }

    /// Key usages.
    pub fn key_usage(&self) -> &[KeyUsage] {
        &self.extensions.key_usage
    }

    /// Purposes.
    pub fn extended_key_usage(&self) -> &[ExtendedKeyUsage] {
        &self.extensions.extended_key_usage
    }

    /// Subject key identifier.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.extensions.subject_key_identifier.as_deref()
    }

    /// Authority key identifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.extensions.authority_key_identifier.as_deref()
    }

    /// All extensions in their order.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions.all
    }
}

/// The distribution point that a certificate with these to-be-signed octets names, if it is one URL.
pub fn crl_url_of_tbs(tbs_der: &[u8]) -> Option<String> {
    let fields = Fields::read(tbs_der).ok()?;
    let point = extension::find(&fields.extensions, &CRL_DISTRIBUTION_POINTS)?;
    extension::read_crl_distribution_point(&point.value).ok()
}

fn malformed(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::CertificateMalformed, "this is not an X.509 version 3 certificate")
}

/// The fields of a TBSCertificate as slices of the original.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) signature_algorithm: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Vec<Extension>,
}

impl<'a> Fields<'a> {
    pub(crate) fn read(tbs_der: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(tbs_der);
        let mut fields = outer.expect(tag::SEQUENCE)?.reader();
        outer.finish()?;
        let version = fields.expect(tag::context_constructed(0))?.only(tag::INTEGER)?;
        if version.small()? != 2 {
            return Err(Malformed);
        }
        let serial = fields.expect(tag::INTEGER)?.unsigned()?;
        let signature_algorithm = fields.expect(tag::SEQUENCE)?.whole;
        let issuer = fields.expect(tag::SEQUENCE)?.whole;
        let mut validity = fields.expect(tag::SEQUENCE)?.reader();
        let (not_before, not_after) = (validity.next()?.time()?, validity.next()?.time()?);
        validity.finish()?;
        let subject = fields.expect(tag::SEQUENCE)?.whole;
        let spki = fields.expect(tag::SEQUENCE)?.whole;
        let extensions = fields.expect(tag::context_constructed(3))?.only(tag::SEQUENCE)?;
        fields.finish()?;
        Ok(Self {
            serial,
            signature_algorithm,
            issuer,
            not_before,
            not_after,
            subject,
            spki,
            extensions: extension::read_list(&extensions)?,
        })
    }
}

impl Extensions {
    fn read(all: Vec<Extension>) -> Result<Self, Refusal> {
        if extension::duplicate(&all).is_some() {
            return Err(malformed(Malformed));
        }
        let value = |id| extension::find(&all, &id).map(|extension| extension.value.as_slice());
        let mut read = Self::default();
        if let Some(der) = value(SUBJECT_ALT_NAME) {
            read.names = san::read_names(der, MOST_NAMES)?;
        }
        read.read_known(value).map_err(malformed)?;
        read.all = all;
        Ok(read)
    }

    fn read_known<'a>(
        &mut self,
        value: impl Fn(const_oid::ObjectIdentifier) -> Option<&'a [u8]>,
    ) -> Result<(), Malformed> {
        if let Some(der) = value(BASIC_CONSTRAINTS) {
            (self.is_ca, self.path_length) = extension::read_basic_constraints(der)?;
        }
        if let Some(der) = value(KEY_USAGE) {
            self.key_usage = KeyUsage::list_from_der(der)?;
        }
        if let Some(der) = value(EXTENDED_KEY_USAGE) {
            self.extended_key_usage = ExtendedKeyUsage::list_from_der(der)?;
        }
        if let Some(der) = value(SUBJECT_KEY_IDENTIFIER) {
            let mut reader = Reader::new(der);
            self.subject_key_identifier = Some(reader.expect(tag::OCTET_STRING)?.content.to_vec());
            reader.finish()?;
        }
        if let Some(der) = value(AUTHORITY_KEY_IDENTIFIER) {
            self.authority_key_identifier = extension::read_authority_key_identifier(der)?;
        }
        Ok(())
    }
}
