//! Revocation lists (RFC 5280 §5): an append-only encoder, and a reader.

use crate::{
    algorithm,
    decode::{Malformed, Reader, Signed, Value},
    encode::{self, tag},
    extension::{self as ext, AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER, INVALIDITY_DATE, REASON_CODE},
    issuer::IssuerInfo,
    name::SubjectName,
    pem,
};
use chrono::{DateTime, Utc};
use clm_types::{ErrorCode, Refusal, RevocationReason, SerialNumber};

/// What a list says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlHeader {
    /// The CRL number, growing with each list of the authority.
    pub number: u64,
    /// When it was made.
    pub this_update: DateTime<Utc>,
    /// When the next will be there at the latest.
    pub next_update: DateTime<Utc>,
}

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedEntry {
    /// Its serial number.
    pub serial: SerialNumber,
    /// Since when.
    pub revoked_at: DateTime<Utc>,
    /// Why; `unspecified` is not written (RFC 5280 §5.3.1).
    pub reason: Option<RevocationReason>,
    /// Since when the key is suspected.
    pub invalidity_date: Option<DateTime<Utc>>,
}

/// DER of the TBSCertList. The entries are written as they come, so memory is twice the list's octets and
/// does not grow with structures per entry.
pub fn encode_tbs(
    issuer: &IssuerInfo,
    header: &CrlHeader,
    entries: impl Iterator<Item = RevokedEntry>,
) -> Vec<u8> {
    let mut entry_octets = Vec::new();
    for entry in entries {
        put_entry(&mut entry_octets, &entry);
    }
    let list_header =
        if entry_octets.is_empty() { Vec::new() } else { encode::header(tag::SEQUENCE, entry_octets.len()) };
    let authority = ext::authority_key_identifier(&issuer.key_identifier);
    let number = encode::unsigned(&header.number.to_be_bytes());
    let extensions = encode::sequence(&[
        encode::extension(&AUTHORITY_KEY_IDENTIFIER, false, &authority),
        encode::extension(&CRL_NUMBER, false, &number),
    ]);
    encode::sequence(&[
        &encode::unsigned(&[1])[..],
        &issuer.signature_algorithm_der(),
        &issuer.name_der,
        &encode::time(header.this_update),
        &encode::time(header.next_update),
        &list_header,
        &entry_octets,
        &encode::tlv(tag::context_constructed(0), &extensions),
    ])
}

fn put_entry(out: &mut Vec<u8>, entry: &RevokedEntry) {
    let reason = entry.reason.filter(|reason| *reason != RevocationReason::Unspecified).map(|reason| {
        encode::extension(&REASON_CODE, false, &encode::tlv(tag::ENUMERATED, &[reason.code()]))
    });
    let invalidity = entry
        .invalidity_date
        .map(|date| encode::extension(&INVALIDITY_DATE, false, &encode::generalized_time(date)));
    let extensions: Vec<Vec<u8>> = reason.into_iter().chain(invalidity).collect();
    let extensions = if extensions.is_empty() { Vec::new() } else { encode::sequence(&extensions) };
    let serial = encode::unsigned(entry.serial.as_bytes());
    let revoked_at = encode::time(entry.revoked_at);
    let length = serial.len() + revoked_at.len() + extensions.len();
    out.extend_from_slice(&encode::header(tag::SEQUENCE, length));
    out.extend_from_slice(&serial);
    out.extend_from_slice(&revoked_at);
    out.extend_from_slice(&extensions);
}

/// Verifies the signature and puts the list together.
///
/// # Errors
/// `signature_invalid`.
pub fn assemble(issuer: &IssuerInfo, tbs: &[u8], signature: &[u8]) -> Result<Vec<u8>, Refusal> {
    algorithm::verify(&issuer.public_key, tbs, signature)?;
    Ok(encode::signed(tbs, &issuer.signature_algorithm_der(), signature))
}

/// DER of a list as PEM.
pub fn to_pem(der: &[u8]) -> String {
    pem::encode(pem::CRL, der)
}

/// A version 2 list, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Number and times.
    pub header: CrlHeader,
    /// The issuer's name.
    pub issuer: SubjectName,
    /// The key identifier of the issuer.
    pub authority_key_identifier: Vec<u8>,
    /// Entries in their order.
    pub entries: Vec<RevokedEntry>,
    tbs: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
    issuer_der: Vec<u8>,
}

impl Crl {
    /// Reads one full list and nothing after it.
    ///
    /// # Errors
    /// `crl_malformed`; the codes of names that are not supported.
    pub fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let mut outer = Reader::new(der);
        let whole = outer.expect(tag::SEQUENCE).map_err(malformed)?;
        outer.finish().map_err(malformed)?;
        let signed = Signed::read(&whole).map_err(malformed)?;
        let fields = Fields::read(&signed).map_err(malformed)?;
        Ok(Self {
            header: fields.header,
            issuer: SubjectName::from_der(fields.issuer)?,
            issuer_der: fields.issuer.to_vec(),
            authority_key_identifier: fields.authority_key_identifier,
            entries: fields.entries,
            tbs: signed.tbs.whole.to_vec(),
            signature_algorithm: signed.signature_algorithm.to_vec(),
            signature: signed.signature.to_vec(),
        })
    }

    /// Verifies that this authority issued and signed the list.
    ///
    /// # Errors
    /// `signature_invalid`.
    pub fn verify_signed_by(&self, issuer: &IssuerInfo) -> Result<(), Refusal> {
        let fits = self.issuer_der == issuer.name_der
            && self.authority_key_identifier == issuer.key_identifier
            && self.signature_algorithm == issuer.signature_algorithm_der();
        if fits {
            algorithm::verify(&issuer.public_key, &self.tbs, &self.signature)
        } else {
            Err(Refusal::new(ErrorCode::SignatureInvalid, "the list is of another issuer"))
        }
    }

    /// The entry of a serial number.
    pub fn find(&self, serial: &SerialNumber) -> Option<&RevokedEntry> {
        self.entries.iter().find(|entry| entry.serial == *serial)
    }
}

fn malformed(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::CrlMalformed, "this is not an X.509 version 2 revocation list")
}

struct Fields<'a> {
    header: CrlHeader,
    issuer: &'a [u8],
    authority_key_identifier: Vec<u8>,
    entries: Vec<RevokedEntry>,
}

impl<'a> Fields<'a> {
    fn read(signed: &Signed<'a>) -> Result<Self, Malformed> {
        let mut fields = signed.tbs.reader();
        let version = fields.expect(tag::INTEGER)?.small()?;
        let algorithm = fields.expect(tag::SEQUENCE)?.whole;
        if version != 1 || algorithm != signed.signature_algorithm {
            return Err(Malformed);
        }
        let issuer = fields.expect(tag::SEQUENCE)?.whole;
        let (this_update, next_update) = (fields.next()?.time()?, fields.next()?.time()?);
        let entries = match fields.optional(tag::SEQUENCE)? {
            Some(list) => read_entries(&list)?,
            None => Vec::new(),
        };
        let extensions = fields.expect(tag::context_constructed(0))?.only(tag::SEQUENCE)?;
        fields.finish()?;
        let extensions = ext::read_list(&extensions)?;
        let number = ext::find(&extensions, &CRL_NUMBER).ok_or(Malformed)?;
        let number = Reader::new(&number.value).expect(tag::INTEGER)?.small()?;
        let authority = ext::find(&extensions, &AUTHORITY_KEY_IDENTIFIER).ok_or(Malformed)?;
        Ok(Self {
            header: CrlHeader { number, this_update, next_update },
            issuer,
            authority_key_identifier: ext::read_authority_key_identifier(&authority.value)?
                .ok_or(Malformed)?,
            entries,
        })
    }
}

fn read_entries(list: &Value<'_>) -> Result<Vec<RevokedEntry>, Malformed> {
    let mut reader = list.reader();
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(read_entry(&reader.expect(tag::SEQUENCE)?)?);
    }
    if entries.is_empty() { Err(Malformed) } else { Ok(entries) }
}

fn read_entry(entry: &Value<'_>) -> Result<RevokedEntry, Malformed> {
    let mut fields = entry.reader();
    let serial = fields.expect(tag::INTEGER)?.unsigned()?;
    let revoked_at = fields.next()?.time()?;
    let extensions = match fields.optional(tag::SEQUENCE)? {
        Some(list) => ext::read_list(&list)?,
        None => Vec::new(),
    };
    fields.finish()?;
    let reason = match ext::find(&extensions, &REASON_CODE) {
        Some(extension) => Some(read_reason(&extension.value)?),
        None => None,
    };
    let invalidity_date = match ext::find(&extensions, &INVALIDITY_DATE) {
        Some(extension) => Some(Reader::new(&extension.value).expect(tag::GENERALIZED_TIME)?.time()?),
        None => None,
    };
    Ok(RevokedEntry { serial: serial_number(serial)?, revoked_at, reason, invalidity_date })
}

fn read_reason(der: &[u8]) -> Result<RevocationReason, Malformed> {
    let code = Reader::new(der).expect(tag::ENUMERATED)?.small()?;
    u8::try_from(code).ok().and_then(RevocationReason::from_code).ok_or(Malformed)
}

/// A serial number from an unsigned number without sign octet.
pub(crate) fn serial_number(unsigned: &[u8]) -> Result<SerialNumber, Malformed> {
    let mut positive = vec![0];
    positive.extend_from_slice(unsigned);
    SerialNumber::from_bytes(&positive).map_err(|_| Malformed)
}
