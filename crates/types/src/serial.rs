//! Certificate serial numbers.

use crate::Entropy;

/// A serial number: 20 octets, positive, 158 random bits (RFC 5280 §4.1.2.2 allows 20 octets at most).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SerialNumber(Vec<u8>);

/// A byte string that cannot be a serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is a positive integer of 1 to 20 octets")]
pub struct InvalidSerial;

impl SerialNumber {
    /// A random serial of exactly 20 octets, its top bit clear and the next set.
    pub fn generate(entropy: &Entropy) -> Self {
        let mut octets: [u8; 20] = entropy.bytes();
        octets[0] = (octets[0] & 0x7f) | 0x40;
        Self(octets.to_vec())
    }

    /// From the content octets of a DER INTEGER or an unsigned big-endian number.
    ///
    /// # Errors
    /// When empty, zero, negative or longer than 20 octets.
    pub fn from_bytes(octets: &[u8]) -> Result<Self, InvalidSerial> {
        let start = octets.iter().position(|o| *o != 0).ok_or(InvalidSerial)?;
        let minimal = octets.get(start..).ok_or(InvalidSerial)?;
        let negative = start == 0 && minimal.first().is_some_and(|o| o & 0x80 != 0);
        let der_length = minimal.len() + usize::from(minimal.first().is_some_and(|o| o & 0x80 != 0));
        if negative || der_length > 20 { Err(InvalidSerial) } else { Ok(Self(minimal.to_vec())) }
    }

    /// From an unsigned big-endian number.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], but never as negative.
    pub fn from_unsigned(octets: &[u8]) -> Result<Self, InvalidSerial> {
        Self::from_bytes(&[&[0], octets].concat())
    }

    /// Unsigned big-endian, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl std::str::FromStr for SerialNumber {
    type Err = InvalidSerial;

    /// Hexadecimal digits; colons and spaces are passed over, a leading `00` means positive.
    fn from_str(text: &str) -> Result<Self, InvalidSerial> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
        let octets = hex::decode(even).map_err(|_| InvalidSerial)?;
        Self::from_unsigned(&octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_serial_is_positive_and_20_octets() {
        let serial = SerialNumber::generate(&Entropy::seeded(7));
        assert_eq!(serial.as_bytes().len(), 20);
        assert!(serial.as_bytes()[0] < 0x80);
        assert_eq!(serial.to_string().parse::<SerialNumber>().unwrap(), serial);
    }

    #[test]
    fn zero_negative_and_long_serials_are_refused() {
        for octets in [&[][..], &[0], &[0, 0], &[0x80], &[1; 21], &[0xff; 20]] {
            assert!(SerialNumber::from_bytes(octets).is_err(), "{octets:?}");
        }
        assert_eq!(SerialNumber::from_bytes(&[0, 0xff]).unwrap().to_string(), "ff");
    }
}
