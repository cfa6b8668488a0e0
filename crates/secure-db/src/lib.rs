//! Every table and SQL statement of `clm_secure_db`.
//!
//! Functions take the connection of a transaction that the caller began. The writes of the hot path take many rows at
//! once: the committer of crate `clm-secure` writes what has queued up as one transaction.

pub mod audit;
pub mod audit_checkpoints;
pub mod audit_keys;
pub mod authorities;
pub mod blocked_keys;
pub mod ceremonies;
pub mod certificates;
pub mod chain_heads;
pub mod crl_parts;
pub mod crls;
pub mod encryption_keys;
pub mod events;
pub mod expiry;
pub mod imports;
pub mod intents;
pub mod mass_revocations;
pub mod ocsp;
pub mod operations;
pub mod owners;
pub mod private_keys;
pub mod references;
pub mod requests;
pub mod revocations;
pub mod rotations;
pub mod row_digests;
pub mod wrapped_keys;

/// The migrations of `clm_secure_db`, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Tables partitioned by month.
pub const PARTITIONED_TABLES: &[&str] = &["secure_audit_log", "events"];
