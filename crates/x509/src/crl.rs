//! Revocation lists (RFC 5280 §5): full, delta, and of a part of an authority's certificates.
//!
//! A list is written and read piece by piece, so that its size does not matter to memory.

mod reader;

use crate::{
    algorithm,
    encode::{self, tag},
    extension::{
        self as ext, AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER, DELTA_CRL_INDICATOR, FRESHEST_CRL,
        INVALIDITY_DATE, ISSUING_DISTRIBUTION_POINT, REASON_CODE,
    },
    issuer::IssuerInfo,
    pem,
};
use chrono::{DateTime, Utc};
use clm_types::{Refusal, RevocationReason, SerialNumber};

pub use reader::CrlReader;
pub(crate) use reader::{read_entry, serial_number};

/// What a list says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlHeader {
    /// The CRL number, growing with each list of the same scope.
    pub number: u64,
    /// When it was made.
    pub this_update: DateTime<Utc>,
    /// When the next will be there at the latest.
    pub next_update: DateTime<Utc>,
    /// The number of the full list that this one adds to; none for a full list (RFC 5280 §5.2.4).
    pub base_number: Option<u64>,
    /// The distribution point that the certificates name which the list is about; none when it is about all of the
    /// authority's certificates (RFC 5280 §5.2.5).
    pub distribution_point: Option<String>,
    /// Where the delta to this full list is (RFC 5280 §5.2.6).
    pub freshest_crl: Option<String>,
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

impl RevokedEntry {
    /// Writes the entry after what is in `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let reason = self
            .reason
            .filter(|reason| *reason != RevocationReason::Unspecified)
            .map(|reason| encode::extension(&REASON_CODE, false, &[tag::ENUMERATED, 1, reason.code()]));
        let invalidity = self
            .invalidity_date
            .map(|date| encode::extension(&INVALIDITY_DATE, false, &encode::generalized_time(date)));
        let extensions: Vec<Vec<u8>> = reason.into_iter().chain(invalidity).collect();
        let extensions = if extensions.is_empty() { Vec::new() } else { encode::sequence(&extensions) };
        let serial = encode::unsigned(self.serial.as_bytes());
        let revoked_at = encode::time(self.revoked_at);
        let length = serial.len() + revoked_at.len() + extensions.len();
        out.extend_from_slice(&encode::header(tag::SEQUENCE, length));
        out.extend_from_slice(&serial);
        out.extend_from_slice(&revoked_at);
        out.extend_from_slice(&extensions);
    }
}

/// What stands before and after the entries of a list that is to be signed.
#[derive(Debug, Clone)]
pub struct CrlFrame {
    /// The to-be-signed octets before the entries.
    pub tbs_head: Vec<u8>,
    /// The to-be-signed octets after the entries.
    pub tbs_tail: Vec<u8>,
    tbs_length: usize,
}

impl CrlFrame {
    /// The frame around entries of `entries_length` octets.
    pub fn new(issuer: &IssuerInfo, header: &CrlHeader, entries_length: usize) -> Self {
        let list_header =
            if entries_length == 0 { Vec::new() } else { encode::header(tag::SEQUENCE, entries_length) };
        let fields = [
            encode::unsigned(&[1]),
            issuer.signature_algorithm_der(),
            issuer.name_der.clone(),
            encode::time(header.this_update),
            encode::time(header.next_update),
            list_header,
        ]
        .concat();
        let tbs_tail = encode::tlv(tag::context_constructed(0), &extensions(issuer, header));
        let content_length = fields.len() + entries_length + tbs_tail.len();
        let tbs_head = [encode::header(tag::SEQUENCE, content_length), fields].concat();
        let tbs_length = tbs_head.len() + entries_length + tbs_tail.len();
        Self { tbs_head, tbs_tail, tbs_length }
    }

    /// The octets of the whole list before and after the to-be-signed ones.
    pub fn sign(&self, issuer: &IssuerInfo, signature: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let tail = [issuer.signature_algorithm_der(), encode::bit_string(signature)].concat();
        (encode::header(tag::SEQUENCE, self.tbs_length + tail.len()), tail)
    }
}

fn extensions(issuer: &IssuerInfo, header: &CrlHeader) -> Vec<u8> {
    let number = |number: u64| encode::unsigned(&number.to_be_bytes());
    let authority = ext::authority_key_identifier(&issuer.key_identifier);
    let mut list = vec![
        encode::extension(&AUTHORITY_KEY_IDENTIFIER, false, &authority),
        encode::extension(&CRL_NUMBER, false, &number(header.number)),
    ];
    list.extend(header.base_number.map(|base| encode::extension(&DELTA_CRL_INDICATOR, true, &number(base))));
    list.extend(header.distribution_point.as_deref().map(|url| {
        encode::extension(&ISSUING_DISTRIBUTION_POINT, true, &ext::issuing_distribution_point(url))
    }));
    list.extend(
        header
            .freshest_crl
            .as_deref()
            .map(|url| encode::extension(&FRESHEST_CRL, false, &ext::crl_distribution_points(url))),
    );
    encode::sequence(&list)
}

/// DER of a list as PEM.
pub fn to_pem(der: &[u8]) -> String {
    pem::encode(pem::CRL, der)
}

/// A list that was read as a whole, and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Number, times and scope.
    pub header: CrlHeader,
    /// Entries in their order.
    pub entries: Vec<RevokedEntry>,
}

impl Crl {
    /// Reads one list and nothing after it, and verifies that this authority signed it.
    ///
    /// # Errors
    /// `crl_malformed`, `signature_invalid`.
    pub fn read(der: &[u8], issuer: &IssuerInfo) -> Result<Self, Refusal> {
        let mut entries = Vec::new();
        let mut reader = CrlReader::new(issuer);
        reader.push(der, &mut entries)?;
        Ok(Self { header: reader.finish()?, entries })
    }

    /// The entry of a serial number.
    pub fn find(&self, serial: &SerialNumber) -> Option<&RevokedEntry> {
        self.entries.iter().find(|entry| entry.serial == *serial)
    }
}

/// Starts taking in what is to be signed by this authority.
pub fn to_be_signed(issuer: &IssuerInfo) -> algorithm::Message {
    algorithm::Message::new(issuer.public_key.algorithm())
}
