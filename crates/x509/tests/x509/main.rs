//! Requests, certificates, lists and responses, judged from outside.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod certificates;
mod der;
mod keys;
mod mutation;
mod openssl;
mod requests;
mod revocation;
