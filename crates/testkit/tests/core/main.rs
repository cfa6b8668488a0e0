//! The rules of Core against a real database, without the Secure Service.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod administrators;
mod api_keys;
mod approvals;
mod audit;
mod authentication;
mod bootstrap;
mod groups;
mod idempotency;
mod memberships;
mod office;
mod organizations;
mod passkeys;
mod policies;
mod provisioning;
mod role_bounds;
mod roles;
mod sessions;
mod sign_in;
mod users;
mod workflows;
