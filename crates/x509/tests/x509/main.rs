//! Requests, certificates, lists and responses, judged from outside.

mod certificates;
mod der;
mod keys;
mod mutation;
mod openssl;
mod requests;
mod revocation;
