//! The rules of Core against a real database, without the Secure Service.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod administrators;
mod api_keys;
mod approvals;
mod audit;
mod authentication;
mod bootstrap;
mod email_messages;
mod groups;
mod idempotency;
mod mail_room;
mod memberships;
mod office;
mod organization_settings;
mod organizations;
mod passkeys;
mod password_resets;
mod policies;
mod provisioning;
mod role_bounds;
mod roles;
mod sessions;
mod sign_in;
mod subscriptions;
mod tenants;
mod users;
mod workflows;
mod workload_rules;
