//! REST bodies and the problem document, shared by server and command line.
//!
//! One file per noun. Times are RFC 3339 in UTC, identifiers are UUIDs, enumerations are the stable texts of
//! `clm-types`.

pub mod api_keys;
pub mod approvals;
pub mod audit;
pub mod authorities;
pub mod bootstrap;
pub mod certificates;
pub mod groups;
pub mod identity_providers;
pub mod integrity;
pub mod keys;
pub mod mass_revocations;
pub mod me;
pub mod memberships;
pub mod notifications;
pub mod organizations;
pub mod page;
pub mod passkeys;
pub mod password_resets;
pub mod policies;
pub mod problem;
pub mod requests;
pub mod roles;
pub mod schema;
pub mod sessions;
pub mod users;
pub mod workflows;
pub mod workload_rules;

pub use page::Page;
pub use problem::{FieldError, Problem};
