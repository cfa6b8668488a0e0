//! DER in, DER out: requests, certificates, profiles, lint, CRL, OCSP. Holds no signing key, does no I/O.

pub mod algorithm;
mod decode;
mod encode;
pub mod name;
pub mod pem;
pub mod public_key;
mod rsa_modulus;
pub mod san;

pub use name::SubjectName;
pub use public_key::{PublicKey, sha256};
pub use san::{San, SanKind};
