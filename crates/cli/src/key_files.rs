//! Files with private keys: PKCS#8 (RFC 5958) and PKCS#12 (RFC 7292).

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, Pkcs12ImportPolicy, PrivateKey, PrivateKeyChain};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::CliError;
use crate::files;

/// OWASP's figure for PBKDF2-HMAC-SHA256.
const ITERATIONS: u32 = 600_000;

/// The one entry of a file that we make.
const ALIAS: &str = "key";

/// The private key of a file as PKCS#8 DER; with a passphrase, of a PKCS#12 file.
pub(crate) fn read(path: &Path, passphrase: Option<&str>) -> Result<Vec<u8>, CliError> {
    let octets = files::read(path)?;
    let Some(passphrase) = passphrase else { return read_pkcs8(path, &octets) };
    let unreadable = |error: p12_keystore::error::Error| {
        CliError::Usage(format!("{} cannot be read as PKCS#12: {error}", path.display()))
    };
    let store =
        KeyStore::from_pkcs12(&octets, passphrase, Pkcs12ImportPolicy::Relaxed).map_err(unreadable)?;
    let chain = store.private_key_chain();
    let (_, chain) =
        chain.ok_or_else(|| CliError::Usage(format!("{} holds no private key", path.display())))?;
    Ok(chain.key().as_der().to_vec())
}

fn read_pkcs8(path: &Path, octets: &[u8]) -> Result<Vec<u8>, CliError> {
    if !octets.starts_with(b"-----BEGIN") && std::str::from_utf8(octets).is_err() {
        return Ok(octets.to_vec());
    }
    match PrivateKeyDer::from_pem_slice(octets) {
        Ok(PrivateKeyDer::Pkcs8(key)) => Ok(key.secret_pkcs8_der().to_vec()),
        _ => Err(CliError::Usage(format!(
            "{0} is no unencrypted PKCS#8 key; convert it: openssl pkcs8 -topk8 -nocrypt -in {0} -out pkcs8.key",
            path.display()
        ))),
    }
}

/// PEM of a PKCS#8 key.
pub(crate) fn pkcs8_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// A PKCS#12 file with a key, its certificate and the chain.
pub(crate) fn pkcs12(pkcs8: &[u8], chain_pem: &[u8], passphrase: &str) -> Result<Vec<u8>, CliError> {
    let failed =
        |error: p12_keystore::error::Error| CliError::Answer(format!("no PKCS#12 file can be made: {error}"));
    let broken = |_| CliError::Answer("the chain cannot be read".to_owned());
    let chain: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(chain_pem).collect::<Result<_, _>>().map_err(broken)?;
    let certificates = chain.iter().map(|one| Certificate::from_der(one));
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let id = chain.first().map(|leaf| hex::encode(digest(&SHA256, leaf))).unwrap_or_default();
    let key = PrivateKey::from_der(PrivatePkcs8KeyDer::from(pkcs8).secret_pkcs8_der()).map_err(failed)?;
    let mut store = KeyStore::new();
    store.add_entry(ALIAS, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, certificates)));
    let writer = store.writer(passphrase).encryption_iterations(ITERATIONS).mac_iterations(ITERATIONS);
    writer.write().map_err(failed)
}
