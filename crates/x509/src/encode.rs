//! Writing DER, append-only.
//!
//! What we sign is written here and read back by another implementation (`x509-cert`) in the lint, so that
//! one mistake does not hide in both.

use chrono::{DateTime, Datelike, Timelike, Utc};
use const_oid::ObjectIdentifier;

/// Tag octets of the universal types in use.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// Context-specific, primitive (an IMPLICIT string or integer).
    pub(crate) const fn context(number: u8) -> u8 {
        0x80 | number
    }

    /// Context-specific, constructed (EXPLICIT, or an IMPLICIT sequence).
    pub(crate) const fn context_constructed(number: u8) -> u8 {
        0xa0 | number
    }
}

/// The tag and length octets of a value of `length` octets.
pub(crate) fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or_default());
        return out;
    }
    let octets = length.to_be_bytes();
    let significant = octets.iter().skip_while(|octet| **octet == 0);
    let count = significant.clone().count();
    out.push(0x80 | u8::try_from(count).unwrap_or_default());
    out.extend(significant);
    out
}

/// One value from its content octets.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = header(tag, content.len());
    out.extend_from_slice(content);
    out
}

/// One value from the parts of its content.
pub(crate) fn constructed<P: AsRef<[u8]>>(tag: u8, parts: &[P]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.as_ref().len()).sum();
    let mut out = header(tag, length);
    for part in parts {
        out.extend_from_slice(part.as_ref());
    }
    out
}

/// SEQUENCE of the given values.
pub(crate) fn sequence<P: AsRef<[u8]>>(parts: &[P]) -> Vec<u8> {
    constructed(tag::SEQUENCE, parts)
}

/// INTEGER from an unsigned big-endian number.
pub(crate) fn unsigned(octets: &[u8]) -> Vec<u8> {
    let minimal: Vec<u8> = octets.iter().copied().skip_while(|octet| *octet == 0).collect();
    let mut content = Vec::with_capacity(minimal.len() + 1);
    if minimal.first().is_none_or(|octet| octet & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(&minimal);
    tlv(tag::INTEGER, &content)
}

/// OBJECT IDENTIFIER.
pub(crate) fn oid(oid: &ObjectIdentifier) -> Vec<u8> {
    tlv(tag::OID, oid.as_bytes())
}

/// BIT STRING of whole octets.
pub(crate) fn bit_string(octets: &[u8]) -> Vec<u8> {
    constructed(tag::BIT_STRING, &[&[0][..], octets])
}

/// `Time` of RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; whole seconds.
pub(crate) fn time(at: DateTime<Utc>) -> Vec<u8> {
    if (1950..2050).contains(&at.year()) {
        tlv(tag::UTC_TIME, digits(at).get(2..).unwrap_or_default())
    } else {
        generalized_time(at)
    }
}

/// GeneralizedTime in whole seconds, Zulu (RFC 5280 §4.1.2.5.2).
pub(crate) fn generalized_time(at: DateTime<Utc>) -> Vec<u8> {
    tlv(tag::GENERALIZED_TIME, &digits(at))
}

/// `YYYYMMDDHHMMSSZ`. A list has a million of them, for which chrono's formatting is slow.
fn digits(at: DateTime<Utc>) -> [u8; 15] {
    let year = at.year().unsigned_abs();
    let pairs = [year / 100, year % 100, at.month(), at.day(), at.hour(), at.minute(), at.second()];
    let mut out = [b'Z'; 15];
    for (place, pair) in out.chunks_exact_mut(2).zip(pairs) {
        let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or_default();
        place.copy_from_slice(&[digit(pair / 10), digit(pair)]);
    }
    out
}

/// `Extension` of RFC 5280 §4.1: FALSE is the default and so is not written.
pub(crate) fn extension(id: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[tag::BOOLEAN, 1, 0xff] } else { &[] };
    sequence(&[&oid(id)[..], critical, &tlv(tag::OCTET_STRING, value)])
}

/// `SEQUENCE { tbs, signatureAlgorithm, signature BIT STRING }`: certificate, CRL and OCSP response alike.
pub(crate) fn signed(tbs: &[u8], signature_algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    sequence(&[tbs, signature_algorithm, &bit_string(signature)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        assert_eq!(header(4, 0x7f), [4, 0x7f]);
        assert_eq!(header(4, 0x80), [4, 0x81, 0x80]);
        assert_eq!(header(4, 0x1234), [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn unsigned_integers_are_minimal_and_positive() {
        assert_eq!(unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
    }

    #[test]
    fn a_time_in_2050_is_a_generalized_time() {
        let last = DateTime::parse_from_rfc3339("2049-12-31T23:59:59.9Z").unwrap().to_utc();
        assert_eq!(time(last), tlv(tag::UTC_TIME, b"491231235959Z"));
        let first = DateTime::parse_from_rfc3339("2050-01-01T00:00:00Z").unwrap().to_utc();
        assert_eq!(time(first), tlv(tag::GENERALIZED_TIME, b"20500101000000Z"));
    }
}
