//! Every table and SQL statement of clm_secure_db

/// The migrations of this program; a server refuses a database that has others.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The tables kept in monthly partitions.
pub const PARTITIONED_TABLES: &[&str] = &["secure_audit_log", "events"];
