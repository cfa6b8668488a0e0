//! One suite for every provider of a master key.

use clm_secure::MasterKey;
use clm_secure::master_key::{Opener, SealedKey, TokenKey};
use clm_testkit::SoftHsm;
use clm_types::{Clock, Entropy};
use zeroize::Zeroizing;

use crate::tokens::{token, turn};

const PASSPHRASE: &[u8] = b"a passphrase for a test";

/// What every master key does, and `other` must not undo.
async fn suite(master: &MasterKey, again: &MasterKey, other: &MasterKey) {
    let entropy = Entropy::system();
    let data_key = Zeroizing::new(entropy.bytes::<32>().to_vec());
    let wrapped = master.wrap(&entropy, "encryption_keys/1", &data_key).await.unwrap();
    assert_eq!(again.reference(), master.reference());
    assert_eq!(again.unwrap("encryption_keys/1", &wrapped).await.unwrap(), data_key);
    assert_ne!(wrapped, master.wrap(&entropy, "encryption_keys/1", &data_key).await.unwrap());
    assert!(!wrapped.windows(8).any(|part| data_key.windows(8).any(|secret| secret == part)));
    assert!(master.unwrap("encryption_keys/2", &wrapped).await.is_err(), "moved");
    for octet in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[octet] ^= 1;
        assert!(master.unwrap("encryption_keys/1", &changed).await.is_err(), "octet {octet}");
    }
    for length in [0, 11, 12, wrapped.len() - 1] {
        assert!(master.unwrap("encryption_keys/1", &wrapped[..length]).await.is_err(), "cut to {length}");
    }
    assert_ne!(other.reference(), master.reference());
    assert!(other.unwrap("encryption_keys/1", &wrapped).await.is_err(), "another master key");
    assert!(format!("{master:?}").contains("[redacted]"));
}

#[tokio::test]
async fn a_sealed_file_with_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("one"), folder.path().join("two"));
    let (now, entropy) = (Clock::system().now(), Entropy::system());
    let master = SealedKey::create(&path, PASSPHRASE, now, &entropy).unwrap();
    let other = SealedKey::create(&other, PASSPHRASE, now, &entropy).unwrap();
    let again = SealedKey::open(&path, Opener::Passphrase(PASSPHRASE)).unwrap();
    suite(&master.into(), &again.into(), &other.into()).await;
}

#[tokio::test]
async fn a_sealed_file_with_a_quorum() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("one"), folder.path().join("two"));
    let (now, entropy) = (Clock::system().now(), Entropy::system());
    let (master, shares) = SealedKey::create_shared(&path, 3, 5, now, &entropy).unwrap();
    let (other, _) = SealedKey::create_shared(&other, 3, 5, now, &entropy).unwrap();
    let again = SealedKey::open(&path, Opener::Shares(&shares[2..])).unwrap();
    suite(&master.into(), &again.into(), &other.into()).await;
}

#[tokio::test]
async fn a_key_in_a_token() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("master");
    let token = token(&softhsm);
    let (master, other) = (TokenKey::new(token.clone(), "one"), TokenKey::new(token.clone(), "two"));
    assert!(master.create().await.unwrap() && other.create().await.unwrap());
    assert!(!master.create().await.unwrap(), "a master key is never made twice");
    master.check().await.unwrap();
    let again = TokenKey::new(token, "one");
    suite(&MasterKey::Token(master), &MasterKey::Token(again), &MasterKey::Token(other)).await;
}
