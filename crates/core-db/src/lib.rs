//! Every table and SQL statement of clm_core_db.
//!
//! One module per noun; each function takes the connection (mostly an open transaction) and runs
//! one compile-checked statement. Who may call what is decided above, in `clm-core`.

pub mod api_keys;
pub mod approvals;
pub mod audit;
pub mod bootstrap;
pub mod certificates;
pub mod checkpoints;
mod columns;
pub mod email_messages;
pub mod external_identities;
pub mod follower;
pub mod group_members;
pub mod groups;
pub mod idempotency;
pub mod imports;
pub mod integrity;
pub mod integrity_runs;
pub mod intents;
pub mod jobs;
pub mod mass_revocation_runs;
pub mod mass_revocations;
pub mod memberships;
pub mod notices;
pub mod notifications;
pub mod one_time_links;
pub mod organizations;
pub mod passkeys;
pub mod policies;
pub mod provisioned_users;
pub mod records;
pub mod references;
pub mod renewals;
pub mod requests;
pub mod role_assignments;
pub mod roles;
pub mod second_factors;
pub mod sessions;
pub mod sign_in;
pub mod tenancy;
pub mod users;
pub mod workflows;
pub mod workload_rules;

/// The migrations of this program; a server refuses a database that has others.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The tables kept in monthly partitions.
pub const PARTITIONED_TABLES: &[&str] = &["audit_log", "notifications"];

pub use clm_pg::DbError;
pub use sqlx::{PgConnection, PgPool};
