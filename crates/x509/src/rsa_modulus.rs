//! Checks on the numbers of an RSA public key, before any library uses them.

use crate::{
    decode::{Malformed, Reader},
    encode::tag,
};
use clm_types::{ErrorCode, KeyAlgorithm, Refusal};
use std::sync::LazyLock;

/// Primes below this are tried as factors of a modulus.
const SIEVE_END: usize = 1 << 16;

/// The odd primes below [`SIEVE_END`], multiplied together into as few 64-bit numbers as possible: a modulus
/// is reduced once per product instead of once per prime.
static PRIME_PRODUCTS: LazyLock<Vec<(u64, Vec<u64>)>> = LazyLock::new(|| {
    let mut products: Vec<(u64, Vec<u64>)> = Vec::new();
    for prime in odd_primes() {
        match products.last_mut() {
            Some((product, primes)) if product.checked_mul(prime).is_some() => {
                *product *= prime;
                primes.push(prime);
            }
            _ => products.push((prime, vec![prime])),
        }
    }
    products
});

/// Reads an RSAPublicKey (RFC 8017 A.1.1) and says which size it is.
///
/// # Errors
/// `key_malformed`, `key_too_weak`, `key_algorithm_unsupported` (an odd size), `rsa_exponent_invalid`.
pub(crate) fn algorithm(rsa_public_key: &[u8]) -> Result<KeyAlgorithm, Refusal> {
    let (modulus, exponent) = split(rsa_public_key).map_err(malformed)?;
    let algorithm = size(modulus)?;
    check_exponent(exponent)?;
    Ok(algorithm)
}

/// Refuses a modulus that is even or has a small factor. Takes a quarter to half a millisecond.
///
/// # Errors
/// `key_malformed`, `rsa_modulus_weak`.
pub(crate) fn check(rsa_public_key: &[u8]) -> Result<(), Refusal> {
    let (modulus, _) = split(rsa_public_key).map_err(malformed)?;
    check_modulus(modulus)
}

fn malformed(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::KeyMalformed, "the key is not a well-formed RSAPublicKey")
}

fn split(rsa_public_key: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut outer = Reader::new(rsa_public_key);
    let mut key = outer.expect(tag::SEQUENCE)?.reader();
    outer.finish()?;
    let modulus = key.expect(tag::INTEGER)?.unsigned()?;
    let exponent = key.expect(tag::INTEGER)?.unsigned()?;
    key.finish()?;
    Ok((modulus, exponent))
}

fn size(modulus: &[u8]) -> Result<KeyAlgorithm, Refusal> {
    let unused = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
    match modulus.len() * 8 - unused {
        2048 => Ok(KeyAlgorithm::Rsa2048),
        3072 => Ok(KeyAlgorithm::Rsa3072),
        4096 => Ok(KeyAlgorithm::Rsa4096),
        bits if bits < 2048 => {
            Err(Refusal::new(ErrorCode::KeyTooWeak, format!("the RSA modulus has {bits} bits"))
                .hint("2048 bits are the least; better 3072, or ECDSA P-256"))
        }
        bits => {
            Err(Refusal::new(ErrorCode::KeyAlgorithmUnsupported, format!("the RSA modulus has {bits} bits"))
                .hint("RSA keys of 2048, 3072 and 4096 bits are taken"))
        }
    }
}

/// Odd, at least 65537, at most 64 bits.
fn check_exponent(exponent: &[u8]) -> Result<(), Refusal> {
    let odd = exponent.last().is_some_and(|octet| octet & 1 == 1);
    let fits = exponent.len() <= 8;
    let value = exponent.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    if odd && fits && value >= 65537 {
        Ok(())
    } else {
        Err(Refusal::new(ErrorCode::RsaExponentInvalid, "the RSA exponent is even, below 65537 or too large")
            .hint("use 65537"))
    }
}

/// Odd and without a factor below [`SIEVE_END`].
fn check_modulus(modulus: &[u8]) -> Result<(), Refusal> {
    let even = modulus.last().is_none_or(|octet| octet & 1 == 0);
    if even || has_small_factor(modulus) {
        Err(Refusal::new(ErrorCode::RsaModulusWeak, "the RSA modulus is even or divisible by a small prime")
            .hint("the key generator is broken: make a new key with another"))
    } else {
        Ok(())
    }
}

fn has_small_factor(modulus: &[u8]) -> bool {
    let limbs: Vec<u64> = modulus
        .rchunks(8)
        .rev()
        .map(|chunk| chunk.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
        .collect();
    PRIME_PRODUCTS.iter().any(|(product, primes)| {
        let remainder = remainder(&limbs, *product);
        primes.iter().any(|prime| remainder.is_multiple_of(*prime))
    })
}

/// `limbs` (most significant first) modulo `divisor`.
fn remainder(limbs: &[u64], divisor: u64) -> u64 {
    limbs.iter().fold(0, |remainder, limb| {
        let dividend = u128::from(remainder) << 64 | u128::from(*limb);
        u64::try_from(dividend % u128::from(divisor)).unwrap_or_default()
    })
}

/// Eratosthenes.
fn odd_primes() -> Vec<u64> {
    let mut composite = vec![false; SIEVE_END];
    let mut primes = Vec::new();
    for number in (3..SIEVE_END).step_by(2) {
        if composite.get(number).copied().unwrap_or(true) {
            continue;
        }
        primes.push(number as u64);
        for multiple in (number * number..SIEVE_END).step_by(number) {
            if let Some(entry) = composite.get_mut(multiple) {
                *entry = true;
            }
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sieve_finds_all_primes_below_its_end() {
        let primes = odd_primes();
        assert_eq!(primes.len(), 6541);
        assert_eq!((primes[0], primes[6540]), (3, 65521));
    }

    #[test]
    fn a_product_with_each_small_prime_is_found() {
        let large = 0xffff_ffff_ffff_ffc5_u64; // the largest prime of 64 bits
        assert!(!has_small_factor(&large.to_be_bytes()));
        for prime in odd_primes() {
            let product = u128::from(large) * u128::from(prime);
            assert!(has_small_factor(&product.to_be_bytes()), "{prime}");
        }
    }

    #[test]
    fn sizes_and_exponents_out_of_the_list_are_refused() {
        let sized = |octets: usize, first: u8| {
            let mut modulus = vec![0xff; octets];
            modulus[0] = first;
            size(&modulus).map_err(|refusal| refusal.code)
        };
        assert_eq!(sized(256, 0x80), Ok(KeyAlgorithm::Rsa2048));
        assert_eq!(sized(256, 0x7f), Err(ErrorCode::KeyTooWeak));
        assert_eq!(sized(128, 0xff), Err(ErrorCode::KeyTooWeak));
        assert_eq!(sized(320, 0xff), Err(ErrorCode::KeyAlgorithmUnsupported));
        assert_eq!(sized(1024, 0xff), Err(ErrorCode::KeyAlgorithmUnsupported));
        for exponent in [&[1][..], &[3], &[1, 0, 0], &[0xff, 0xff], &[1; 9], &[1, 0, 2]] {
            assert_eq!(check_exponent(exponent).unwrap_err().code, ErrorCode::RsaExponentInvalid);
        }
        assert!(check_exponent(&[1, 0, 1]).is_ok());
    }
}
