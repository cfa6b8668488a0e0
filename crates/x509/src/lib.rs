//! DER in, DER out: requests, certificates, profiles, lint, CRL, OCSP. Holds no signing key, does no I/O.

pub mod algorithm;
pub mod certificate;
pub mod csr;
mod decode;
mod encode;
pub mod extension;
pub mod issuer;
pub mod key_usage;
pub mod name;
pub mod pem;
pub mod profile;
pub mod public_key;
mod rsa_modulus;
pub mod san;
pub mod tbs;

pub use certificate::Certificate;
pub use csr::Csr;
pub use issuer::IssuerInfo;
pub use key_usage::{ExtendedKeyUsage, KeyUsage};
pub use name::{NameAttribute, SubjectName};
pub use profile::Profile;
pub use public_key::{PublicKey, sha256};
pub use san::{San, SanKind};
pub use tbs::{AuthorityUrls, CertificateTemplate, TbsCertificate};
