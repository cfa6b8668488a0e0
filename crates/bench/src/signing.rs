//! The ceiling of one core: signatures and nothing else.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

/// Bytes to sign: about the to-be-signed part of a certificate.
const MESSAGE_BYTES: usize = 600;
const BETWEEN_LOOKS: u32 = 100;

/// ECDSA P-256 signatures per second on one core.
pub(crate) fn signatures_per_second(duration: Duration) -> Result<f64> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
        .map_err(|_| anyhow!("a key could not be made"))?;
    let (random, message) = (SystemRandom::new(), [7; MESSAGE_BYTES]);
    let begin = Instant::now();
    let mut signatures = 0_u32;
    while begin.elapsed() < duration {
        for _ in 0..BETWEEN_LOOKS {
            key.sign(&random, &message).map_err(|_| anyhow!("signing failed"))?;
        }
        signatures += BETWEEN_LOOKS;
    }
    Ok(f64::from(signatures) / begin.elapsed().as_secs_f64())
}
