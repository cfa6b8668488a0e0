//! Ed25519 points that are no keys: under a point of small order anybody's signature may verify (RFC 8032 §8.9 leaves
//! the check to the application).

use clm_types::{ErrorCode, Refusal};

/// The y coordinates, little-endian, of the points whose order divides the cofactor 8, and those of them that are
/// written with a y of the prime or more.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Refuses the 32 octets of a point of small order.
///
/// # Errors
/// `key_malformed`.
pub(crate) fn check(octets: &[u8]) -> Result<(), Refusal> {
    let mut y = octets.to_vec();
    // The highest bit is the sign of x.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    if SMALL_ORDER.contains(&hex::encode(y).as_str()) {
        return Err(Refusal::new(ErrorCode::KeyMalformed, "the Ed25519 key is a point of small order")
            .hint("make a new key pair; no generator gives such a key"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_small_order_are_refused_with_either_sign() {
        for point in SMALL_ORDER {
            let mut octets = hex::decode(point).unwrap();
            check(&octets).unwrap_err();
            octets[31] |= 0x80;
            assert_eq!(check(&octets).unwrap_err().code, ErrorCode::KeyMalformed);
        }
        check(&[0x42; 32]).unwrap();
    }
}
