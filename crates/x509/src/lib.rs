//! DER in, DER out: requests, certificates, profiles, lint, CRL, OCSP; holds no key, no I/O
