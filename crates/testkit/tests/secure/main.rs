//! The rules of the Secure Service on a real database, judged by openssl.

mod audit;
mod audit_faults;
mod authorities;
mod crls;
mod desk;
mod imports;
mod issuance;
mod keys;
mod manipulations;
mod master_keys;
mod ocsp;
mod revocation;
mod rotation;
mod tokens;
