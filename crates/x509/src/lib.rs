//! DER in, DER out: requests, certificates, profiles, lint, CRL, OCSP. Holds no signing key, does no I/O.

pub mod algorithm;
pub mod certificate;
pub mod crl;
pub mod csr;
mod decode;
mod ed25519_point;
mod encode;
pub mod extension;
pub mod foreign;
pub mod issuer;
pub mod key_usage;
pub mod lint;
pub mod name;
pub mod ocsp;
pub mod pem;
pub mod prepared;
pub mod profile;
pub mod public_key;
mod rsa_modulus;
pub mod san;
pub mod tbs;

pub use certificate::Certificate;
pub use crl::Crl;
pub use csr::Csr;
pub use issuer::IssuerInfo;
pub use key_usage::{ExtendedKeyUsage, KeyUsage};
pub use lint::Finding;
pub use name::{NameAttribute, SubjectName};
pub use prepared::{PreparedCertificate, prepare};
pub use profile::Profile;
pub use public_key::{PublicKey, sha256};
pub use san::{San, SanKind};
pub use tbs::{AuthorityUrls, CertificateTemplate, TbsCertificate};
