//! A sealing key split among custodians: any `threshold` of their shares give it back, fewer say nothing about it
//! (Shamir's secret sharing over GF(2^8)).

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use clm_types::Entropy;
use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use vsss_rs::Gf256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::MasterKeyError;
use super::sealed_file::write_new;
use crate::wrapping::KEY_OCTETS;

const FORMAT: &str = "clm-master-key-share/1";

/// What one custodian holds.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Share {
    format: String,
    /// The master key that it opens a part of.
    pub reference: String,
    /// Which of the shares it is, from 1.
    pub number: u8,
    /// How many are needed.
    pub threshold: u8,
    #[serde(rename = "share")]
    secret: String,
}

impl Share {
    /// Reads a share's file.
    ///
    /// # Errors
    /// When it cannot be read or is no share.
    pub fn read(path: &Path) -> Result<Self, MasterKeyError> {
        let text =
            std::fs::read(path).map_err(|source| MasterKeyError::File { path: path.into(), source })?;
        let share: Self = serde_json::from_slice(&Zeroizing::new(text))
            .map_err(|source| MasterKeyError::Unreadable { path: path.into(), source })?;
        if share.format == FORMAT { Ok(share) } else { Err(MasterKeyError::WrongShare(share.number)) }
    }

    /// Writes the share into a new file that nobody else may read.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), MasterKeyError> {
        write_new(path, self)
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({} of {}, [redacted])", self.number, self.reference)
    }
}

/// Who opens a sealed file together. The digests tell a wrong share from a right one; a share has 256 random bits, so
/// that they give nothing away.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Quorum {
    pub(super) threshold: u8,
    /// SHA-256 of every share, hexadecimal, in the order of their numbers.
    share_sha256: Vec<String>,
}

impl Quorum {
    pub(super) fn check(&self, reference: &str, share: &Share) -> Result<(), MasterKeyError> {
        let wrong = || MasterKeyError::WrongShare(share.number);
        let octets = STANDARD.decode(&share.secret).map(Zeroizing::new).map_err(|_| wrong())?;
        let place = usize::from(share.number).checked_sub(1).ok_or_else(wrong)?;
        let known = self.share_sha256.get(place).ok_or_else(wrong)?;
        if share.reference == reference && *known == fingerprint(&octets) { Ok(()) } else { Err(wrong()) }
    }

    /// The sealing key, when enough different shares are there.
    pub(super) fn combine(
        &self,
        reference: &str,
        shares: &[Share],
    ) -> Result<Zeroizing<[u8; KEY_OCTETS]>, MasterKeyError> {
        let mut different = BTreeMap::new();
        for share in shares {
            self.check(reference, share)?;
            different.insert(share.number, STANDARD.decode(&share.secret).unwrap_or_default());
        }
        let have = u8::try_from(different.len()).unwrap_or(u8::MAX);
        if have < self.threshold {
            return Err(MasterKeyError::NotEnoughShares { have, need: self.threshold });
        }
        let mut octets: Vec<Vec<u8>> = different.into_values().collect();
        let combined = Gf256::combine_bytes(&octets).map(Zeroizing::new);
        octets.zeroize();
        let combined =
            combined.map_err(|_| MasterKeyError::NotEnoughShares { have, need: self.threshold })?;
        let mut key = Zeroizing::new([0; KEY_OCTETS]);
        if combined.len() != KEY_OCTETS {
            return Err(MasterKeyError::NotEnoughShares { have, need: self.threshold });
        }
        key.copy_from_slice(&combined);
        Ok(key)
    }
}

/// Splits `secret` into `count` shares of which `threshold` are needed.
pub(super) fn split(
    reference: &str,
    secret: &[u8; KEY_OCTETS],
    threshold: u8,
    count: u8,
    entropy: &Entropy,
) -> Result<(Quorum, Vec<Share>), MasterKeyError> {
    let impossible = || MasterKeyError::NoQuorum { threshold, count };
    if threshold < 2 || count < threshold {
        return Err(impossible());
    }
    let generator = StdRng::from_seed(entropy.bytes());
    let split = Gf256::split_bytes(threshold.into(), count.into(), secret, generator);
    let mut octets = split.map_err(|_| impossible())?;
    let share_sha256 = octets.iter().map(|share| fingerprint(share)).collect();
    let shares = (1..).zip(&octets).map(|(number, share)| Share {
        format: FORMAT.into(),
        reference: reference.into(),
        number,
        threshold,
        secret: STANDARD.encode(share),
    });
    let shares = shares.collect();
    octets.zeroize();
    Ok((Quorum { threshold, share_sha256 }, shares))
}

fn fingerprint(share: &[u8]) -> String {
    hex::encode(digest(&SHA256, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; KEY_OCTETS] = [7; KEY_OCTETS];

    fn three_of_five() -> (Quorum, Vec<Share>) {
        split("key", &SECRET, 3, 5, &Entropy::seeded(1)).unwrap()
    }

    #[test]
    fn any_quorum_gives_the_secret_and_fewer_do_not() {
        let (quorum, shares) = three_of_five();
        for chosen in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let chosen: Vec<_> = chosen.iter().map(|place: &usize| shares[*place].clone()).collect();
            assert_eq!(*quorum.combine("key", &chosen).unwrap(), SECRET);
        }
        let twice = [shares[0].clone(), shares[1].clone(), shares[1].clone()];
        assert!(matches!(
            quorum.combine("key", &twice),
            Err(MasterKeyError::NotEnoughShares { have: 2, need: 3 })
        ));
    }

    #[test]
    fn a_share_of_another_key_or_a_changed_one_is_named() {
        let (quorum, mut shares) = three_of_five();
        assert!(matches!(quorum.combine("other", &shares), Err(MasterKeyError::WrongShare(1))));
        shares[2].secret = shares[3].secret.clone();
        assert!(matches!(quorum.combine("key", &shares), Err(MasterKeyError::WrongShare(3))));
        assert!(!format!("{shares:?}").contains(&shares[0].secret));
    }

    #[test]
    fn what_makes_no_quorum_is_refused() {
        for (threshold, count) in [(0, 0), (1, 1), (1, 5), (4, 3)] {
            let refused = split("key", &SECRET, threshold, count, &Entropy::seeded(1));
            assert!(matches!(refused, Err(MasterKeyError::NoQuorum { .. })), "{threshold} of {count}");
        }
    }
}
