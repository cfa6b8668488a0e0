//! The rules of the Secure Service: key custody, issuing, revocation, CRL, OCSP, audit chain
