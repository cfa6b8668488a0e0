//! The rules of the Secure Service on a real database, judged by openssl.

mod audit;
mod desk;
mod issuance;
mod revocation;
