//! The contract between Core and Secure: messages, codes, mutually authenticated client and server.
//!
//! Core calls, Secure answers; nothing calls the other way.

#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code has them"
)]

pub mod client;
pub mod codec;
pub mod keys;
pub mod peer;
pub mod references;
pub mod status;
pub mod tls;

/// What `proto/clm/secure/v1/secure.proto` generates.
#[expect(missing_docs, clippy::pedantic, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("clm.secure.v1");
}

pub use client::SecureClient;
pub use peer::PeerAllowList;
pub use tls::TlsFiles;
