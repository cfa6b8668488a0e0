//! Reading DER strictly, keeping the original slices.
//!
//! Decoding and encoding again is not byte-stable in any library, so signatures are verified on the octets
//! that were received, never on a re-encoding.

use crate::encode::tag;
use chrono::{DateTime, NaiveDate, Utc};
use const_oid::ObjectIdentifier;

/// Octets that are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One value: its tag octet, its content, and the whole of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// A position in DER octets. Low tag numbers and definite, minimal lengths only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next tag octet, if anything is left.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value, whatever it is.
    pub(crate) fn next(&mut self) -> Result<Value<'a>, Malformed> {
        let (&tag, rest) = self.0.split_first().ok_or(Malformed)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let whole = self.0.get(..self.0.len() - rest.len()).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Value { tag, content, whole })
    }

    /// The next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        let value = self.next()?;
        if value.tag == tag { Ok(value) } else { Err(Malformed) }
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        if self.peek() == Some(tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub(crate) const fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

impl<'a> Value<'a> {
    /// Reads what is inside.
    pub(crate) const fn reader(&self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The single value inside, with nothing after it.
    pub(crate) fn only(&self, tag: u8) -> Result<Value<'a>, Malformed> {
        let mut reader = self.reader();
        let value = reader.expect(tag)?;
        reader.finish()?;
        Ok(value)
    }

    /// The content as an object identifier.
    pub(crate) fn oid(&self) -> Result<ObjectIdentifier, Malformed> {
        ObjectIdentifier::from_bytes(self.content).map_err(|_| Malformed)
    }

    /// The content of an INTEGER that is minimal and not negative, without its sign octet.
    pub(crate) fn unsigned(&self) -> Result<&'a [u8], Malformed> {
        match self.content {
            [] => Err(Malformed),
            [0, next, ..] if next & 0x80 == 0 => Err(Malformed),
            [0, rest @ ..] if !rest.is_empty() => Ok(rest),
            [first, ..] if first & 0x80 != 0 => Err(Malformed),
            all => Ok(all),
        }
    }

    /// An INTEGER or ENUMERATED that fits.
    pub(crate) fn small(&self) -> Result<u64, Malformed> {
        let octets = self.unsigned()?;
        if octets.len() > 8 {
            return Err(Malformed);
        }
        Ok(octets.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
    }

    /// The content of a BIT STRING of whole octets.
    pub(crate) fn bit_string_octets(&self) -> Result<&'a [u8], Malformed> {
        match self.content.split_first() {
            Some((0, octets)) => Ok(octets),
            _ => Err(Malformed),
        }
    }

    /// UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 wants them.
    pub(crate) fn time(&self) -> Result<DateTime<Utc>, Malformed> {
        let digits = self.content.strip_suffix(b"Z").ok_or(Malformed)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        // A list has a million of them, for which chrono's parsing is slow.
        let pairs = digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')));
        let pairs: Vec<u32> = pairs.collect();
        let (century, rest) = match (self.tag, digits.len()) {
            (tag::UTC_TIME, 12) => {
                (if pairs.first().is_some_and(|year| *year < 50) { 20 } else { 19 }, pairs.as_slice())
            }
            (tag::GENERALIZED_TIME, 14) => {
                pairs.split_first().map(|(century, rest)| (*century, rest)).ok_or(Malformed)?
            }
            _ => return Err(Malformed),
        };
        let &[year, month, day, hour, minute, second] = rest else { return Err(Malformed) };
        let year = i32::try_from(century * 100 + year).map_err(|_| Malformed)?;
        let date = NaiveDate::from_ymd_opt(year, month, day).ok_or(Malformed)?;
        date.and_hms_opt(hour, minute, second).map(|naive| naive.and_utc()).ok_or(Malformed)
    }
}

/// The length of the value with this tag that begins here, and what follows its header.
pub(crate) fn header(octets: &[u8], tag: u8) -> Result<(usize, &[u8]), Malformed> {
    match octets.split_first() {
        Some((found, rest)) if *found == tag => length(rest),
        _ => Err(Malformed),
    }
}

/// A definite, minimal length and what follows it.
fn length(octets: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (&first, rest) = octets.split_first().ok_or(Malformed)?;
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed);
    }
    let (digits, rest) = rest.split_at_checked(count).ok_or(Malformed)?;
    let length = digits.iter().fold(0, |sum: usize, octet| sum << 8 | usize::from(*octet));
    let minimal = length >= 0x80 && digits.first().is_some_and(|octet| *octet != 0);
    if minimal { Ok((length, rest)) } else { Err(Malformed) }
}

/// `SEQUENCE { tbs, signatureAlgorithm, signature }` taken apart, on the original octets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) tbs: Value<'a>,
    pub(crate) signature_algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(crate) fn read(outer: &Value<'a>) -> Result<Self, Malformed> {
        let mut reader = outer.reader();
        let tbs = reader.expect(tag::SEQUENCE)?;
        let signature_algorithm = reader.expect(tag::SEQUENCE)?.whole;
        let signature = reader.expect(tag::BIT_STRING)?.bit_string_octets()?;
        reader.finish()?;
        Ok(Self { tbs, signature_algorithm, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_not_minimal_are_refused() {
        for octets in
            [&[4, 0x81, 0x01, 0][..], &[4, 0x80, 0, 0], &[4, 0x82, 0, 0x80], &[4, 5, 0], &[0x1f, 1, 0], &[4]]
        {
            assert!(Reader::new(octets).next().is_err(), "{octets:?}");
        }
    }

    #[test]
    fn an_integer_is_minimal_and_not_negative() {
        let read = |octets| Reader::new(octets).next().unwrap().unsigned().map(<[u8]>::to_vec);
        assert_eq!(read(&[2, 1, 0]), Ok(vec![0]));
        assert_eq!(read(&[2, 2, 0, 0x80]), Ok(vec![0x80]));
        for octets in [&[2, 0][..], &[2, 1, 0x80], &[2, 2, 0, 1]] {
            assert!(read(octets).is_err(), "{octets:?}");
        }
    }

    #[test]
    fn times_have_seconds_and_zulu() {
        let read = |text: &[u8]| Value { tag: tag::UTC_TIME, content: text, whole: text }.time();
        assert_eq!(read(b"491231235959Z").unwrap().to_rfc3339(), "2049-12-31T23:59:59+00:00");
        for text in [&b"4912312359Z"[..], b"491231235959", b"491231235959+0000", b"491331235959Z"] {
            assert!(read(text).is_err());
        }
    }
}
