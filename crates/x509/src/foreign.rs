//! Certificates and revocation lists that other software made: what an authority brings along when it is imported.
//!
//! They are read more widely than ours: names of any kind, any hash of the signature, lists in any order.

use crate::{
    algorithm,
    certificate::Fields,
    crl::{RevokedEntry, read_entry, serial_number},
    decode::{Malformed, Reader, Signed, Value},
    encode::tag,
    extension::{
        self, AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, CRL_NUMBER, DELTA_CRL_INDICATOR,
        ISSUING_DISTRIBUTION_POINT, SUBJECT_ALT_NAME, SUBJECT_KEY_IDENTIFIER,
    },
    issuer::IssuerInfo,
    name::SubjectName,
    pem,
    public_key::{PublicKey, sha256},
    san::{self, San},
};
use chrono::{DateTime, Utc};
use clm_types::{ErrorCode, Refusal, RevocationReason, SerialNumber};
use const_oid::ObjectIdentifier;
use der::Decode;
use std::ops::Range;
use x509_cert::name::Name;

/// The field `distributionPoint` of an issuing distribution point; the others say what is not on the list, or whose it is.
const DISTRIBUTION_POINT: u8 = 0xa0;

/// A version 3 certificate of a key that we know, with whatever else.
#[derive(Debug, Clone)]
pub struct ForeignCertificate {
    /// The serial number.
    pub serial: SerialNumber,
    /// RFC 4514; attributes that have no short name as `OID=#hex`.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// If the subject is one that we would issue.
    pub common_name: Option<String>,
    /// Subject alternative names of the kinds that we know; others are left out.
    pub names: Vec<San>,
    /// The certified key.
    pub public_key: PublicKey,
    /// Subject key identifier.
    pub subject_key_identifier: Option<Vec<u8>>,
    /// Authority key identifier.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// Whether it is the certificate of an authority.
    pub is_ca: bool,
    /// First second of validity.
    pub not_before: DateTime<Utc>,
    /// Last second of validity.
    pub not_after: DateTime<Utc>,
    /// DER as read.
    pub der: Vec<u8>,
    signed: SignedOctets,
}

/// What an issuer signed, and how: places in the DER.
#[derive(Debug, Clone)]
struct SignedOctets {
    issuer: Range<usize>,
    content: Range<usize>,
    algorithm: Range<usize>,
    signature: Range<usize>,
}

impl ForeignCertificate {
    /// Reads one certificate and nothing after it.
    ///
    /// # Errors
    /// `certificate_malformed`; the codes of keys that are not supported.
    pub fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let malformed =
            |_| Refusal::new(ErrorCode::CertificateMalformed, "this is not an X.509 version 3 certificate");
        let signed = read_signed(der).map_err(malformed)?;
        let fields = Fields::read(signed.tbs.whole).map_err(malformed)?;
        if fields.signature_algorithm != signed.signature_algorithm {
            return Err(malformed(Malformed));
        }
        let value = |id| extension::find(&fields.extensions, &id).map(|found| found.value.as_slice());
        let is_ca = value(BASIC_CONSTRAINTS).map(extension::read_basic_constraints).transpose();
        let subject_key = value(SUBJECT_KEY_IDENTIFIER).map(read_octets).transpose();
        let authority_key = value(AUTHORITY_KEY_IDENTIFIER).map(extension::read_authority_key_identifier);
        Ok(Self {
            serial: serial_number(fields.serial).map_err(malformed)?,
            subject: text_of(fields.subject)?,
            issuer: text_of(fields.issuer)?,
            common_name: SubjectName::from_der(fields.subject)
                .ok()
                .and_then(|name| name.common_name().map(str::to_owned)),
            names: value(SUBJECT_ALT_NAME).map(san::read_known_names).unwrap_or_default(),
            public_key: PublicKey::from_certified_spki(fields.spki)?,
            subject_key_identifier: subject_key.map_err(malformed)?,
            authority_key_identifier: authority_key.transpose().map_err(malformed)?.flatten(),
            is_ca: is_ca.map_err(malformed)?.is_some_and(|(is_ca, _)| is_ca),
            not_before: fields.not_before,
            not_after: fields.not_after,
            der: der.to_vec(),
            signed: SignedOctets::of(der, &signed, fields.issuer),
        })
    }

    /// Verifies that this authority issued and signed the certificate, with whichever hash.
    ///
    /// # Errors
    /// `signature_invalid`.
    pub fn verify_signed_by(&self, issuer: &IssuerInfo) -> Result<(), Refusal> {
        self.signed.verify(&self.der, issuer)
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// The name of the algorithm that it is signed with; its identifier if it has none.
    pub fn signature_algorithm(&self) -> String {
        let read = || {
            Reader::new(self.der.get(self.signed.algorithm.clone()).unwrap_or_default())
                .expect(tag::SEQUENCE)?
                .reader()
                .expect(tag::OID)?
                .oid()
        };
        let name = |id: ObjectIdentifier| {
            const_oid::db::DB.by_oid(&id).map_or_else(|| id.to_string(), str::to_owned)
        };
        read().map_or_else(|Malformed| String::new(), name)
    }
}

/// A full revocation list of one authority, whole in memory.
#[derive(Debug, Clone)]
pub struct ForeignCrl {
    /// Its number; none if it has none.
    pub number: Option<u64>,
    /// When it was made.
    pub this_update: DateTime<Utc>,
    /// Whether it may be a part: it names the distribution point that its certificates name.
    pub of_one_point: bool,
    /// What it lists, in its order.
    pub entries: Vec<RevokedEntry>,
}

impl ForeignCrl {
    /// Reads and verifies a list that this authority signed, with whichever hash.
    ///
    /// # Errors
    /// `crl_malformed`, also for deltas, lists of some kinds of certificates or reasons, and lists that name certificates
    /// of others; `signature_invalid`.
    pub fn read(der: &[u8], issuer: &IssuerInfo) -> Result<Self, Refusal> {
        let refuse = |detail| move |_| Refusal::new(ErrorCode::CrlMalformed, detail);
        let malformed = refuse("this is not an X.509 revocation list");
        let signed = read_signed(der).map_err(malformed)?;
        let fields = CrlFields::read(&signed.tbs).map_err(malformed)?;
        SignedOctets::of(der, &signed, fields.issuer).verify(der, issuer)?;
        let partial = "it is a delta or lists certificates of some kinds, reasons or other issuers alone";
        let (number, of_one_point) = fields.scope().map_err(refuse(partial))?;
        let entries = fields.entries().map_err(refuse("an entry of it is not understood"))?;
        Ok(Self { number, this_update: fields.this_update, of_one_point, entries })
    }
}

/// The fields of a TBSCertList as slices of the original.
struct CrlFields<'a> {
    issuer: &'a [u8],
    this_update: DateTime<Utc>,
    list: Option<Value<'a>>,
    extensions: Option<Value<'a>>,
}

impl<'a> CrlFields<'a> {
    fn read(tbs: &Value<'a>) -> Result<Self, Malformed> {
        let mut fields = tbs.reader();
        fields.optional(tag::INTEGER)?;
        fields.expect(tag::SEQUENCE)?;
        let issuer = fields.expect(tag::SEQUENCE)?.whole;
        let this_update = fields.next()?.time()?;
        if matches!(fields.peek(), Some(tag::UTC_TIME | tag::GENERALIZED_TIME)) {
            fields.next()?.time()?;
        }
        let list = fields.optional(tag::SEQUENCE)?;
        let extensions = fields.optional(tag::context_constructed(0))?;
        fields.finish()?;
        let extensions = extensions.map(|outer| outer.only(tag::SEQUENCE)).transpose()?;
        Ok(Self { issuer, this_update, list, extensions })
    }

    /// Its number, and whether it names its distribution point.
    fn scope(&self) -> Result<(Option<u64>, bool), Malformed> {
        let extensions =
            self.extensions.map(|list| extension::read_list(&list)).transpose()?.unwrap_or_default();
        let value = |id| extension::find(&extensions, &id).map(|found| found.value.as_slice());
        if value(DELTA_CRL_INDICATOR).is_some() {
            return Err(Malformed);
        }
        let number = |der| Reader::new(der).expect(tag::INTEGER)?.small();
        let point = value(ISSUING_DISTRIBUTION_POINT).map(read_point).transpose()?;
        Ok((value(CRL_NUMBER).map(number).transpose()?, point.unwrap_or_default()))
    }

    fn entries(&self) -> Result<Vec<RevokedEntry>, Malformed> {
        let mut entries = Vec::new();
        let mut left = self.list.map_or_else(|| Reader::new(&[]), |list| list.reader());
        while !left.is_empty() {
            let entry = read_entry(left.expect(tag::SEQUENCE)?.reader())?;
            if entry.reason == Some(RevocationReason::RemoveFromCrl) {
                return Err(Malformed);
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl SignedOctets {
    /// All of these lie in `der`.
    fn of(der: &[u8], signed: &Signed<'_>, issuer: &[u8]) -> Self {
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr() - der.as_ptr().addr();
            start..start + part.len()
        };
        Self {
            issuer: place(issuer),
            content: place(signed.tbs.whole),
            algorithm: place(signed.signature_algorithm),
            signature: place(signed.signature),
        }
    }

    fn verify(&self, der: &[u8], issuer: &IssuerInfo) -> Result<(), Refusal> {
        let refuse = |detail| Refusal::new(ErrorCode::SignatureInvalid, detail);
        let part = |place: &Range<usize>| der.get(place.clone()).unwrap_or_default();
        if part(&self.issuer) != issuer.name_der {
            return Err(refuse("it names another issuer"));
        }
        let (algorithm, content, signature) =
            (part(&self.algorithm), part(&self.content), part(&self.signature));
        let verified = algorithm::verify_as(&issuer.public_key, algorithm, content, signature);
        verified.map_err(|refusal| match refusal.code {
            ErrorCode::SignatureInvalid => refuse("the signature is not one by the authority's key"),
            _ => refuse("it is signed with an algorithm that is not supported")
                .hint("SHA-256, SHA-384 and SHA-512 are, with ECDSA or RSA (PKCS #1), and Ed25519"),
        })
    }
}

fn read_signed(der: &[u8]) -> Result<Signed<'_>, Malformed> {
    let mut outer = Reader::new(der);
    let whole = outer.expect(tag::SEQUENCE)?;
    outer.finish()?;
    Signed::read(&whole)
}

fn read_octets(der: &[u8]) -> Result<Vec<u8>, Malformed> {
    Ok(Reader::new(der).expect(tag::OCTET_STRING)?.content.to_vec())
}

/// Whether an issuing distribution point names an address, so that there may be lists with other ones.
fn read_point(point: &[u8]) -> Result<bool, Malformed> {
    let mut fields = Reader::new(point).expect(tag::SEQUENCE)?.reader();
    let mut named = false;
    while !fields.is_empty() {
        let field = fields.next()?;
        match field.tag {
            DISTRIBUTION_POINT => named = true,
            _ if field.content == [0] => {}
            _ => return Err(Malformed),
        }
    }
    Ok(named)
}

/// RFC 4514; as we would write it where we can.
fn text_of(name: &[u8]) -> Result<String, Refusal> {
    if let Ok(known) = SubjectName::from_der(name) {
        return Ok(known.to_string());
    }
    let read = Name::from_der(name);
    let refuse = |_| Refusal::new(ErrorCode::NameEncodingInvalid, "a name of the certificate cannot be read");
    Ok(read.map_err(refuse)?.to_string())
}
