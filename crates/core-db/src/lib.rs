//! Every table and SQL statement of clm_core_db.
//!
//! One module per noun; each function takes the connection (mostly an open transaction) and runs
//! one compile-checked statement. Who may call what is decided above, in `clm-core`.

pub mod audit;
pub mod tenancy;

/// The migrations of this program; a server refuses a database that has others.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The tables kept in monthly partitions.
pub const PARTITIONED_TABLES: &[&str] = &["audit_log", "notifications"];

pub use clm_pg::DbError;
pub use sqlx::{PgConnection, PgPool};
