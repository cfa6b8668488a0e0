//! Files of the mutually authenticated link.

use std::path::PathBuf;

use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// Where one side's certificate, key and trust anchor lie (PEM).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Who may have issued the other side's certificate.
    pub ca_file: PathBuf,
    /// Own certificate with its chain.
    pub cert_file: PathBuf,
    /// Own key.
    pub key_file: PathBuf,
}

/// A file of the link that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct UnreadableFile {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl TlsFiles {
    fn identity(&self) -> Result<Identity, UnreadableFile> {
        Ok(Identity::from_pem(read(&self.cert_file)?, read(&self.key_file)?))
    }

    fn anchor(&self) -> Result<Certificate, UnreadableFile> {
        Ok(Certificate::from_pem(read(&self.ca_file)?))
    }

    /// For the calling side; `server_name` must be in the server's certificate.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn client(&self, server_name: &str) -> Result<ClientTlsConfig, UnreadableFile> {
        let tls = ClientTlsConfig::new().ca_certificate(self.anchor()?).identity(self.identity()?);
        Ok(tls.domain_name(server_name))
    }

    /// For the answering side: a client certificate is required.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn server(&self) -> Result<ServerTlsConfig, UnreadableFile> {
        let tls = ServerTlsConfig::new().identity(self.identity()?).client_ca_root(self.anchor()?);
        Ok(tls.client_auth_optional(false))
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, UnreadableFile> {
    std::fs::read(path).map_err(|source| UnreadableFile { path: path.clone(), source })
}
