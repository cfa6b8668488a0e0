//! Which peers may call: the common name of their certificate is on a list.

use std::sync::Arc;

use tonic::{Request, Status, service::Interceptor};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Refuses every call whose client certificate bears a name that is not listed.
///
/// TLS has checked by then that the platform's authority issued the certificate.
#[derive(Debug, Clone)]
pub struct PeerAllowList(Arc<[String]>);

/// The checked name of the caller, in the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName(pub String);

impl PeerAllowList {
    /// A list of common names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    fn check(&self, certificate: &[u8]) -> Result<PeerName, Status> {
        let name = common_name(certificate)
            .ok_or_else(|| Status::unauthenticated("no readable client certificate"))?;
        if self.0.contains(&name) {
            Ok(PeerName(name))
        } else {
            tracing::warn!(peer = %name, "refused a peer that is not on the allow-list");
            Err(Status::permission_denied(format!("peer `{name}` is not on the allow-list")))
        }
    }
}

impl Interceptor for PeerAllowList {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let certificates = request.peer_certs();
        let leaf = certificates.as_ref().and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        let peer = self.check(leaf)?;
        request.extensions_mut().insert(peer);
        Ok(request)
    }
}

fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_listed_is_refused() {
        let list = PeerAllowList::new(["clm-core".to_owned()]);
        let der = |name: &str| {
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        assert_eq!(list.check(&der("clm-core")).unwrap(), PeerName("clm-core".into()));
        assert_eq!(list.check(&der("clm-cores")).unwrap_err().code(), tonic::Code::PermissionDenied);
        assert_eq!(list.check(b"junk").unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}
