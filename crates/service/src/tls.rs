//! TLS of the public listener and of its clients, from PEM files, with `aws-lc-rs` alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// TLS files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, may not be read, or is not PEM.
    #[error("cannot use {} as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("there is no certificate in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("the certificate {} cannot be used", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

/// Makes `aws-lc-rs` the provider of every library that asks the process for one.
pub fn install_provider() {
    // An error means that one is installed already, and only this one is linked.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// For the API: TLS 1.2 and 1.3, anonymous clients, HTTP/2 and HTTP/1.1.
pub fn public_server(cert_file: &Path, key_file: &Path) -> Result<ServerConfig, TlsError> {
    let unusable = |source| TlsError::Unusable { path: cert_file.to_owned(), source };
    let chain = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|source| TlsError::Pem { path: key_file.to_owned(), source })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// For clients of the API: trusts the authorities of `ca_file` and nobody else.
pub fn public_client(ca_file: &Path) -> Result<ClientConfig, TlsError> {
    let unusable = |source| TlsError::Unusable { path: ca_file.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(unusable)?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(pem)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_certificate_needs_its_own_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for stem in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(file(&format!("{stem}.pem")), made.cert.pem()).unwrap();
            fs::write(file(&format!("{stem}.key")), made.signing_key.serialize_pem()).unwrap();
        }
        assert!(public_server(&file("a.pem"), &file("a.key")).is_ok());
        assert!(matches!(public_server(&file("a.pem"), &file("b.key")), Err(TlsError::Unusable { .. })));
        assert!(matches!(public_server(&file("a.key"), &file("a.key")), Err(TlsError::Empty { .. })));
        assert!(matches!(public_server(&file("c.pem"), &file("a.key")), Err(TlsError::Pem { .. })));
        assert!(public_client(&file("a.pem")).is_ok());
    }
}
