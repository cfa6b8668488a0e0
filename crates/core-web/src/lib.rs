//! The edge of the Core Service: REST API, CRL, OCSP
