//! An authenticator program, as a person has it.

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use clm_types::Time;

/// The code of a base32 secret at a time (RFC 6238: SHA-1, six digits, thirty seconds).
pub fn code(secret: &str, now: Time) -> String {
    let step = u64::try_from(now.timestamp()).expect("the time is after 1970") / 30;
    let tag = sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret)), &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[19] & 0xf);
    let number = u32::from_be_bytes(tag[offset..offset + 4].try_into().expect("four octets")) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The octets of a base32 secret.
pub fn base32(text: &str) -> Vec<u8> {
    let digits = text.chars().map(|one| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(one).expect("base32"));
    let bits: Vec<bool> =
        digits.flat_map(|digit| (0..5).rev().map(move |bit| digit >> bit & 1 == 1)).collect();
    bits.chunks_exact(8).map(|octet| octet.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Appendix B, the last six digits.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (seconds, expected) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(code(secret, DateTime::from_timestamp(seconds, 0).expect("a time")), expected);
        }
    }
}
