//! Throwaway databases and installations for tests.
//!
//! Everything here panics when it fails: a test without its surroundings has failed.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "every function fails its test by a panic"
)]

pub mod authenticator;
mod browser;
mod databases;
mod installation;
mod old_authority;
mod second_core;
mod softhsm;
pub mod totp;

pub use browser::Script;
pub use databases::{TestDatabase, TestDatabases};
pub use installation::TestInstallation;
pub use old_authority::OldAuthority;
pub use second_core::SecondCore;
pub use softhsm::SoftHsm;
